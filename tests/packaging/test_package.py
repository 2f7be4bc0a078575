"""The wheel and the source distribution: what they hold, and that an installation of them works without a compiler."""

from __future__ import annotations

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from binmon import __version__
from tests.system.machine import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]  # an installation fetches what binmon needs

EXTRAS = ("dashboard", "kafka", "nats", "redis", "clickhouse", "notebooks", "all")
FOLDERS = ("binmon", "tests", "docs", "systemd", "benchmarks", "notebooks", ".ci")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


def _run(*command: str | Path, within: Path) -> subprocess.CompletedProcess[str]:
    # who would compile all the same finds no compiler
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=within,
        env=variables | {"CC": "/bin/false", "CXX": "/bin/false"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, as a build leaves its traces."""
    tree = tmp_path_factory.mktemp("tree")
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, tree / name, ignore=_LEFT_OUT)
    for path in REPOSITORY.iterdir():
        if path.is_file() and path.name not in (".gitignore", ".env", ".git"):  # .git is a file in a work tree
            shutil.copy(path, tree)
    return tree


@pytest.fixture(scope="module")
def distributions(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution of the tree, and the wheel that is built from that."""
    output = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--outdir", output, within=tree)
    (source,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def metadata(distributions: tuple[Path, Path]) -> Message:
    with zipfile.ZipFile(distributions[1]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(wheel.read(name))


def test_the_version_comes_from_one_place(distributions: tuple[Path, Path], metadata: Message) -> None:
    assert metadata["Version"] == __version__
    assert [path.name for path in distributions] == [
        f"binmon-{__version__}.tar.gz",
        f"binmon-{__version__}-py3-none-any.whl",  # nothing of it is compiled
    ]
    said = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")
    places = [
        path.relative_to(REPOSITORY).as_posix()
        for path in (*(REPOSITORY / "binmon").rglob("*.py"), *map(REPOSITORY.joinpath, ("setup.cfg", "Dockerfile")))
        if re.search(r"version", path.read_text()) and said.search(path.read_text())
    ]
    assert places == ["binmon/__init__.py"]


def test_the_extras_are_there_and_all_names_them(metadata: Message) -> None:
    assert set(EXTRAS) <= set(metadata.get_all("Provides-Extra", []))
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    (named,) = setup["options.extras_require"]["all"].split()
    assert named == f"binmon[{','.join(EXTRAS[:-1])}]"


def test_the_wheel_has_the_package_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "binmon").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == expected


def test_the_source_distribution_has_what_tests_need(
    tree: Path, distributions: tuple[Path, Path], tmp_path: Path
) -> None:
    with tarfile.open(distributions[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    made = re.compile(r"(^|/)(build|\w+\.egg-info)/|(^|/)PKG-INFO$")

    def files(root: Path) -> set[str]:
        paths = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        return {path for path in paths if not made.search(path)}

    assert files(tree) - files(source) == set()
    assert files(source) - files(tree) == set()
    done = _run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/config", within=source)
    assert re.search(r"^\d+ passed", done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def installed(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of a fresh environment with the wheel in it."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    pip = environment / "bin/pip"
    _run(
        pip, "install", "-q", "--disable-pip-version-check", "--only-binary=:all:", distributions[1], within=environment
    )
    return environment / "bin"


def test_the_commands_work_where_only_the_wheel_is(installed: Path, tmp_path: Path) -> None:
    binmon = installed / "binmon"
    assert _run(binmon, "--version", within=tmp_path).stdout == f"binmon {__version__}\n"
    shutil.copy(REPOSITORY / "config.yaml", tmp_path)
    assert _run(binmon, "check", within=tmp_path).stdout.startswith("# config.yaml is valid")
    assert "--rest-port" in _run(binmon, "sandbox", "--help", within=tmp_path).stdout
    for shell in ("bash", "zsh"):
        assert "--rest-port" in _run(binmon, "completion", shell, within=tmp_path).stdout
    modules = "import binmon; print(binmon.__file__)"
    assert str(installed.parent) in _run(installed / "python", "-c", modules, within=tmp_path).stdout
    _run(installed / "pip", "check", "--disable-pip-version-check", within=tmp_path)


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_can_be_installed(
    extra: str, installed: Path, distributions: tuple[Path, Path], tmp_path: Path
) -> None:
    done = _run(
        installed / "pip",
        *("install", "--dry-run", "--disable-pip-version-check", "--only-binary=:all:"),
        f"{distributions[1]}[{extra}]",
        within=tmp_path,
    )
    assert "does not provide the extra" not in done.stdout + done.stderr
