"""The directory of incident files: whole files only, and not more of them than were asked for."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from binmon.incidents.notes import Incident
from binmon.recorder.files import write_whole
from binmon.recorder.layout import component
from binmon.recorder.segment import stamp

ENDING = ".tsv.gz"
_LEVEL = 3  # a third larger than with 9, in a tenth of the time
_BLOCK_BYTES = 1 << 16


class IncidentStore:
    """Writes and removes files; used by one thread. ``keep_bytes`` holds for the newest file, too, unless it is alone."""

    def __init__(self, directory: Path, *, keep_files: int, keep_bytes: float) -> None:
        self.directory, self._keep_files, self._keep_bytes = directory, keep_files, keep_bytes

    def write(self, incident: Incident, lines: Iterable[bytes], pace: Callable[[], None]) -> tuple[Path, int]:
        """The file and its size, hidden until it is whole and on disk. ``pace`` is called often. Raises OSError."""
        path = self.directory / file_name(incident)

        def write(file: BinaryIO) -> None:
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
                block: list[bytes] = []
                size = 0
                for line in lines:
                    block.append(line)
                    size += len(line)
                    pace()
                    if size >= _BLOCK_BYTES:
                        packed.write(b"".join(block))
                        block, size = [], 0
                packed.write(b"".join(block))

        return path, write_whole(path, write)

    def tidy(self) -> None:
        """Remove what is too old or too much, and what a killed writer left half done. Raises OSError."""
        try:
            found = list(self.directory.iterdir())
        except FileNotFoundError:
            return
        for path in found:
            if path.name.startswith(".") and path.name.endswith(f"{ENDING}.tmp"):
                path.unlink(missing_ok=True)
        # the stamp leads the name and has a fixed width: names sort by time
        stored = sorted(
            (path for path in found if path.name.endswith(ENDING) and not path.name.startswith(".")), reverse=True
        )
        total = 0
        for number, path in enumerate(stored):
            total += path.stat().st_size
            if number >= self._keep_files or (number and total > self._keep_bytes):
                path.unlink(missing_ok=True)


def file_name(incident: Incident) -> str:
    """Time, reason and symbol (or worker) of the first trigger."""
    trigger = incident.trigger
    return f"{stamp(incident.time_ns)}-{trigger.reason}-{component(trigger.subject)}{ENDING}"
