"""What Prometheus and Alertmanager, as Debian ships them, make of the daemon, of its rules and of what they say.

Where the programs are not installed (``apt-get install prometheus prometheus-alertmanager``) these tests are skipped.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.ports import free_port
from tests.system.conftest import PATIENCE_S, DaemonProcess
from tests.system.probing import probing
from tests.system.witness import inject

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "docs" / "prometheus"
RULES_TEST = Path(__file__).with_name("prometheus_rules_test.yml")
ROTATIONS = 3
FIRED = "BinmonOrdersLost"

# What `promtool check metrics` finds and what is meant, with the reason.
EXCEPTIONS: dict[str, str] = {}

Start = Callable[..., DaemonProcess]


def program(name: str) -> str:
    """Where it is installed; skips the test when it is not."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus prometheus-alertmanager)")
    return path


def until(true: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """The first answer that is true, asked again until then. A refused connection is no answer yet, nor is silence."""
    end = time.monotonic() + within_s
    answer: Any = None
    while time.monotonic() < end:
        try:
            answer = true()
        except (requests.ConnectionError, requests.Timeout) as error:
            answer = error
        else:
            if answer:
                return answer
        threading.Event().wait(0.1)
    raise AssertionError(f"waited in vain for {what}: {answer!r}")


class Program:
    """A server on loopback that runs until the end of the test, with what it says in a file."""

    def __init__(self, path: str, directory: Path, port: int, *options: str) -> None:
        directory.mkdir()
        self.url = f"http://127.0.0.1:{port}"
        self.said = directory / "log"
        with self.said.open("w") as said:
            self.process = subprocess.Popen([path, *options], cwd=directory, stdout=said, stderr=said)

    def ready(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.said.read_text()
            return requests.get(f"{self.url}/-/ready", timeout=20).status_code == 200

        until(answers, f"{self.url} to be ready")

    def get(self, path: str, **parameters: str) -> Any:
        answer = requests.get(f"{self.url}{path}", params=parameters, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=20.0, weight_limit=10_000_000)) as sandbox:
        yield sandbox


@pytest.fixture
def launch() -> Iterator[Callable[..., Program]]:
    """Start programs; all of them are ended afterwards."""
    running: list[Program] = []

    def start(*arguments: Any) -> Program:
        running.append(Program(*arguments))
        return running[-1]

    yield start
    for one in running:
        one.end()


def impatient(rules: dict[str, Any]) -> dict[str, Any]:
    """A copy of the rules that waits for nothing."""
    return {
        "groups": [
            {**group, "rules": [{**rule, "for": "0s"} if "for" in rule else rule for rule in group["rules"]]}
            for group in rules["groups"]
        ]
    }


def address(process: DaemonProcess) -> str:
    (page,) = process.wait_for("metrics.listening")
    return str(page["address"])


def series(process: DaemonProcess) -> set[str]:
    """Names and labels on the page, but for those of states that only some have at a time."""
    text = requests.get(f"http://{address(process)}/metrics", timeout=60).text
    names = {line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    return {name for name in names if not re.match("binmon_(books|stream_connections|latency_orders_total)", name)}


@pytest.mark.parametrize(
    "command",
    [
        ("promtool", "check", "rules", str(SHIPPED / "binmon.rules.yml")),
        ("promtool", "test", "rules", str(RULES_TEST)),
        ("promtool", "check", "config", str(SHIPPED / "prometheus.yml")),
        ("amtool", "check-config", str(SHIPPED / "alertmanager.yml")),
    ],
    ids=lambda command: " ".join(command[:3]).replace("/", "-")[:24],
)
def test_the_shipped_files_pass_the_tools_of_prometheus(command: tuple[str, ...]) -> None:
    done = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_lints_and_its_series_do_not_grow_with_rotations(venue: Sandbox, daemon: Start) -> None:
    promtool = program("promtool")
    process = daemon(probing(venue))
    process.wait_for("latency.measured", count=3)
    before = series(process)
    for count in range(1, ROTATIONS + 1):
        process.process.send_signal(signal.SIGUSR1)
        # the market's socket, and that of the user-data stream
        process.wait_for("stream.rotated", count=2 * count, within_s=60)
    process.until(lambda: series(process) == before, 90, "the series of the beginning")
    text = requests.get(f"http://{address(process)}/metrics", timeout=60).text
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert process.stop() == 0
    assert done.stdout == ""
    found = [line for line in done.stderr.splitlines() if line.partition(" ")[0] not in EXCEPTIONS]
    assert not found, found
    assert (done.returncode == 0) is not EXCEPTIONS


def test_an_order_that_is_lost_arrives_at_a_real_alertmanager(
    venue: Sandbox, daemon: Start, launch: Callable[..., Program], tmp_path: Path
) -> None:
    prometheus, alertmanager = program("prometheus"), program("prometheus-alertmanager")
    process = daemon(probing(venue, report_timeout_ms=15_000))  # one alone is lost, none for the machine's sake
    target = address(process)

    settings = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text(encoding="utf-8"))
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(settings))
    port = free_port()
    manager = launch(
        alertmanager, tmp_path / "alertmanager", port,
        f"--config.file={tmp_path / 'alertmanager.yml'}", f"--storage.path={tmp_path / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    )  # fmt: skip
    manager.ready()

    settings = yaml.safe_load((SHIPPED / "prometheus.yml").read_text(encoding="utf-8"))
    settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"}
    settings["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    settings["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    rules = yaml.safe_load((SHIPPED / "binmon.rules.yml").read_text(encoding="utf-8"))
    (tmp_path / "binmon.rules.yml").write_text(yaml.safe_dump(impatient(rules)))
    port = free_port()
    server = launch(
        prometheus, tmp_path / "prometheus", port,
        f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'prometheus' / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip
    server.ready()

    def all_up() -> bool:
        targets = server.get("/api/v1/targets")["data"]["activeTargets"]
        return [(one["labels"]["job"], one["health"], one["lastError"]) for one in targets] == [("binmon", "up", "")]

    until(all_up, "all targets to be up, and no error")

    def evaluated() -> Any:
        groups = server.get("/api/v1/rules")["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else None

    loaded = until(evaluated, "the rules to be evaluated")
    assert len(loaded) == sum(len(group["rules"]) for group in rules["groups"])
    process.wait_for("latency.measured", count=5)

    def alerts(name: str) -> list[Any]:
        return [one for one in manager.get("/api/v2/alerts") if one["labels"]["alertname"] == name]

    assert not alerts(FIRED)
    inject(venue, "report_lost", execution_type=["TRADE"], count=1)
    process.wait_for("latency.lost")
    (alert,) = until(lambda: alerts(FIRED), f"{FIRED} at the Alertmanager")
    assert alert["labels"] == {
        "alertname": FIRED, "severity": "critical", "job": "binmon", "instance": target,
        "venue": "binance", "symbol": "BTCUSDT", "class": "lost",
    }  # fmt: skip
    assert alert["annotations"]["summary"] == f"{target}: orders of BTCUSDT ended as lost: 1"
    assert "latency.lost" in alert["annotations"]["description"]
    assert [one["name"] for one in alert["receivers"]] == ["call"]

    # every rule could be evaluated, also those that did not fire, and Prometheus had no objection to a sample
    wrong = [rule["name"] for rule in until(evaluated, "the rules") if rule["health"] != "ok" or rule.get("lastError")]
    assert not wrong, wrong
    until(all_up, "all targets to be up, and no error")
    own = requests.get(f"{server.url}/metrics", timeout=60).text
    objections = re.findall(r"^prometheus_target_scrapes_(?:sample_\w+|exceeded_\w+)_total (\S+)$", own, re.MULTILINE)
    assert len(objections) >= 3 and set(objections) == {"0"}
    assert process.stop() == 0
    (down,) = until(lambda: alerts("BinmonDown"), "BinmonDown at the Alertmanager")
    assert down["labels"]["instance"] == target
