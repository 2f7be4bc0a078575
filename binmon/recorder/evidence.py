"""Evidence on disk: what showed a book to be wrong, one compressed JSON document each.

``<directory>/evidence/venue=V/symbol=S/<UTC stamp>-<update id>.json.gz``, the newest hundred a symbol.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO

import structlog

from binmon.messages import Evidence
from binmon.recorder.files import write_whole
from binmon.recorder.layout import EVIDENCE, component
from binmon.recorder.segment import stamp

log = structlog.get_logger("binmon.recorder")

ENDING = ".json.gz"
_LEVEL = 6


class EvidenceStore:
    """Keeps evidence until ``write`` has it on disk, at most ``waiting_bytes`` of it; used by one thread.

    ``written`` and ``lost`` count documents since the start.
    """

    def __init__(self, directory: Path, *, keep: int = 100, waiting_bytes: int = 16 << 20) -> None:
        self.written = self.lost = 0
        self._directory, self._keep, self._limit = directory, keep, waiting_bytes
        self._waiting: list[Evidence] = []
        self._bytes = 0
        self._dropped: dict[tuple[str, str], int] = {}  # since the last report

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, evidence: Evidence) -> bool:
        """Let it wait for the next ``write``; False when there is no room, it is then dropped and counted."""
        if self._bytes + len(evidence.document) > self._limit:
            self._count(evidence)
            return False
        self._waiting.append(evidence)
        self._bytes += len(evidence.document)
        return True

    def write(self) -> None:
        """Put what waits on disk, oldest first. Raises OSError; what is not on disk then waits on."""
        done = 0
        try:
            for evidence in self._waiting:
                self._write(evidence)
                done += 1
        finally:
            self._bytes -= sum(len(evidence.document) for evidence in self._waiting[:done])
            del self._waiting[:done]
            self.written += done

    def give_up(self) -> None:
        """Drop and count what waits: the disk refuses and the daemon ends."""
        for evidence in self._waiting:
            self._count(evidence)
        self._waiting.clear()
        self._bytes = 0

    def report(self) -> None:
        """Log what was dropped since the last report."""
        for (venue, symbol), count in self._dropped.items():
            log.warning("recorder.evidence_dropped", venue=venue, symbol=symbol, count=count)
        self._dropped.clear()

    def _count(self, evidence: Evidence) -> None:
        key = (evidence.venue, evidence.symbol)
        self._dropped[key] = self._dropped.get(key, 0) + 1
        self.lost += 1

    def _write(self, evidence: Evidence) -> None:
        path = evidence_path(self._directory, evidence)
        # no time in the header: the same evidence gives the same bytes
        packed = gzip.compress(evidence.document, _LEVEL, mtime=0)

        def write(file: BinaryIO) -> None:
            file.write(packed)

        write_whole(path, write)
        self._remove_oldest(path.parent)

    def _remove_oldest(self, directory: Path) -> None:
        names = [path.name for path in directory.iterdir()]
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):  # half written when the last run was killed
                (directory / name).unlink(missing_ok=True)
        # the stamp leads the name and has a fixed width: names sort by time
        stored = sorted(name for name in names if name.endswith(ENDING) and not name.startswith("."))
        for name in stored[: max(0, len(stored) - self._keep)]:
            (directory / name).unlink(missing_ok=True)


def evidence_path(directory: Path, evidence: Evidence) -> Path:
    """Where a piece of evidence lies below ``directory``."""
    name = f"{stamp(evidence.time_ns)}-{evidence.update_id}{ENDING}"
    place = directory / EVIDENCE / f"venue={component(evidence.venue)}" / f"symbol={component(evidence.symbol)}"
    return place / name


def evidence_date(name: str) -> str | None:
    """The UTC date, YYYY-MM-DD, that the name of an evidence file begins with; None for any other file."""
    if not name.endswith(ENDING) or not name[:8].isdigit() or name[8:9] != "T":
        return None
    return f"{name[:4]}-{name[4:6]}-{name[6:8]}"
