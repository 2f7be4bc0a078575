"""Targets over real servers, and what they may say of themselves: never a token."""

from __future__ import annotations

import io
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from binmon.alerts import targets
from binmon.alerts.silence import quiet
from binmon.alerts.targets import Target, TargetFailed, TargetRefused, build, check
from binmon.config import load
from binmon.config.schema import AlertsConfig
from binmon.errors import ConfigError
from binmon.messages import AlertName, Severity
from binmon.telemetry.events import VOCABULARY
from tests.alerts.messages import message
from tests.alerts.servers import MailServer, WebhookServer

Server = Callable[..., WebhookServer]


@pytest.fixture
def server() -> Iterator[Server]:
    servers: list[WebhookServer] = []

    def start(*answers: Any) -> WebhookServer:
        servers.append(WebhookServer(*answers))
        return servers[-1]

    yield start
    for one in servers:
        one.close()


def only(url: str) -> Target:
    (target,) = build([url])
    return target


def test_a_webhook_gets_the_message_as_json(server: Server) -> None:
    webhook = server()
    target = only(f"http://someone:word@{webhook.address}/hooks/alerts?room=1")
    target.send([message(7, severity=Severity.ERROR)])
    ((path, headers, _),) = webhook.requests
    assert path == "/hooks/alerts?room=1"
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Authorization"] == "Basic c29tZW9uZTp3b3Jk"
    assert webhook.documents == [
        {
            "title": "ERROR latency.delayed: binance S7",
            "body": "took 7 s\n2023-11-14T22:13:20Z host-1",
            "type": "raised",
            "alert": "latency.delayed",
            "subject": "binance S7",
            "severity": "error",
            "at": "2023-11-14T22:13:20Z",
            "count": 1,
            "duration_s": 0.0,
            "host": "host-1",
        }
    ]


def test_a_webhook_takes_nothing_from_netrc(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    webhook = server()
    only(f"http://{webhook.address}/").send([message()])
    assert "Authorization" not in webhook.requests[0][1]


def test_texts_that_no_encoding_takes_are_sent_escaped(server: Server) -> None:
    webhook = server()
    only(f"http://{webhook.address}/").send([message(text="\udcff ₿")])
    assert webhook.documents[0]["body"].startswith("\\udcff ₿")


@pytest.mark.parametrize("scheme", ["http", "json"])
@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (500, TargetFailed, "HTTP 500"),
        (429, TargetFailed, "HTTP 429"),
        (404, TargetRefused, "HTTP 404"),
        (401, TargetRefused, "HTTP 401"),
        ("break", TargetFailed, "the connection broke off"),
    ],
)
def test_what_an_answer_means(
    server: Server, scheme: str, answer: Any, kind: type[TargetFailed | TargetRefused], reason: str
) -> None:
    with pytest.raises(kind) as caught:
        only(f"{scheme}://{server(answer).address}/x").send([message()])
    assert str(caught.value) == reason


def test_the_service_may_say_when_to_try_again(server: Server) -> None:
    for header, expected_s in (("7", 7.0), ("999999", 600.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-5", 0.0)):
        webhook = server((429, {"Retry-After": header}))
        with pytest.raises(TargetFailed) as caught:
            only(f"http://{webhook.address}/x").send([message()])
        assert caught.value.retry_after_s == expected_s


def test_a_webhook_follows_no_redirect(server: Server) -> None:
    elsewhere = server()
    webhook = server((302, {"Location": f"http://{elsewhere.address}/y"}))
    with pytest.raises(TargetFailed, match="HTTP 302"):
        only(f"http://{webhook.address}/x").send([message()])
    assert elsewhere.requests == []


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_webhook_is_bounded_as_a_whole(server: Server, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "TOTAL_TIMEOUT_S", 0.5)
    with pytest.raises(TargetFailed, match="no answer in time"):
        only(f"http://{server(answer).address}/x").send([message()])


def test_mail_of_one_and_of_several() -> None:
    mail = MailServer()
    try:
        target = only(f"mailto://someone:word@{mail.address}?to=a@example.com&from=b@example.com")
        assert target.describe() == f"notify[0] mailto://{mail.address}"
        target.send([message(1)])
        target.send([message(1), message(2, severity=Severity.ERROR)])
    finally:
        mail.close()
    first, second = mail.mails
    assert "Subject: WARNING latency.delayed: binance S1" in first
    assert "took 1 s" in first
    assert "Subject: 2 alerts, worst ERROR" in second
    assert "took 1 s" in second
    assert "took 2 s" in second


def test_a_mail_server_that_refuses_the_password() -> None:
    mail = MailServer(refuse_login=True)
    try:
        with pytest.raises(TargetRefused, match=r"^SMTP 535$"):
            only(f"mailto://someone:word@{mail.address}?to=a@example.com&from=b@example.com").send([message()])
    finally:
        mail.close()


def test_the_address_of_a_services_own_webhook_speaks_that_services_language() -> None:
    target = only("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    assert target.describe() == "notify[0] slack"
    assert target.most_at_once > 1


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:S3CRET@example.com:8443/S3CRET?k=S3CRET", "https://example.com:8443"),
        ("http://[::1]:80/S3CRET", "http://[::1]:80"),
        ("jsons://S3CRET@example.com/S3CRET", "jsons://example.com"),
        ("json://example.com/p@S3CRET", "json"),
        ("http://a:b@S3CRET@host/x", "http"),
        ("tgram://123456789:abcdefg_S3CRET-hijklmnop/12315544", "tgram"),
        ("discord://123456S3CRET/S3CRETabc", "discord"),
        ("ntfys://S3CRET", "ntfys"),
        ("mailtos://user:S3CRET@gmail.com", "mailtos://gmail.com"),
    ],
)
def test_names_are_safe(url: str, name: str) -> None:
    target = only(url)
    assert target.describe() == f"notify[0] {name}"
    assert "S3CRET" not in repr(target) + str(target)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("S3CRET", "expected a URL such as slack://…"),
        ("nosuch://S3CRET", "expected the URL of a service that apprise knows"),
        ("S3CRET://x/y", "expected the URL of a service that apprise knows"),
        ("slack://S3CRET", "expected slack://{token_a}/{token_b}/{token_c} or "),
        ("tgram://S3CRET", "expected tgram://{bot_token}"),
        ("https://u:S3CRET@[::1/x", "expected https://host[:port]/path"),
        ("http://:S3CRET@/x", "expected https://host[:port]/path"),
        ("http://host:S3CRET/x", "expected https://host[:port]/path"),
        ("http://a b/S3CRET", "expected https://host[:port]/path"),
    ],
)
def test_a_url_that_cannot_be_used_is_named_by_its_key_and_not_shown(url: str, expected: str) -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        with pytest.raises(ConfigError) as caught:
            check(["json://127.0.0.1/", url])
    finally:
        logging.getLogger().removeHandler(handler)
    assert str(caught.value).startswith(f"alerts.notify[1]: {expected}")
    assert "S3CRET" not in "".join(traceback.format_exception(caught.value)) + log.getvalue()


@pytest.mark.parametrize("answer", [200, 500, 404, "break", "garbled", (302, {"Location": "/S3CRET"}), None])
@pytest.mark.parametrize(
    "url",
    [
        "http://user:S3CRET@{}/S3CRET?k=S3CRET",
        "json://user:S3CRET@{}/S3CRET?-k=S3CRET&+X=S3CRET",
        "form://user:S3CRET@{}/S3CRET?-k=S3CRET",
        "gotify://{}/S3CRETS3CRET",
        "matrix://user:S3CRET@{}/%23room",
    ],
)
def test_no_library_tells_the_token(server: Server, url: str, answer: Any, capfd: pytest.CaptureFixture[str]) -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        target = only(url.format("127.0.0.1:9" if answer is None else server(answer).address))
        try:
            target.send([message()])
            said = ""
        except (TargetFailed, TargetRefused) as failure:
            said = "".join(traceback.format_exception(failure)) + repr(failure) + repr(failure.__dict__)
            assert failure.__context__ is None
            assert said
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    out, err = capfd.readouterr()
    assert "S3CRET" not in said + log.getvalue() + out + err


def test_other_libraries_are_heard_again_after_the_sending(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("a_library_of_some_service")
    with quiet():
        library.warning("while it sends: S3CRET")
        logging.warning("of the root: S3CRET")
    library.warning("after it")
    assert [record.message for record in caplog.records] == ["after it"]


def test_a_target_whose_library_raises_says_no_more_than_the_kind_of_error(server: Server) -> None:
    target = only(f"json://{server().address}/x")
    assert isinstance(target, targets.AppriseTarget)

    def broken(**_: Any) -> bool:
        raise LookupError("https://example.com/S3CRET")

    target._apprise.notify = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(TargetFailed) as caught:
        target.send([message()])
    assert "S3CRET" not in "".join(traceback.format_exception(caught.value))


def test_what_the_documentation_says_is_so(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/alerts.md").read_text(encoding="utf-8")
    for url, name in (
        ("tgram://BOT_TOKEN/CHAT_ID", "tgram://123456789:abcdefg_hijklmnopq/12315544"),
        ("mailtos://USER:PASSWORD@gmail.com?to=ops@example.com", ""),
        ("mailtos://USER:PASSWORD@HOST:587?from=binmon@example.com&to=ops@example.com", ""),
    ):
        assert url in page
        check([name or url])
    written = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert written.keys() == targets.payload(message()).keys()
    for number, example in enumerate(page.split("```yaml\n")[1:]):
        path = tmp_path / f"{number}.yaml"
        path.write_text(example.partition("```")[0])
        assert load(path, {"SLACK_URL": "x://a", "TELEGRAM_URL": "y://b"}).config.alerts != AlertsConfig()


def test_the_page_lists_the_alerts() -> None:
    page = (Path(__file__).parents[2] / "docs/alerts.md").read_text(encoding="utf-8")
    table = page.split("## Which there are")[1].split("##")[0]
    listed = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+\.\w+)`", row.split(" | ")[0])
    }
    assert listed == set(AlertName) <= set(VOCABULARY)
