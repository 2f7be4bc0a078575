"""The Flask application: checks before every request, headers on every answer, one way to say what is wrong."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from flask import Flask, Response, g, jsonify, make_response, redirect, render_template, request
from jinja2 import TemplateError
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.urls import iri_to_uri

import binmon
from binmon.dashboard.access import LARGEST_FORM, Access, is_api
from binmon.dashboard.api import make_api
from binmon.dashboard.assets import Assets
from binmon.dashboard.headers import SECURITY_HEADERS
from binmon.dashboard.hub import Hub
from binmon.dashboard.memory import Memory
from binmon.dashboard.pages import make_pages, near_links
from binmon.dashboard.problems import Refused
from binmon.dashboard.sources import Sources
from binmon.dashboard.streams import StreamServer
from binmon.state import StateFailed

log = structlog.get_logger("binmon.dashboard")

HERE = Path(__file__).parent
PUBLIC = frozenset({"pages.login", "pages.log_in", "pages.static", "pages.favicon"})
"""The endpoints that need no login: the login itself, and our files, which tell nothing of the daemon."""


def make_application(
    access: Access,
    sources: Sources,
    hub: Hub,
    memory: Memory,
    streams: StreamServer,
    *,
    behind_proxy: bool = False,
    develops: bool = False,
) -> Flask:
    """Build it. ``behind_proxy``: believe the one proxy in front what it says of the client; ``develops``: look at templates
    and files anew for each request."""
    app = Flask("binmon.dashboard", root_path=str(HERE), static_folder=None, template_folder="templates")
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_FORM, MAX_FORM_MEMORY_SIZE=LARGEST_FORM, MAX_FORM_PARTS=50)
    app.config["TEMPLATES_AUTO_RELOAD"] = develops
    app.json.sort_keys = False  # type: ignore[attr-defined]
    assets = Assets(HERE / "static", reloads=develops)
    app.register_blueprint(make_pages(access, sources, streams, assets))
    app.register_blueprint(make_api(access, sources, hub, memory, streams))
    app.jinja_env.globals["static"] = assets.url

    @app.before_request
    def check() -> Response | None:
        g.visitor = None
        access.check_request()
        if request.endpoint in PUBLIC:
            return None
        who = access.recognise()
        if who is None or (who.session is None and not is_api()):
            return _ask_to_log_in()
        g.visitor = who
        access.check_change(who)
        return None

    @app.context_processor
    def names() -> dict[str, Any]:
        who = g.get("visitor")
        session = None if who is None else who.session
        return {
            "user": None if who is None else who.user,
            "csrf": "" if session is None else session.csrf,
            "version": binmon.__version__,
        }

    @app.after_request
    def dress(answer: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            answer.headers[name] = value
        if "Cache-Control" not in answer.headers:
            answer.headers["Cache-Control"] = "no-store"
        if request.is_secure:
            answer.headers["Strict-Transport-Security"] = "max-age=31536000"
        return answer

    @app.errorhandler(Refused)
    def refused(problem: Refused) -> Response:
        return _problem(problem)

    @app.errorhandler(HTTPException)
    def http_problem(problem: HTTPException) -> Response:
        code = problem.code or 500
        words = _WORDS.get(code, (problem.name.lower().replace(" ", "_"), f"{problem.name.lower()}"))
        headers = {"Allow": ", ".join(sorted(problem.valid_methods or ()))} if code == 405 else {}  # type: ignore[attr-defined]
        return _problem(Refused(code, *words, headers=headers))

    @app.errorhandler(StateFailed)
    def state_failed(problem: StateFailed) -> Response:
        log.error("dashboard.failed", source=_where(), error=str(problem))
        return _problem(
            Refused(503, "state_failed", "the state database cannot be used now", headers={"Retry-After": "5"})
        )

    @app.errorhandler(Exception)
    def failed(problem: Exception) -> Response:
        # whatever is wrong with the answer, who asks is told so, and the log says what
        log.error("dashboard.failed", source=_where(), error=f"{type(problem).__name__}", exc_info=problem)
        return _problem(Refused(500, "failed", "this failed; the log of binmon says why"))

    if behind_proxy:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)  # type: ignore[method-assign]
    return app


_WORDS = {
    400: ("bad_request", "the request cannot be read"),
    404: ("not_found", "there is no such page"),
    405: ("wrong_method", "this cannot be asked for in this way"),
    413: ("too_large", f"expected at most {LARGEST_FORM} bytes"),
    415: ("not_json", "expected JSON"),
}


_TITLES = {
    400: "This request is not understood",
    403: "Not allowed",
    404: "Not found",
    413: "Too large",
    429: "Too much at once",
    500: "This failed",
    503: "Not now",
}


def _where() -> str:
    """Which view; not the path, in which anything may stand."""
    return request.endpoint or "unknown page"


def _ask_to_log_in() -> Response:
    if is_api():
        answer = _problem(Refused(401, "unauthorized", "log in, or send a valid token"))
        answer.headers["WWW-Authenticate"] = 'Bearer realm="binmon"'
        return answer
    if request.method not in ("GET", "HEAD"):
        return make_response(redirect("/login", 303))
    wanted = iri_to_uri(request.full_path if request.query_string else request.path)
    return make_response(redirect("/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}", 303))


def _problem(problem: Refused) -> Response:
    """JSON for the API, a page for people; a line of text where even that fails."""
    if is_api():
        document: dict[str, Any] = {"code": problem.code, "message": problem.message}
        if problem.near:
            document["near"] = list(problem.near)
        answer = make_response(jsonify(error=document), problem.status)
    else:
        try:
            body = render_template(
                "error.html",
                page="error",
                page_data={"page": "error"},
                status=problem.status,
                title=_TITLES.get(problem.status, HTTPStatus(problem.status).phrase),
                message=problem.message,
                near=near_links(problem.near, request.args.get("venue", "")),
            )
            answer = make_response(body, problem.status)
        except TemplateError as error:
            log.error("dashboard.failed", source="error.html", error=type(error).__name__)
            answer = Response(f"{problem.message}\n", problem.status, content_type="text/plain; charset=utf-8")
    answer.headers.update(problem.headers)
    return answer
