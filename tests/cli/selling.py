"""Commands around orders, run in this process against a sandbox; the log is set back afterwards."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from binmon.cli.main import main
from binmon.telemetry.logging import set_up
from tests.execution.floor import Exchange

PATIENT = {"stale_after_ms": 60000, "quote_timeout_ms": 30000}


class Commands:
    """Runs ``binmon``; ``answers`` are typed into a terminal, None: there is none."""

    def __init__(
        self, venues: Exchange, directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.venues, self.directory, self._capsys, self._monkeypatch = venues, directory, capsys, monkeypatch
        self.log: list[str] = []
        self.config(execution=PATIENT)

    def config(self, **sections: Any) -> None:
        self.path = self.venues.config(self.directory, **sections)

    def __call__(self, *words: str, answers: str | None = None) -> tuple[int, str, str]:
        typed = io.StringIO(answers or "")
        typed.isatty = lambda: answers is not None  # type: ignore[method-assign]
        self._monkeypatch.setattr(sys, "stdin", typed)
        try:
            status = main([*words, "-c", str(self.path)])
        finally:
            set_up("info", "json", io.StringIO())  # the captured stream will be closed
        out, err = self._capsys.readouterr()
        self.log += [line for line in err.splitlines() if line.startswith("{")]
        # what is said to people; the log comes in lines of JSON
        return status, out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith("{"))

    def json(self, *words: str, status: int = 0) -> Any:
        found, out, err = self(*words, "--json")
        assert found == status, err
        return json.loads(out)
