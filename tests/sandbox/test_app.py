"""The command line, as a process."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]


@pytest.fixture
def launch():
    running = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "binmon.sandbox", *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ready_line_then_clean_end_on_a_signal(launch, number):
    process = launch("--symbols", "BTCUSDT,FOOUSDT", "--seed", "3")
    ready = json.loads(process.stdout.readline())
    assert ready["event"] == "sandbox.ready"
    assert ready["pid"] == process.pid
    assert requests.get(ready["rest"] + "/api/v3/ping", timeout=30).json() == {}
    files = [Path(key["private_key_file"]) for key in ready["keys"] if "private_key_file" in key]
    assert files and all(file.exists() for file in files)
    started = time.monotonic()
    process.send_signal(number)
    assert process.wait(30) == 0
    assert time.monotonic() - started < 20
    assert process.stdout.read() == ""
    assert not any(file.parent.exists() for file in files)


def test_ends_with_its_parents_pipe(launch):
    process = launch("--symbols", "BTCUSDT", "--until-stdin-closes")
    assert process.stdout.readline()
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdin = None


def test_configuration_file(launch, tmp_path):
    path = tmp_path / "sandbox.yaml"
    path.write_text("symbols: [ETHUSDT]\nweight-limit: 50\nseed: 9\n")
    process = launch("--config", str(path), "--seed", "10")
    ready = json.loads(process.stdout.readline())
    assert ready["symbols"][0] == "ETHUSDT"
    info = requests.get(ready["rest"] + "/api/v3/exchangeInfo", timeout=30).json()
    assert info["rateLimits"][0]["limit"] == 50
    assert requests.get(ready["rest"] + "/sandbox/state", timeout=30).json()["seed"] == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rest-port", "70000"], ["--rest-port", "0 to 65535", "70000"]),
        (["--ws-api-port", "-1"], ["--ws-api-port", "0 to 65535", "-1"]),
        (["--bybit-port", "70000"], ["--bybit-port", "0 to 65535", "70000"]),
        (["--bybit-symbols", "BTCUSDT,BTCUSDT"], ["BTCUSDT", "twice"]),
        (["--bybit-taker-fee", "0.5"], ["--bybit-taker-fee", "0 to 0.0999", "0.5"]),
        (["--commission", "x"], ["--commission", "4 decimals", "x"]),
        (["--generate", "-1"], ["--generate", "0 to 5000", "-1"]),
        (["--speed", "0"], ["--speed", "above 0"]),
        (["--symbols", "btcusdt"], ["btcusdt", "uppercase"]),
        (["--replay", "/nowhere.tsv"], ["/nowhere.tsv", "readable"]),
        (["--config", "/nowhere.yaml"], ["/nowhere.yaml"]),
        (["--rate", "fast"], ["--rate"]),
    ],
)
def test_wrong_options_are_explained_in_one_line(launch, arguments, words):
    process = launch(*arguments)
    assert process.wait(60) == 2
    lines = process.stderr.read().strip().splitlines()
    assert all(word in lines[-1] for word in words), lines
    assert process.stdout.read() == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour: red", ["colour", "unknown key"]),
        ("seed: x", ["seed", "integer"]),
        ("- 1", ["keys"]),
        ("{", ["YAML"]),
    ],
)
def test_wrong_configuration_is_explained(launch, tmp_path, text, words):
    path = tmp_path / "sandbox.yaml"
    path.write_text(text)
    process = launch("--config", str(path))
    assert process.wait(60) == 2
    error = process.stderr.read().strip()
    assert "\n" not in error
    assert all(word in error for word in [*words, "sandbox.yaml"]), error


@pytest.mark.parametrize("option", ["--rest-port", "--ws-api-port", "--bybit-port"])
def test_taken_port_is_explained(launch, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = launch(option, port)
        assert process.wait(60) == 2
        error = process.stderr.read().strip()
        assert port in error and "in use" in error and "\n" not in error
