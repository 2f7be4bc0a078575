"""The files of the page: our own, and the library of the charts as its package ships it. Nothing comes from elsewhere.

A file is at ``/static/TAG/NAME``; the tag changes with any of the files, so that browsers may keep them for ever.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import mimetypes
import threading
from dataclasses import dataclass
from pathlib import Path

CHARTS = "vendor/lightweight-charts.js"
"""The library of the charts, by our name for it."""
_TEXT = frozenset({".js", ".css", ".svg", ".json", ".html", ".txt", ".webmanifest", ".map"})
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
_SMALL = 1_000  # bytes, which are not worth compressing


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent; ``packed`` is the same by gzip, None where that is of no use."""

    kind: str
    content: bytes
    packed: bytes | None
    tag: str


class Assets:
    """The files below ``folder``. ``reloads``: look at the disk for each request, for whoever changes them."""

    def __init__(self, folder: Path, *, reloads: bool = False) -> None:
        self._folder, self.reloads = folder, reloads
        self._lock = threading.Lock()  # guards _loaded
        self._loaded: dict[str, Asset] = {}
        self.tag = "now" if reloads else self._tag_of_all()

    def url(self, name: str) -> str:
        """Where the page finds a file."""
        return f"/static/{self.tag}/{name}"

    def get(self, name: str) -> Asset | None:
        """A file; None when there is none of that name."""
        with self._lock:
            found = self._loaded.get(name)
            if found is None:
                path = self._path(name)
                if path is None:
                    return None
                found = _load(path)
                if not self.reloads or name == CHARTS:
                    self._loaded[name] = found
            return found

    def names(self) -> list[str]:
        """All files by name."""
        own = [str(path.relative_to(self._folder)) for path in self._files()]
        return sorted([*own, CHARTS] if charts_file() is not None else own)

    def _path(self, name: str) -> Path | None:
        if name == CHARTS:
            return charts_file()
        try:
            path = (self._folder / name).resolve()
            return path if path.is_relative_to(self._folder.resolve()) and path.is_file() else None
        except (OSError, ValueError):  # a name that no file can have: too long, or with a zero byte
            return None

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.rglob("*") if path.is_file())

    def _tag_of_all(self) -> str:
        digest = hashlib.sha256()
        for path in self._files():
            digest.update(str(path.relative_to(self._folder)).encode() + b"\0" + path.read_bytes())
        charts = charts_file()
        if charts is not None:
            digest.update(charts.read_bytes())
        return digest.hexdigest()[:12]


def charts_file() -> Path | None:
    """The library of the charts as the package litecharts ships it; None where that is not installed."""
    found = importlib.util.find_spec("litecharts")  # not imported: its Python part is of no use here
    places = [] if found is None or found.submodule_search_locations is None else found.submodule_search_locations
    paths = (Path(place) / "js" / "lightweight-charts.js" for place in places)
    return next((path for path in paths if path.is_file()), None)


def _load(path: Path) -> Asset:
    content = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    is_text = path.suffix in _TEXT
    packed = gzip.compress(content, 6, mtime=0) if is_text and len(content) > _SMALL else None
    if is_text:
        kind = f"{kind}; charset=utf-8"
    return Asset(kind, content, packed, hashlib.sha256(content).hexdigest()[:20])
