"""A venue that answers late, and not as configured, costs its own parts alone; at the start it ends the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from binmon.config import load
from binmon.daemon import Daemon
from binmon.errors import ConfigError
from binmon.wiring import figures
from binmon.wiring.venues import Arrival, VenueStarts


@pytest.mark.parametrize(("for_s", "others", "ends"), [(5.0, True, True), (3600.0, False, True), (3600.0, True, False)])
def test_what_is_wrong_with_a_venue(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, for_s: float, others: bool, ends: bool
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    daemon = Daemon(load(path, {}))
    if others:
        daemon._books.put("binance", SimpleNamespace())  # type: ignore[arg-type]
    starts = VenueStarts({}, daemon._stop)
    monkeypatch.setattr(VenueStarts, "for_s", for_s)

    def refuse(arrival: Arrival) -> None:
        raise ConfigError("'NOPE' is not listed on bybit", key="books.symbols[0]")

    monkeypatch.setattr(daemon, "_on_arrival", refuse)
    if ends:
        with pytest.raises(ConfigError):
            daemon._take_in(Arrival("bybit", {}), starts)
        return
    with capture_logs() as lines:
        daemon._take_in(Arrival("bybit", {}), starts)
    assert [(line["event"], line["key"]) for line in lines] == [("venue.left_out", "books.symbols[0]")]
    problems, document = figures.start_section(starts)
    assert len(problems) == 1 and "NOPE" in problems[0] and list(document["left_out"]) == ["bybit"]
