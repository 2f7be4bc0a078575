"""Whether a configured file or directory is there, or can be used."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether there is such a file. Where this user may not look it counts as there: whoever opens it is told why not."""
    try:
        return path.exists()
    except OSError:
        return True


def why_unwritable(directory: Path) -> str | None:
    """Why files cannot be made in ``directory`` (or, while it does not exist, where it would be made); None if they can.

    Creates nothing that stays.
    """
    try:
        nearest = directory
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir():
            raise NotADirectoryError(20, os.strerror(20))
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except (OSError, ValueError) as error:
        return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
