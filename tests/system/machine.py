"""A machine with a real systemd: Debian in a container of systemd-nspawn, with the package installed.

The root directory (Debian, and the package's dependencies in /opt/binmon) takes a minute to make and is kept in
``/var/cache/binmon-tests``, or where ``BINMON_TEST_CACHE`` says. A run never changes it: what a container writes lies in
memory and is gone with it. The network is the container's own.
"""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
SUITE = "bookworm"
MIRROR = os.environ.get("BINMON_DEBIAN_MIRROR", "http://deb.debian.org/debian")
CACHE = Path(os.environ.get("BINMON_TEST_CACHE", "/var/cache/binmon-tests"))
PACKAGES = "systemd,systemd-sysv,dbus,python3-minimal,python3-venv,ca-certificates"
BOOT_WITHIN_S = 90.0
_KEPT_S = 7 * 86_400.0
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


def why_not() -> str | None:
    """What keeps this machine from running a container, if anything."""
    if os.geteuid() != 0:
        return "only root can start a container"
    for tool in ("systemd-nspawn", "debootstrap", "nsenter"):
        if shutil.which(tool) is None:
            return f"there is no {tool} (Debian: apt-get install systemd-container debootstrap util-linux)"
    return None


class Machine:
    """A container that has booted. Commands run as root in all of its namespaces."""

    def __init__(self, process: subprocess.Popen[bytes], leader: int) -> None:
        self._process, self._leader = process, leader

    def run(
        self, *command: str, given: str | None = None, check: bool = True, within_s: float = 180.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with ``check`` a status other than 0 fails the test."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", *command],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=within_s,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_COLORS": "0"},
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def write(self, path: str, text: str, *, mode: str = "0644", group: str = "root") -> None:
        """Make a file, with the folders around it."""
        self.run("install", "-D", "-m", mode, "-g", group, "/dev/null", path)
        self.run("sh", "-c", 'cat > "$0"', path, given=text)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        text = self.run("systemctl", "show", unit, f"--property={','.join(properties)}").stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def journal(self, unit: str, *, since_s: float = 0.0) -> list[dict[str, Any]]:
        """What the journal has of a unit, oldest first."""
        command = ["journalctl", f"--unit={unit}", "--output=json", "--all", "--no-pager", f"--since=@{since_s:.6f}"]
        return [json.loads(line) for line in self.run(*command).stdout.splitlines()]

    def said(self, unit: str, event: str, *, since_s: float = 0.0) -> list[dict[str, Any]]:
        """Lines of the log, by their event."""
        found = []
        for entry in self.journal(unit, since_s=since_s):
            try:
                line = json.loads(entry["MESSAGE"])
            except (ValueError, TypeError):
                continue
            if isinstance(line, dict) and line.get("event") == event:
                found.append(line)
        return found

    def until(self, true: Callable[[], Any], what: str, within_s: float = 120.0) -> Any:
        """Ask until the answer is true, and return it."""
        end_s = time.monotonic() + within_s
        while not (answer := true()):
            assert time.monotonic() < end_s, f"waited in vain for {what}"
            threading.Event().wait(0.1)
        return answer

    def stop(self) -> None:
        """Power off."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def machine(scratch: Path) -> Iterator[Machine]:
    """A container with the package of this tree installed in /opt/binmon; skips where there can be none."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    root = root_directory()
    package = _wheel(scratch)
    # what cannot even run a command cannot boot
    start = ["systemd-nspawn", "--quiet", f"--directory={root}", "--register=no", "--keep-unit", "--resolv-conf=off"]
    tried = subprocess.run(
        [*start, "--volatile=overlay", "--pipe", "/bin/true"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    if tried.returncode != 0:
        pytest.skip(f"systemd-nspawn cannot start a container here: {tried.stderr.strip()}")
    log = scratch / "console.log"
    with log.open("wb") as console:
        process = subprocess.Popen(
            [
                *start,
                "--volatile=overlay",
                "--private-network",
                "--link-journal=no",
                f"--machine=binmon-{os.getpid()}",
                f"--bind-ro={package.parent}:/srv/package",
                f"--bind-ro={REPOSITORY / 'systemd'}:/srv/systemd",
                "--console=pipe",
                "--boot",
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
    booted: Machine | None = None
    try:
        booted = _booted(process, log)
        booted.run("/opt/binmon/bin/pip", "install", "-q", "--no-deps", "--no-index", f"/srv/package/{package.name}")
        yield booted
    finally:
        if booted is not None:
            booted.stop()
        elif process.poll() is None:
            process.kill()
            process.wait()


def _booted(process: subprocess.Popen[bytes], log: Path) -> Machine:
    end_s = time.monotonic() + BOOT_WITHIN_S
    while True:
        if process.poll() is not None:
            pytest.skip(f"a container cannot boot here: it ended with {process.returncode}: {log.read_text()[-1000:]}")
        for child in psutil.Process(process.pid).children():
            machine = Machine(process, child.pid)
            state = machine.run("systemctl", "is-system-running", check=False).stdout.strip()
            if state in ("running", "degraded"):
                return machine
        if time.monotonic() >= end_s:
            pytest.skip(f"a container cannot boot here within {BOOT_WITHIN_S:.0f} s: {log.read_text()[-1000:]}")
        threading.Event().wait(0.2)


# What is kept ---------------------------------------------------------------------------------------------------------


def root_directory() -> Path:
    """The root directory of the container, made when there is none for these dependencies."""
    requirements = _requirements()
    made_of = json.dumps([SUITE, PACKAGES, requirements])
    CACHE.mkdir(parents=True, exist_ok=True)
    root = CACHE / f"{SUITE}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two runs at a time, one makes it
        if root.is_dir():
            return root
        _ask_mirror()
        half = root.with_name(root.name + ".half")
        for other in CACHE.glob(f"{SUITE}-*"):  # half made, or of dependencies of long ago
            if other.suffix == half.suffix or time.time() - other.stat().st_mtime > _KEPT_S:
                shutil.rmtree(other)
        with (CACHE / "making.log").open("w+") as log:
            _made(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(half), MIRROR], log)
            _bring_network(half)
            _made(["chroot", str(half), "python3", "-m", "venv", "/opt/binmon"], log)
            pip = ["/opt/binmon/bin/pip", "install", "-q", "--no-cache-dir", "--disable-pip-version-check"]
            _made(["chroot", str(half), *pip, *requirements], log, pip_variables())
        half.rename(root)
    return root


def _requirements() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    return setup["options"]["install_requires"].split()


def _ask_mirror() -> None:
    url = f"{MIRROR}/dists/{SUITE}/Release"
    try:
        urllib.request.urlopen(url, timeout=20).close()
    except (urllib.error.URLError, OSError) as error:
        pytest.skip(f"no mirror of Debian's packages: {url}: {error}")


def _bring_network(root: Path) -> None:
    """The names and certificates that hold on this machine, so that pip gets through from inside, too."""
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    certificates = ssl.get_default_verify_paths().cafile or f"/{_CERTIFICATES}"
    if Path(certificates).is_file():
        shutil.copy(certificates, root / _CERTIFICATES)
    if Path("/etc/pip.conf").is_file():
        shutil.copy("/etc/pip.conf", root / "etc/pip.conf")


def pip_variables() -> dict[str, str]:
    wanted = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    return {name: os.environ[name] for name in wanted if name in os.environ} | {"PIP_CERT": f"/{_CERTIFICATES}"}


def _made(command: list[str], log: IO[str], variables: dict[str, str] | None = None) -> None:
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": path, "LANG": "C", **(variables or {})}
    )
    if done.returncode != 0:
        log.seek(0)
        pytest.skip(f"no root directory can be made here: {command[0]}: status {done.returncode}: {log.read()[-1000:]}")


def _wheel(scratch: Path) -> Path:
    """The package of this tree, built from a copy of it."""
    source, wheels = scratch / "source", scratch / "package"
    shutil.copytree(REPOSITORY / "binmon", source / "binmon", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([*command, "-w", str(wheels), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("*.whl")
    return wheel
