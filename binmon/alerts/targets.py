"""Where messages go: one target for each URL of ``alerts.notify``. Sending blocks, so a delivery worker does it.

``http://`` and ``https://`` URLs are webhooks, which get JSON from ourselves; but the address of an incoming webhook of
a known service (``https://hooks.slack.com/services/…``) speaks that service's own language. Everything else is left to
apprise (``slack://``, ``tgram://``, ``mailto://`` …), which is loaded only when a URL needs it.

**A URL is a secret**: tokens stand in its user, path, query, and for many services where the host would be. Nothing
here quotes any part of it, but for the scheme, and the host where that surely is one. What a library says of a failure
(its exceptions and its log quote URLs) is not repeated either; it is looked through for words that are known here.
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import requests.utils

from binmon.alerts.notification import Notification, together, worst_of
from binmon.alerts.rules import NotifyKind
from binmon.alerts.silence import quiet
from binmon.errors import BinmonError, ConfigError, RetryError
from binmon.messages import Severity
from binmon.net.patience import Patience, PatientAdapter

if TYPE_CHECKING:
    import apprise

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0
TOTAL_TIMEOUT_S = 15.0
"""How long one request may take; a delivery waits a little longer than that for any attempt."""

_LONGEST_BODY = 30_000
_MOST_TOGETHER = 10
_ROOM_FOR_MANY = 1_500  # characters that a service must take, to get several alerts in one message
_LONGEST_RETRY_AFTER_S = 600.0
_RETRY_STATUSES = frozenset((408, 425, 429))  # of all 4xx those that say: not now
_REAL_HOSTS = frozenset(
    ("http", "https", "json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "gotify", "gotifys")
)
"""Schemes whose host is a host; elsewhere a token may stand there."""

_KNOWN_WORDS = (
    ("timed out", "no answer in time"),
    ("refused", "connection refused"),
    ("certificate verify failed", "its certificate is not valid"),
    ("wrong version number", "it does not speak TLS"),
    ("name or service not known", "its host name is not known"),
    ("name resolution", "its host name cannot be looked up"),
    ("no address associated", "its host name is not known"),
    ("failed to resolve", "its host name is not known"),
    ("unreachable", "the network does not reach it"),
    ("no route to host", "the network does not reach it"),
    ("authentication", "it does not accept the credentials"),
    ("reset by peer", "the connection broke off"),
    ("connection aborted", "the connection broke off"),
    ("closed", "the connection broke off"),
    ("connection error", "no connection"),
)
_STATUS = re.compile(r"error=([1-5][0-9]{2})\b")
_MAIL_STATUS = re.compile(r"\(([45][0-9]{2}), b['\"]")  # of smtplib's exceptions
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://\S")


class TargetFailed(RetryError):
    """The message has not arrived; the same may work later. ``str()`` has no secrets."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        self.reason, self.retry_after_s = reason, retry_after_s
        super().__init__(reason)


class TargetRefused(BinmonError):
    """The service does not take this message, or none of ours (a wrong token); trying for long is no use."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Target(ABC):
    """One place to send to. ``most_at_once`` messages may be sent as one, with ``pause_s`` between two."""

    most_at_once: int = 1
    pause_s: float = 0.0

    def __init__(self, name: str) -> None:
        self._name = name

    def describe(self) -> str:
        """A name that is safe to log: ``notify[0] slack``, ``notify[1] https://example.com``."""
        return self._name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    @abstractmethod
    def send(self, notifications: Sequence[Notification]) -> None:
        """Send, and block until the service has taken it. Raises TargetFailed and TargetRefused, nothing else."""


class WebhookTarget(Target):
    """POSTs one JSON object a message: title, body, type, alert, subject, severity, at, count, duration_s, host.

    Redirects are not followed (a POST would become a GET). User and password of the URL go as basic authentication.
    """

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name)
        user, password = requests.utils.get_auth_from_url(url)
        self._auth = (user, password) if user or password else None
        self._url = url

    def send(self, notifications: Sequence[Notification]) -> None:
        """One request a message; stops at the first that fails."""
        for one in notifications:
            failure = self._post(one)
            if failure is not None:  # raised out here, so that no context carries the library's exception along
                raise failure

    def _post(self, one: Notification) -> TargetFailed | TargetRefused | None:
        patience = Patience()
        patience.begin(TOTAL_TIMEOUT_S, threading.Event())
        try:
            with quiet(), requests.Session() as session:
                adapter = PatientAdapter(patience)
                session.mount("http://", adapter)
                session.mount("https://", adapter)
                with session.post(
                    self._url,
                    data=json.dumps(payload(one), ensure_ascii=False).encode(),
                    headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "binmon"},
                    # never None: requests would look for the host in ~/.netrc
                    auth=self._auth or (lambda request: request),
                    timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                    allow_redirects=False,
                    stream=True,  # the answer's body is of no interest
                ) as response:
                    return _judged(response.status_code, response.headers.get("Retry-After", ""))
        except Exception as error:  # of requests, of urllib3, of the URL: all quote the URL
            return TargetFailed(_in_known_words([str(error)]) or type(error).__name__)


class AppriseTarget(Target):
    """Any service that apprise knows. Several messages that wait become one, where the service takes long texts."""

    def __init__(self, name: str, service: apprise.NotifyBase) -> None:
        super().__init__(name)
        import apprise

        # Pauses and tries again are the delivery worker's business, who can be stopped while it waits.
        self.pause_s = max(0.0, min(10.0, float(service.request_rate_per_sec)))
        service.request_rate_per_sec = 0
        service.service_retry = 0
        service.socket_connect_timeout = min(CONNECT_TIMEOUT_S, float(service.socket_connect_timeout))
        service.socket_read_timeout = min(READ_TIMEOUT_S, float(service.socket_read_timeout))
        self._room = min(_LONGEST_BODY, int(service.body_maxlen or _LONGEST_BODY))
        self.most_at_once = _MOST_TOGETHER if self._room >= _ROOM_FOR_MANY else 1
        if service.overflow_mode == apprise.OverflowMode.UPSTREAM:  # the services would refuse what is too long
            service.overflow_mode = apprise.OverflowMode.TRUNCATE
        self._apprise = apprise.Apprise(asset=service.asset)
        self._apprise.add(service)

    def send(self, notifications: Sequence[Notification]) -> None:
        """All in one message."""
        title, body = together(notifications, self._room)
        said: list[str] = []
        try:
            with quiet(said):
                done = bool(
                    self._apprise.notify(body=body, title=title, notify_type=_type(notifications), body_format="text")
                )
        except Exception as error:
            done = False
            said.append(f"{type(error).__name__}: {error}")
        if done:
            return
        raise _understood(said)


def build(urls: Sequence[str]) -> list[Target]:
    """The targets of ``alerts.notify``. Raises ConfigError that names the key of the first wrong one, never the URL."""
    return [_target(url, index) for index, url in enumerate(urls)]


def check(urls: Sequence[str]) -> None:
    """Raise ConfigError when a URL is not usable; nothing is sent."""
    build(urls)


def payload(one: Notification) -> dict[str, Any]:
    """What a webhook gets."""
    return {
        "title": one.title,
        "body": one.body,
        "type": one.kind.value,
        "alert": one.alert,
        "subject": one.subject,
        "severity": one.severity.value,
        "at": one.at,
        "count": one.count,
        "duration_s": round(one.duration_s, 3),
        "host": one.host,
    }


# URLs -------------------------------------------------------------------------------------------------------------


def _target(url: str, index: int) -> Target:
    key = f"alerts.notify[{index}]"
    found = _SCHEME.match(url)
    if found is None:
        raise ConfigError(
            "expected a URL such as slack://…, tgram://…, mailto://… or https://…, got something else (not shown)",
            key=key,
        )
    scheme = found[1].lower()
    if scheme == "http":
        return _webhook(url, index, key)
    service, expected = _service(url, scheme)
    if service is not None:
        return AppriseTarget(_name(url, scheme if scheme != "https" else _scheme_of(service), index), service)
    if scheme == "https":
        return _webhook(url, index, key)
    raise ConfigError(expected, key=key)


def _webhook(url: str, index: int, key: str) -> Target:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("expected https://host[:port]/path, got a URL that is none (not shown)", key=key)
    return WebhookTarget(_name(url, urlsplit(url).scheme, index), url)


def _service(url: str, scheme: str) -> tuple[apprise.NotifyBase | None, str]:
    """What apprise makes of ``url``; or None, and what it would have expected."""
    with quiet():
        apprise, plugins = _load()
        try:
            service = apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
        except Exception:  # of a plugin that reads the URL: it quotes it
            service = None
        if service is not None:
            return service, ""
        if scheme not in plugins.N_MGR:
            return (
                None,
                "expected the URL of a service that apprise knows, or https://…, got another scheme (not shown)",
            )
        plugin = plugins.N_MGR[scheme]
        if not plugin.enabled:
            return None, f"expected another service: {scheme}:// needs a Python package that is not installed"
        templates = [str(one).replace("{schema}", scheme) for one in getattr(plugin, "templates", ())]
        wanted = " or ".join(templates[:3]) or f"what apprise wants for {scheme}://"
        return None, f"expected {wanted}, got something else (not shown)"


def _load() -> tuple[Any, Any]:
    """apprise and its plugins, which cost 26 MB: so only once a URL needs them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what apprise uses that is deprecated is no news for an operator
        import apprise
        from apprise import plugins

        assert "json" in plugins.N_MGR  # this is what loads them
    return apprise, plugins


def _scheme_of(service: apprise.NotifyBase) -> str:
    """What apprise calls a service: some have several names."""
    protocol: Any = service.secure_protocol or service.protocol
    return str(protocol if isinstance(protocol, str) else next(iter(protocol)))


def _asset() -> apprise.AppriseAsset:
    import apprise

    asset = apprise.AppriseAsset(async_mode=False)
    asset.app_id = asset.app_desc = "binmon"
    asset.app_url = ""
    asset.interpret_escapes = False
    # With a limit of its own, it would send in a thread that nothing can give up; the delivery worker has the limit.
    asset._service_timeout = 0
    return asset


def _name(url: str, known_as: str, index: int) -> str:
    host = _host(url) if known_as in _REAL_HOSTS else ""
    return f"notify[{index}] {known_as}://{host}" if host else f"notify[{index}] {known_as}"


def _host(url: str) -> str:
    """The host with its port, or nothing where it is not beyond doubt that this is one."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    misplaced = "@" in parts.path or "@" in parts.fragment or ("@" in parts.query and "@" not in parts.netloc)
    if misplaced or parts.netloc.count("@") > 1 or not re.fullmatch(r"[a-z0-9.\-:]+", host):
        return ""
    return (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")


# Failures ---------------------------------------------------------------------------------------------------------


def _judged(status: int, retry_after: str) -> TargetFailed | TargetRefused | None:
    """What the status of an answer means; None for done."""
    if 200 <= status < 300:
        return None
    if 400 <= status < 500 and status not in _RETRY_STATUSES:
        return TargetRefused(f"HTTP {status}")
    wait = retry_after.strip()
    wait_s = min(float(wait), _LONGEST_RETRY_AFTER_S) if re.fullmatch(r"[0-9]{1,9}", wait) else 0.0
    return TargetFailed(f"HTTP {status}", wait_s)


def _understood(said: Sequence[str]) -> TargetFailed | TargetRefused:
    """Why apprise's service did not take a message, from what apprise logged meanwhile."""
    for text in reversed(said):
        if (mail := _MAIL_STATUS.search(text)) is not None:
            permanent = mail[1].startswith("5")  # RFC 5321, 4.2.1: trying the same again is no use
            return TargetRefused(f"SMTP {mail[1]}") if permanent else TargetFailed(f"SMTP {mail[1]}")
        if (status := _STATUS.search(text)) is not None and (failure := _judged(int(status[1]), "")) is not None:
            return failure
    return TargetFailed(_in_known_words(said) or "the service did not take it")


def _in_known_words(texts: Sequence[str]) -> str:
    """Why it failed, in words of our own: what a library says may quote the URL."""
    said = " ".join(texts).lower()
    return next((ours for theirs, ours in _KNOWN_WORDS if theirs in said), "")


def _type(notifications: Sequence[Notification]) -> Any:
    """apprise's colour of a message."""
    import apprise

    if all(one.kind is NotifyKind.RECOVERED for one in notifications):
        return apprise.NotifyType.SUCCESS
    worst = worst_of(notifications)
    if worst is Severity.INFO:
        return apprise.NotifyType.INFO
    return apprise.NotifyType.WARNING if worst is Severity.WARNING else apprise.NotifyType.FAILURE
