"""Pages as they are served, with answers and events that a test thinks up: without a daemon."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, FileSystemLoader
from playwright.sync_api import Page, Route

import binmon

HOST = "http://binmon.test"
DASHBOARD = Path(binmon.__file__).parent / "dashboard"
STATIC = DASHBOARD / "static"

Reply = dict[str, Any] | int
"""A document, or the status of a failure."""

EVENTS = """
globalThis.sources = [];
globalThis.EventSource = class extends EventTarget {
  static CLOSED = 2;
  constructor(url) {
    super();
    this.url = url;
    this.readyState = 0;
    sources.push(this);
  }
  close() {
    this.readyState = 2;
  }
  tell(kind, data = null, lastEventId = "") {
    if (kind === "open") this.readyState = 1;
    const event = data === null ? new Event(kind) : new MessageEvent(kind, { data: JSON.stringify(data), lastEventId });
    this.dispatchEvent(event);
  }
};
"""
"""A stream of events that says what a test has it say: `sources` are those that were opened."""


def serve_files(page: Page) -> None:
    """An empty page at `HOST`, and the files under the names that their imports have."""

    def serve(route: Route) -> None:
        name = urlsplit(route.request.url).path.removeprefix("/")
        if name == "":
            route.fulfill(content_type="text/html", body="<!doctype html><title>bare</title>")
        elif (STATIC / name).is_file():
            kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "text/plain"
            route.fulfill(content_type=kind, body=(STATIC / name).read_bytes())
        else:
            route.fulfill(status=404, body="")

    page.route(f"{HOST}/**", serve)


class Stage:
    """``answers``: by path, a document, a status, or what makes one of the parameters. ``asked``: what came in, in order."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[str, Reply | Callable[[dict[str, str]], Reply]] = {
            "/api/settings": {},
            "/api/venues": {"venues": []},
            "/api/symbols": {"symbols": [], "new_count": 0, "total": 0},
        }
        serve_files(page)
        page.add_init_script(EVENTS)
        page.route(f"{HOST}/api/**", self._answer)

    def open(self, name: str, query: str = "", **data: Any) -> None:
        """The page of this name, with this data of the server in it."""
        templates = Environment(loader=FileSystemLoader(DASHBOARD / "templates"), autoescape=True)
        templates.globals["static"] = lambda path: f"/{path}"
        data = {"page": name, "csrf": "x", "user": "anna", **data}
        body = templates.get_template(f"{name}.html").render(page_data=data, version="0", **data)
        self.page.route(f"{HOST}/{name}?*", lambda route: route.fulfill(content_type="text/html", body=body))
        self.page.goto(f"{HOST}/{name}?{query}")
        for _ in range(1200):
            if self.page.evaluate("sources.length > 0"):
                break
            self.page.wait_for_timeout(50)
        self.tell("open")
        self.tell("hello", {}, 1)

    def tell(self, kind: str, data: Any = None, event_id: int | str = "") -> None:
        """An event of the newest stream."""
        script = "([kind, data, id]) => sources.at(-1).tell(kind, data, String(id))"
        self.page.evaluate(script, [kind, data, event_id])

    def _answer(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        parameters = {name: values[0] for name, values in parse_qs(address.query).items()}
        body = route.request.post_data
        self.asked.append((route.request.method, address.path, json.loads(body) if body else parameters))
        found = self.answers.get(address.path, 404)
        reply = found(parameters) if callable(found) else found
        if isinstance(reply, int):
            route.fulfill(status=reply, json={"error": {"code": "failed", "message": f"status {reply}"}})
        else:
            route.fulfill(json=reply)
