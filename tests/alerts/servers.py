"""Servers on loopback that misbehave as told: a webhook and a mail server."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any

DEADLINE_S = 30.0


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait for a condition, generously."""
    end = time.monotonic() + DEADLINE_S
    waiting = threading.Event()
    while not condition():
        assert time.monotonic() < end, what or "the condition never came true"
        waiting.wait(0.01)


class WebhookServer:
    """Answers each request with the next of ``answers`` (the last for ever): a status, ``hang``, ``drip``, ``break``,
    ``garbled`` (headers that no library can parse) or ``(status, headers)``. Keeps what it was sent."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers or [200])
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.answer(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that went away is what these tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def documents(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.requests]

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.requests.append((request.path, dict(request.headers), body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "hang":
            self.released.wait(DEADLINE_S)
            return
        if answer == "break":
            request.close_connection = True
            return
        if answer == "drip":
            while not self.released.wait(0.05):
                request.wfile.write(b"X" if self.requests else b"")
                request.wfile.flush()
            return
        if answer == "garbled":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX: 1\r\n: : nonsense\r\n bad\r\n\r\n")
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MailServer:
    """As much of SMTP as a client without TLS needs. ``refuse_login`` answers 535; mails are kept as text."""

    def __init__(self, *, refuse_login: bool = False) -> None:
        self.mails: list[str] = []
        self.logins: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 loopback")
                while line := self.rfile.readline().decode().strip():
                    verb = line.split(" ")[0].upper()
                    if verb == "EHLO":
                        self.say("250-loopback\r\n250 AUTH PLAIN")
                    elif verb == "AUTH":
                        outer.logins.append(line)
                        self.say("535 5.7.8 bad credentials: " + line if refuse_login else "235 welcome")
                    elif verb == "DATA":
                        self.say("354 go on")
                        lines: list[str] = []
                        while (text := self.rfile.readline().decode()) != ".\r\n":
                            lines.append(text)
                        outer.mails.append("".join(lines))
                        self.say("250 taken")
                    elif verb == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 ok")

            def say(self, text: str) -> None:
                self.wfile.write(text.encode() + b"\r\n")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: Any) -> None:
                """A client that went away is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
