"""Keys: each wrong one is one clear line, and none ever shows anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.conftest import DaemonProcess
from tests.system.probing import probing, settled
from tests.system.witness import inject

pytestmark = [pytest.mark.system, pytest.mark.timeout(480)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=20.0, weight_limit=10_000_000)) as sandbox:
        yield sandbox


def key(venue: Sandbox, account: str = "main", kind: str = "HMAC", can_trade: bool = True) -> dict[str, Any]:
    """One of the sandbox's keys as the configuration takes it."""
    return next(
        {name: one[name] for name in ("api_key", "api_secret", "private_key_file") if name in one}
        for one in venue.ready()["keys"]
        if (one["account"], one["kind"], one["can_trade"]) == (account, kind, can_trade)
    )


def with_key(venue: Sandbox, credentials: dict[str, Any], **latency: Any) -> dict[str, Any]:
    config = probing(venue, **latency)
    section = config["venues"]["binance"]
    del section["api_key"], section["api_secret"]
    section |= credentials
    return config


def command(directory: Path, config: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """``binmon …`` on this configuration."""
    directory.mkdir(exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "binmon", *arguments, "-c", "config.yaml"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("kind", ["HMAC", "Ed25519", "RSA"])
@pytest.mark.parametrize("transport", ["rest", "ws_api"])
def test_every_kind_of_key_works(
    venue: Sandbox, daemon: Callable[..., DaemonProcess], tmp_path: Path, kind: str, transport: str
) -> None:
    # none is late or lost for the machine's sake
    config = with_key(venue, key(venue, kind=kind), transport=transport, threshold_ms=20_000, report_timeout_ms=30_000)
    if kind == "Ed25519":
        config["venues"]["binance"]["session_logon"] = True
    checked = command(tmp_path / "check", config, "check", "--connect")
    assert (checked.returncode, checked.stderr) == (0, "")
    process = daemon(config)
    process.wait_for("latency.measured", count=5)
    assert process.stop() == 0
    assert {row["class"] for row in settled(process).values()} == {"in_time"}


WRONG = [
    ({"api_key": "x" * 64, "api_secret": "y" * 64}, {}, "the venue does not accept the key"),
    ("wrong secret", {}, "the signature is wrong: venues.binance.api_secret"),
    ("may not trade", {}, "enable spot trading for it"),
    ("poor", {}, "the account has 0 USDT and 0 BTC"),
    ("right", {"symbol": "PAUSEUSDT"}, "PAUSEUSDT is not trading at binance (status BREAK)"),
    ("right", {"notional": 500}, "execution.max_order_notional: 100"),
]


@pytest.mark.parametrize(("which", "latency", "says"), WRONG)
def test_what_is_wrong_at_the_venue(
    venue: Sandbox,
    daemon: Callable[..., DaemonProcess],
    tmp_path: Path,
    which: str | dict[str, Any],
    latency: dict[str, Any],
    says: str,
) -> None:
    credentials = {
        "wrong secret": {**key(venue), "api_secret": "z" * 64},
        "may not trade": key(venue, can_trade=False),
        "poor": key(venue, account="poor"),
        "right": key(venue),
    }.get(str(which), which)
    assert isinstance(credentials, dict)
    config = with_key(venue, credentials, **latency)
    checked = command(tmp_path / "check", config, "check", "--connect")
    assert checked.returncode == 3
    (line,) = checked.stderr.splitlines()
    assert says in line
    process = daemon(config)
    process.until(
        lambda: bool(process.events("latency.skipped") or process.events("user_stream.refused")), what="a refusal"
    )
    (told, *_) = process.events("latency.skipped") or process.events("user_stream.refused")
    said = told.get("reason") or told["error"]
    assert says.split(":")[0] in said
    (raised, *_) = process.wait_for("alert.raised")
    assert raised["text"] == said
    assert process.stop() == 0
    assert not process.events("latency.measured") and not process.events("worker.failed")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c, d: c["latency"].update(threshold_ms=99), "latency.threshold_ms: expected an integer of at least 100"),
        (lambda c, d: c["venues"]["binance"].update(environment="testnet"),
         "latency.interval_s: expected a number of at least 15 outside the sandbox"),
        (lambda c, d: c["venues"]["binance"].pop("api_secret"), "venues.binance.api_secret: missing"),
        (lambda c, d: c["venues"]["binance"]["endpoints"].pop("ws_api"), "venues.binance.endpoints.ws_api: missing"),
        (lambda c, d: c["venues"]["binance"].update(session_logon=True), "venues.binance.session_logon: needs an Ed25519"),
        (lambda c, d: c["latency"].update(symbol="NOPEUSDT"), "latency.symbol: NOPEUSDT is not listed"),
        (lambda c, d: c["latency"].update(venue="kraken"), "latency.venue: expected a venue with orders"),
        (lambda c, d: c["alerts"].update(notify=["slack://nonsense"]), "alerts.notify[0]"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_file(venue: Sandbox, tmp_path: Path, change: Any, says: str) -> None:
    config = probing(venue)
    config["alerts"] = {}
    change(config, tmp_path)
    ran = command(tmp_path / "run", config, "run", "--log-format", "json")
    assert ran.returncode == 2, ran.stdout[-500:] + ran.stderr
    (line,) = ran.stderr.splitlines()
    assert says in line and "config.yaml" in line


def test_a_private_key_that_others_can_read(venue: Sandbox, tmp_path: Path) -> None:
    credentials = key(venue, kind="Ed25519")
    copy = tmp_path / "key.pem"
    shutil.copy(credentials["private_key_file"], copy)
    copy.chmod(0o644)
    config = with_key(venue, {**credentials, "private_key_file": str(copy)})
    ran = command(tmp_path / "run", config, "run")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert "can be read by others" in line and f"chmod 600 {copy}" in line


@pytest.mark.parametrize(
    "endpoints", [{}, {"rest": "http://127.0.0.1:1", "stream": "ws://127.0.0.1:1", "ws_api": "ws://127.0.0.1:1"}]
)
def test_production_is_refused_before_anything_is_sent(tmp_path: Path, endpoints: dict[str, str]) -> None:
    section = {"environment": "production", "api_key": "k" * 64, "api_secret": "s" * 64, "endpoints": endpoints}
    config = {"venues": {"binance": section}, "latency": {"interval_s": 20}}
    ran = command(tmp_path / "run", config, "run")
    assert ran.returncode == 2
    assert "orders there need execution.allow_production: true" in ran.stderr


def test_keys_never_show(venue: Sandbox, daemon: Callable[..., DaemonProcess], tmp_path: Path) -> None:
    """Everything that can go wrong does, and then all that was written anywhere is searched."""
    config = probing(venue, interval_s=0.1, report_timeout_ms=500)
    config["logging"] = {"level": "debug", "file": "binmon.log"}
    process = daemon(config)
    process.wait_for("latency.measured", count=3)
    (page,) = process.wait_for("metrics.listening")
    for kind, options in [
        ("order_refuse", {"code": -1022, "message": "Signature for this request is not valid."}),
        ("order_refuse", {"code": -2015, "message": "Invalid API-key, IP, or permissions for action."}),
        ("answer_lost", {"mode": "reset"}),
        ("answer_lost", {"mode": "closed"}),
        ("order_lost", {"mode": "status"}),
        ("answer_lost", {"mode": "timeout"}),
        ("report_lost", {}),
    ]:
        before = len(process.events("order.sent"))
        inject(venue, kind, **options)
        process.until(lambda before=before: len(process.events("order.sent")) >= before + 3)  # type: ignore[misc]
    inject(venue, "rest", mode="html", count=3, path="/api/v3/account")
    inject(venue, "rest", mode="truncated", count=3, path="/api/v3/account")
    inject(venue, "stream_terminated")
    inject(venue, "clock_skew", ms=9000)
    process.wait_for("clock.stepped")
    before = len(process.events("latency.measured"))
    process.wait_for("latency.measured", count=before + 5)
    metrics = requests.get(f"http://{page['address']}/metrics", timeout=60).text
    health = requests.get(f"http://{page['address']}/healthz", timeout=60).text
    assert process.stop() == 0
    checked = command(process.directory, config, "check", "--connect", "--json")
    report = command(process.directory, config, "latency", "--html", "report.html")
    assert report.returncode == 0 and (process.directory / "report.html").stat().st_size > 1000
    assert process.process.stderr is not None
    (process.directory / "config.yaml").unlink()  # the one place where they belong
    said = [json.dumps(line) for line in process.lines] + process.unreadable
    said += [metrics, health, checked.stdout, checked.stderr, report.stdout, report.stderr]
    said.append(process.process.stderr.read())
    written = [path.read_bytes() for path in process.directory.rglob("*") if path.is_file()]
    everything = "\n".join(said).encode() + b"\n".join(written)
    assert len(process.events("order.sent")) > 20 and b"binmon_latency_seconds_bucket" in everything
    for secret in (venue.api_key, venue.api_secret):
        assert secret.encode() not in everything
    assert b"signature=" not in everything
