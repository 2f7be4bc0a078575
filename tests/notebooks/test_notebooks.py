"""The notebooks: executed from a clean kernel, kept without outputs, and a sample that is small."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import binmon

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
FIGURES = {"trades_with_threshold": 1, "candles_live": 1, "recorded_books": 3, "latency_analysis": 3}


@pytest.fixture(scope="module")
def clear() -> ModuleType:
    """``notebooks/clear.py``, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("clear", NOTEBOOKS / "clear.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_are_here() -> None:
    assert {path.stem for path in PATHS} == set(FIGURES)


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_executes_from_a_clean_kernel(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each cell, in order, in a kernel that nothing was done in; offline, in the folder of the notebooks."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # no profile of whoever runs the tests
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    notebook = nbformat.read(path, as_version=4)
    before = {one for one in NOTEBOOKS.rglob("*") if "__pycache__" not in one.parts}
    NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert said == [], "no warnings"
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES[path.stem]
    assert {one for one in NOTEBOOKS.rglob("*") if "__pycache__" not in one.parts} == before, "it leaves nothing behind"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path: Path, clear: ModuleType) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert text == clear.text_of(clear.cleared(notebook)), "make notebooks clears it"
    nbformat.validate(notebook)
    assert notebook["cells"][0]["cell_type"] == "markdown" and notebook["cells"][0]["source"][0].startswith("# ")


def test_clearing_takes_out_what_running_has_put_in(clear: ModuleType) -> None:
    path = PATHS[0]
    notebook = json.loads(path.read_text(encoding="utf-8"))
    run: dict[str, Any] = json.loads(json.dumps(notebook))
    code = next(cell for cell in run["cells"] if cell["cell_type"] == "code")
    code |= {"execution_count": 3, "outputs": [{"output_type": "stream", "name": "stdout", "text": ["said"]}]}
    code["metadata"] = {"scrolled": True}
    run["metadata"]["language_info"]["version"] = "3.11.2"
    assert run != notebook
    assert clear.cleared(run) == notebook


def test_the_sample_is_small_and_holds_what_the_notebooks_show() -> None:
    files = [path for path in (NOTEBOOKS / "sample").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    books = binmon.open_books(NOTEBOOKS / "sample")
    (coverage,) = books.coverage()
    assert coverage.rows > 250 and coverage.epochs == 2
    reader = binmon.open_latency(NOTEBOOKS / "sample" / "state.db")
    try:
        classes = {one.order_class.value for one in reader.between(0, 2**62)}
    finally:
        reader.close()
    assert {"in_time", "late", "lost"} <= classes
