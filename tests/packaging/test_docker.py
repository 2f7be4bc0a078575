"""Dockerfile and compose.yaml: what they promise, and the image itself, made and run in a container without Docker."""

from __future__ import annotations

import fnmatch
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import psutil
import pytest
import yaml

from binmon.config import load
from tests.packaging.dockerfile import Instruction, only, parse
from tests.system import machine
from tests.system.machine import REPOSITORY

STAGES = parse(REPOSITORY / "Dockerfile")
FINAL = STAGES[-1]
COMPOSE_TEXT = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (REPOSITORY / "compose.yaml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
HEALTH = only(FINAL, "HEALTHCHECK").value.removeprefix("CMD ")
DOCKER = REPOSITORY / "docs/docker"


def health_command() -> list[str]:
    return Instruction("CMD", {}, HEALTH).words


# The files ------------------------------------------------------------------------------------------------------------


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("there is no hadolint for this kind of processor")
    done = subprocess.run([hadolint, "--no-color", REPOSITORY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_image_is_made_in_two_stages_of_one_pinned_base() -> None:
    bases = [stage[0].words[0] for stage in STAGES]
    assert len(bases) == 2 and len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases[0])
    assert not [one for stage in STAGES for one in stage if one.name == "ADD"]
    copied = [one for one in FINAL if one.name == "COPY"]
    assert [one.options.get("from") for one in copied] == ["build", None]
    assert not [one for one in FINAL if one.name == "RUN" and "pip" in one.value]


def test_the_image_does_not_run_as_root_and_has_no_shell_between() -> None:
    user = re.fullmatch(r"(\d+):(\d+)", only(FINAL, "USER").value)
    assert user and int(user[1]) > 0 and int(user[2]) > 0
    made = " ".join(one.value for one in FINAL if one.name == "RUN")
    assert f"useradd --uid {user[1]} " in made and f"groupadd --gid {user[2]} binmon" in made
    after = FINAL[FINAL.index(only(FINAL, "USER")) :]
    assert not [one for one in after if one.name in ("RUN", "COPY")]
    for name in ("ENTRYPOINT", "CMD", "VOLUME"):
        assert only(FINAL, name).value.startswith("[")  # the exec form
    assert HEALTH.startswith("[")
    assert only(FINAL, "STOPSIGNAL").value == "SIGTERM"
    assert only(FINAL, "VOLUME").words == ["/var/lib/binmon"] == [only(FINAL, "WORKDIR").value]


def test_what_is_copied_is_there_and_not_ignored_and_nothing_else_is_sent() -> None:
    kept = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [
        source
        for stage in STAGES
        for one in stage
        if one.name == "COPY" and "from" not in one.options
        for source in one.words[:-1]
    ]
    assert all((REPOSITORY / source).exists() for source in sources)
    assert sorted(kept) == sorted(sources)
    lines = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith(("#", "!"))
    ]
    assert lines[0] == "*"  # all else: above all .env and data
    assert any(fnmatch.fnmatch("binmon/core/__pycache__", line) for line in lines)


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert self.path == "/healthz"
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_is_the_status_of_healthz(status: int, healthy: bool) -> None:
    python, option, code = health_command()
    assert (python, option) == ("/opt/binmon/bin/python", "-c")
    with http.server.HTTPServer(("127.0.0.1", 0), _Answer) as server:
        server.status = status  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mine = code.replace("9787", str(server.server_address[1]))
        # a proxy of the environment must not be asked
        done = subprocess.run([sys.executable, "-c", mine], env=os.environ | {"http_proxy": "http://127.0.0.1:1"})
        server.shutdown()
    assert (done.returncode == 0) is healthy


def test_the_health_check_fails_when_nobody_answers() -> None:
    code = health_command()[2].replace("9787", "1")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode != 0


def test_the_configuration_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(DOCKER / "config.yaml", {}).config
    assert config.venues.binance.environment == "sandbox"
    assert config.metrics.listen == f"0.0.0.0:{only(FINAL, 'EXPOSE').value}"
    assert not Path(config.recorder.directory).is_absolute() and not Path(config.state.path).is_absolute()
    # every variable of the file is handed on by compose.yaml
    variables = set(re.findall(r"\$\{(\w+)", (DOCKER / "config.yaml").read_text()))
    assert variables == set(SERVICES["binmon"]["environment"])


# compose.yaml ---------------------------------------------------------------------------------------------------------


def test_compose_keeps_to_the_schema() -> None:
    compose_spec.PyCompose.from_yaml(COMPOSE_TEXT).validate()
    with pytest.raises(ValueError, match="extension key"):  # the check can fail
        compose_spec.PyCompose.from_yaml(COMPOSE_TEXT.replace("read_only:", "readonly:"))


def test_who_is_started_when() -> None:
    assert "profiles" not in SERVICES["binmon"]
    assert (
        {name for name, one in SERVICES.items() if one.get("profiles") == ["observability"]}
        == (set(SERVICES) - {"binmon"})
        >= {"prometheus", "grafana"}
    )


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_shut_in(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert [line for line in service["tmpfs"] if line.split(":")[0] == "/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "cap_add", "user", "pid"} & set(service)
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service["ports"])
    assert "build" in service or re.fullmatch(r"\S+:v?\d+\.\d+\.\d+", service["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_volumes_exist(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (REPOSITORY / source).is_file(), f"{source} is not in the tree"
            assert rest.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_what_binmon_keeps_and_what_it_reads() -> None:
    targets = [volume.split(":")[1] for volume in SERVICES["binmon"]["volumes"]]
    assert targets == ["/etc/binmon/config.yaml", "/var/lib/binmon"]
    assert SERVICES["binmon"]["ports"] == [f"127.0.0.1:9787:{only(FINAL, 'EXPOSE').value}"]


def test_prometheus_of_the_containers_is_that_of_the_example() -> None:
    """The same but for the names of the hosts, and what Grafana is told leads to it."""
    example = (REPOSITORY / "docs/prometheus/prometheus.yml").read_text()
    own = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    named = example.replace("127.0.0.1:9093", "alertmanager:9093").replace("127.0.0.1:9787", "binmon:9787")
    assert own == yaml.safe_load(named) != yaml.safe_load(example)
    (source,) = yaml.safe_load((DOCKER / "grafana-datasources.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DOCKER / "grafana-dashboards.yml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert [path for path in mounted if path.startswith(f"{provider['options']['path']}/")]


# The image itself -----------------------------------------------------------------------------------------------------


NSPAWN = [
    "systemd-nspawn",
    "--quiet",
    "--register=no",
    "--keep-unit",
    "--resolv-conf=off",
    "--link-journal=no",
    "--pipe",
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root directory that the steps of the Dockerfile make, in a Debian with a Python of its own as the base."""
    reason = machine.why_not()
    if reason is not None:
        pytest.skip(reason)
    base = machine.root_directory()
    scratch = tmp_path_factory.mktemp("image")
    root = scratch / "root"
    try:
        subprocess.run(["cp", "-a", base, root], check=True)
        shutil.rmtree(root / "opt/binmon")
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        tried = _inside(root, "/", ["/bin/true"])
        if tried.returncode != 0:
            pytest.skip(f"systemd-nspawn cannot start a container here: {tried.stderr.strip()}")
        for stage in STAGES:
            _carry_out(stage, root)
        yield root
    finally:
        shutil.rmtree(scratch)  # it is large


def _carry_out(stage: list[Instruction], root: Path) -> None:
    """RUN, COPY and WORKDIR as the engine does them; both stages have one root directory."""
    directory = "/"
    for one in stage:
        if one.name == "WORKDIR":
            directory = one.value
            (root / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif one.name == "COPY" and "from" not in one.options:
            *sources, target = one.words
            place = root / (target if target.startswith("/") else f"{directory}/{target}").lstrip("/")
            for source in sources:
                here = REPOSITORY / source
                if here.is_dir():
                    shutil.copytree(here, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    end = place / here.name if target.endswith("/") else place
                    end.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(here, end)
        elif one.name == "COPY":
            assert one.words[0] == one.words[1] and (root / one.words[0].lstrip("/")).exists()
        elif one.name == "RUN":
            done = _inside(root, directory, ["/bin/sh", "-c", one.value])
            assert done.returncode == 0, f"{one.value}: {done.stdout}{done.stderr}"


def _inside(root: Path, directory: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    variables = [f"--setenv={name}={value}" for name, value in machine.pip_variables().items()]
    return subprocess.run(
        [*NSPAWN, f"--directory={root}", f"--chdir={directory}", *variables, *command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400,
    )  # fmt: skip


@pytest.mark.system
@pytest.mark.timeout(600)  # making the root directory takes minutes the first time
def test_the_image_runs_read_only_becomes_healthy_and_stops(image: Path, tmp_path: Path) -> None:
    owner = (image / "var/lib/binmon").stat()
    assert f"{owner.st_uid}:{owner.st_gid}" == only(FINAL, "USER").value
    assert not (image / "opt/binmon/bin/pip").exists()
    volume, log = tmp_path / "volume", tmp_path / "log"
    volume.mkdir(mode=0o750)
    os.chown(volume, owner.st_uid, owner.st_gid)
    command = [*only(FINAL, "ENTRYPOINT").words, *only(FINAL, "CMD").words]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *NSPAWN,
                f"--directory={image}",
                f"--machine=binmon-image-{os.getpid()}",
                "--read-only",
                "--tmpfs=/tmp:mode=1777",
                f"--bind={volume}:/var/lib/binmon",
                "--private-network",
                "--drop-capability=all",
                "--no-new-privileges=yes",
                "--user=binmon",
                f"--chdir={only(FINAL, 'WORKDIR').value}",
                *command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        end_s = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < end_s, log.read_text()[-3000:]
            leaders = psutil.Process(process.pid).children()
            if leaders and _enter(leaders[0].pid, health_command()).returncode == 0:
                break
            threading.Event().wait(0.2)
        (leader,) = leaders
        status = Path(f"/proc/{leader.pid}/status").read_text()
        assert re.search(rf"^Uid:(\t{owner.st_uid}){{4}}$", status, re.M)
        assert re.search(r"^NSpid:\t\d+\t1$", status, re.M)  # process 1, with nothing between
        for path in ("/etc/probe", "/opt/binmon/probe", "/probe"):
            assert "Read-only file system" in _enter(leader.pid, ["touch", path]).stderr
        assert (volume / "data/state.db").is_file()
        while not any(path.stat().st_size for path in (volume / "data").glob("segments/*.segment")):  # what it records
            assert process.poll() is None and time.monotonic() < end_s, log.read_text()[-3000:]
            threading.Event().wait(0.2)
        assert [path.name for path in volume.iterdir()] == ["data"]  # what is short-lived went to /tmp
        leader.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()[-3000:]
        lines = [line for line in log.read_text().splitlines() if line.startswith("{")]  # nspawn has words, too
        assert '"daemon.stopped"' in lines[-1]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _enter(leader: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nsenter", "--target", str(leader), "--all", *command], capture_output=True, text=True, timeout=60
    )
