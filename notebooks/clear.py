"""Takes the outputs out of the notebooks beside it, which are kept without. ``make notebooks`` runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def cleared(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without outputs, counts of execution, and what an editor has noted in it."""
    cells = []
    for cell in notebook["cells"]:
        kept = {name: value for name, value in cell.items() if name not in ("outputs", "execution_count")}
        kept["metadata"] = {}
        if cell["cell_type"] == "code":
            kept |= {"execution_count": None, "outputs": []}
        cells.append(dict(sorted(kept.items())))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {**notebook, "cells": cells, "metadata": metadata}


def text_of(notebook: dict[str, Any]) -> str:
    """As it is kept in a file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Clear every notebook here that has something to clear."""
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = text_of(cleared(json.loads(before)))
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path.name}: cleared")


if __name__ == "__main__":
    main()
