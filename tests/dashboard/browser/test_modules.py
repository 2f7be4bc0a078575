"""The small machines of the page's scripts, in the browser itself but without a daemon."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page

from tests.dashboard.browser.stage import EVENTS, HOST, STATIC, serve_files

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]


@pytest.fixture
def bare(page: Page) -> Page:
    """An empty page from which the modules can be imported as they are served."""
    serve_files(page)
    page.goto(f"{HOST}/")
    # some modules look at the page's data where they are imported
    page.set_content(
        '<script type="application/json" id="page-data">{}</script><div id="notices"></div><div id="announcer"></div>'
    )
    return page


def crossings(page: Page, direction: str, line: str, prices: list[str]) -> list[Any]:
    """What a line says to these prices."""
    script = """async ([direction, line, prices]) => {
        const {Crossing} = await import("/js/core/crossing.js");
        const one = new Crossing(direction, line);
        return prices.map(price => one.look(price));
    }"""
    found: list[Any] = page.evaluate(script, [direction, line, prices])
    return found


def test_a_price_that_wavers_crosses_once(bare: Page) -> None:
    wavering = ["99.9", "100.01", "100", "99.99", "100.01", "100.02", "99.985", "101"]
    assert crossings(bare, "above", "100", wavering) == [None, "crossed", *[None] * 6]
    # the hysteresis is two basis points: 99.98 is back
    assert crossings(bare, "above", "100", ["101", "99.98", "100", "100.01"]) == ["crossed", "back", None, "crossed"]


def test_below_is_the_mirror_and_what_is_no_number_is_nothing(bare: Page) -> None:
    prices = ["", "100", "99.99", "", "nonsense", "100.01", "100.02", "99.5"]
    assert crossings(bare, "below", "100", prices) == [None, None, "crossed", None, None, None, "back", "crossed"]


def test_a_line_that_moves_crosses_nothing_anew_while_the_price_stays_beyond(bare: Page) -> None:
    script = """async () => {
        const {Crossing} = await import("/js/core/crossing.js");
        const first = new Crossing("above", "100");
        const told = [first.look("105")];
        const second = new Crossing("above", "101").follows(first, "105");
        told.push(second.look("105"));
        const third = new Crossing("above", "110").follows(second, "105");
        told.push(third.look("105"), third.look("111"));
        return told;
    }"""
    assert bare.evaluate(script) == ["crossed", None, None, "crossed"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("price('67012.50000000')", "67,012.5"),
        ("price('67012.50000000', 2)", "67,012.50"),
        ("price('0.00001230')", "0.0000123"),
        ("price('123456789012345678.123456789')", "123,456,789,012,345,678.123456789"),  # digit for digit
        ("price('1000')", "1,000"),
        ("price(null)", "–"),
        ("readPrice(' 67,000.5 ')", "67000.5"),
        ("readPrice('67 000 000.5')", "67000000.5"),
        ("readPrice('0.5')", "0.5"),
        ("readPrice('1,500')", "1500"),
        ("readPrice('0,5')", None),  # a decimal comma is no separator
        ("readPrice('0,500')", None),
        ("readPrice('1,5')", None),
        ("readPrice('1,2345')", None),
        ("readPrice('1234,567')", None),
        ("readPrice('1.234,5')", None),
        ("readPrice('1,234 567')", None),
        ("readPrice('1 2')", None),
        ("readPrice('0')", None),
        ("readPrice('-1')", None),
        ("readPrice('1e5')", None),
        ("readPrice('soon')", None),
        ("commonDecimals(['1.50', '2', '0.1230'])", 3),
        ("milliseconds(0.414)", "0.41 ms"),
        ("milliseconds(6213)", "6.21 s"),
        ("milliseconds(null)", "–"),
        ("age(500)", "500 ms"),
        ("age(3_600_000)", "60 min"),
        ("basisPoints('0.01', '65000')", "0.0015 bp"),
        ("moment(1767323045678, 'utc')", "2026-01-02 03:04:05"),
        ("moment(1767323045678, 'ms')", "1767323045678"),
        ("clock(1767323045678, 'utc', true)", "03:04:05.678"),
    ],
)
def test_numbers_and_times_as_people_read_them(bare: Page, call: str, expected: Any) -> None:
    assert bare.evaluate(f"import('/js/core/format.js').then(format => format.{call})") == expected


def test_local_time_is_the_browsers(browser: Any, bare: Page) -> None:
    context = browser.new_context(timezone_id="Asia/Kathmandu")
    page = context.new_page()
    page.route(
        "**/*",
        lambda route: (
            route.fulfill(content_type="text/javascript", body=(STATIC / "js/core/format.js").read_bytes())
            if route.request.url.endswith(".js")
            else route.fulfill(content_type="text/html", body="")
        ),
    )
    page.goto("http://binmon.test/")
    told = page.evaluate("import('/format.js').then(format => format.moment(1767323045678, 'local'))")
    assert told == "2026-01-02 08:49:05"
    context.close()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("linearTicks(0, 10, 5)", [0, 2, 4, 6, 8, 10]),
        ("linearTicks(5, 5, 4)", [5]),
        ("logTicks(1, 100)", [1, 2, 5, 10, 20, 50, 100]),
        ("logTicks(1, 100000)", [1, 10, 100, 1000, 10000, 100000]),
        ("timeTicks(0, 60000, 4)", [0, 15000, 30000, 45000, 60000]),
    ],
)
def test_ticks_are_round(bare: Page, call: str, expected: list[float]) -> None:
    script = f"import('/js/charts/plot.js').then(plot => plot.{call})"
    assert bare.evaluate(script) == pytest.approx(expected)


def test_a_list_has_one_child_for_each_item_also_where_a_key_comes_twice(bare: Page) -> None:
    script = """async () => {
        const {syncChildren} = await import("/js/core/dom.js");
        const list = document.createElement("ul");
        list.append(document.createElement("hr"));
        const show = items => {
            const update = (one, item) => (one.textContent = item);
            syncChildren(list, items, item => item[0], () => document.createElement("li"), update);
            return [...list.children].map(one => one.textContent).join(" ");
        };
        const told = [show(["a1", "b1", "a2"]), show(["a1", "b1", "a2"])];
        const second = list.children[2];
        told.push(show(["b2", "a3", "a4"]), list.children[2] === second, show(["a5"]), show([]));
        return told;
    }"""
    assert bare.evaluate(script) == ["a1 b1 a2", "a1 b1 a2", "b2 a3 a4", True, "a5", ""]


def test_a_tape_keeps_the_order_in_which_trades_came_and_takes_each_once(bare: Page) -> None:
    script = """async () => {
        const {Tape} = await import("/js/core/tape.js");
        const tape = new Tape(4);
        const ids = () => tape.trades.map(one => one[0]).join(" ");
        const told = [];
        tape.replace([["7", 10], ["3", 10], ["7", 10]]);
        told.push(ids());
        tape.add([["9007199254740993", 10], ["9007199254740992", 10], ["3", 10], [5, 10]]);
        told.push(ids());
        told.push(tape.add([["7", 10], ["3", 10]]).length); // seen, though no longer kept
        tape.add([["1", 99]]);
        tape.add([["1", 100]]); // a wiped venue counts anew
        told.push(ids());
        tape.replace([["1", 20], ["2", 20], ["3", 21], ["4", 22]]);
        tape.add([["0", 19], ["5", 22]]); // told before the picture was taken: no room in it
        told.push(ids());
        return told;
    }"""
    assert bare.evaluate(script) == [
        "7 3",
        "3 9007199254740993 9007199254740992 5",
        0,
        "9007199254740992 5 1 1",
        "2 3 4 5",
    ]


def test_a_poll_waits_for_the_answer_before_and_an_error_is_shown(bare: Page) -> None:
    script = """async () => {
        const {Loader} = await import("/js/core/load.js");
        const waiting = [], shown = [];
        const loader = new Loader({
            key: "x", show: one => shown.push(one), fetch: () => new Promise((...ends) => waiting.push(ends)),
        });
        const turns = [loader.poll(), loader.poll(), loader.poll()];
        const asked = [waiting.length];
        waiting[0][0]("slow");
        await Promise.all(turns);
        turns.push(loader.poll(), loader.poll());
        asked.push(waiting.length);
        waiting[1][1](Object.assign(new Error("too slow"), {status: 400}));
        await Promise.all(turns);
        void loader.poll();
        asked.push(waiting.length);
        return [asked, shown, document.getElementById("notices").textContent];
    }"""
    asked, shown, notices = bare.evaluate(script)
    assert (asked, shown) == ([1, 2, 3], ["slow"])
    assert "too slow" in notices


def test_handles_are_placed_once_a_frame(bare: Page) -> None:
    script = """async () => {
        let parts;
        const part = new Proxy({}, {get: (_, name) => (name === "attachPrimitive" ? one => (parts = one) : () => part)});
        globalThis.LightweightCharts = {createChart: () => part, CrosshairMode: {}};
        const {CandleChart} = await import("/js/charts/candle-chart.js");
        let placed = 0;
        new CandleChart(document.body, {display: "utc", onPoint: () => {}, onRedraw: () => (placed += 1)});
        const frames = [];
        globalThis.requestAnimationFrame = work => frames.push(work);
        for (let turn = 0; turn < 1000; turn += 1) parts.updateAllViews(); // a hidden tab: no frame comes
        const waiting = frames.length;
        frames.forEach(work => work());
        parts.updateAllViews();
        return [waiting, placed, frames.length];
    }"""
    assert bare.evaluate(script) == [1, 1, 2]


STREAM = """async work => {
    const {LiveStream} = await import("/js/core/stream.js");
    const states = [];
    let loads = 0;
    const stream = new LiveStream({topics: [], onEvent: () => {}, onReset: () => (loads += 1), onState: one => states.push(one)});
    stream.start();
    const open = () => sources.at(-1).tell("open");
    const hello = () => sources.at(-1).tell("hello", {}, "7");
    const cut = () => sources.at(-1).tell("error");
    const network = is => {
        Object.defineProperty(navigator, "onLine", {configurable: true, get: () => is});
        dispatchEvent(new Event(is ? "online" : "offline"));
    };
"""
"""What a test goes on from: a stream whose server and network it is."""


@pytest.fixture
def streaming(bare: Page) -> Page:
    bare.evaluate(f"() => {{{EVENTS}}}")
    return bare


def test_what_a_stream_tells_again_is_not_loaded_as_well(streaming: Page) -> None:
    script = """
        open(), cut(), open(); // cut before an id was told: what was missed is not known
        const before = loads;
        hello(), cut(), open(), hello();
        const resumed = loads;
        stream.follow(["tops"]);
        open(), hello(), cut(), open();
        return [before, resumed, loads, sources.length];
    }"""
    assert streaming.evaluate(STREAM + script) == [2, 2, 3, 2]


def test_a_daemon_on_this_machine_is_reached_without_a_network(streaming: Page) -> None:
    script = """
        open(), hello();
        network(false);
        const tried = sources.length;
        open(), hello();
        const without = [...states];
        cut();
        const failed = states.at(-1);
        open();
        return [tried, without, failed, states.at(-1)];
    }"""
    without = ["connecting", "connected", "reconnecting", "connected"]
    assert streaming.evaluate(STREAM + script) == [2, without, "offline", "connected"]


HIDE = """
    const hide = is => {
        Object.defineProperty(document, "hidden", {configurable: true, get: () => is});
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""


@pytest.fixture
def timed(page: Page) -> Page:
    """As `streaming`, with a clock that a test moves."""
    page.clock.install(time=datetime(2026, 1, 2, 3, tzinfo=UTC))
    serve_files(page)
    page.goto(f"{HOST}/")
    page.set_content(
        '<script type="application/json" id="page-data">{}</script><div id="notices"></div><div id="announcer"></div>'
    )
    page.evaluate(f"() => {{{EVENTS}}}")
    page.clock.pause_at(datetime(2026, 1, 2, 4, tzinfo=UTC))  # else it goes on by itself as well
    return page


def start_stream(timed: Page, topics: str = "[]", needed: str = "false") -> None:
    """A stream that is open, with what is told of it in `globalThis`."""
    how = f"{{topics: {topics}, onEvent: () => {{}}, onReset: () => (loads += 1), onState, neededWhenHidden: () => {needed}}}"
    timed.evaluate(
        "async () => {"
        '    const {LiveStream} = await import("/js/core/stream.js");'
        "    Object.assign(globalThis, {states: [], loads: 0});"
        "    const onState = (one, detail) => states.push(detail ? `${one}: ${detail}` : one);"
        f"    globalThis.stream = new LiveStream({how});"
        "    stream.start();"
        '    sources.at(-1).tell("open");'
        '    sources.at(-1).tell("hello", {}, "7");'
        f"{HIDE}; globalThis.hide = hide;"
        "}"
    )


def test_a_hidden_page_lets_go_of_its_stream_soon_and_goes_on_where_it_was(timed: Page) -> None:
    start_stream(timed)
    for _ in range(5):  # looks at another tab and back
        timed.evaluate("hide(true)")
        timed.clock.run_for(2_000)
        timed.evaluate("hide(false), sources.at(-1).tell('status', {}, '8')")
        timed.clock.run_for(1_000)
    assert timed.evaluate("sources.length") == 1
    timed.evaluate("hide(true)")
    timed.clock.run_for(7_000)
    assert timed.evaluate("[sources.length, sources[0].readyState, states.at(-1), loads]") == [1, 2, "paused", 1]
    timed.clock.run_for(120_000)
    timed.evaluate("hide(false), sources.at(-1).tell('open'), sources.at(-1).tell('hello', {}, '9')")
    count, address, state, loads = timed.evaluate("[sources.length, sources[1].url, states.at(-1), loads]")
    assert (count, state, loads) == (2, "connected", 1), "what was missed is told, and nothing is to be loaded"
    assert "last_event_id=8" in address


def test_a_hidden_page_that_is_needed_keeps_its_stream(timed: Page) -> None:
    start_stream(timed, needed="true")
    timed.evaluate("hide(true)")
    for _ in range(10):
        timed.clock.run_for(2_000)
        timed.evaluate("sources.at(-1).tell('status', {}, '8')")
    assert timed.evaluate("[sources.length, sources[0].readyState, states.at(-1)]") == [1, 1, "connected"]


def test_a_hidden_page_that_is_refused_asks_no_more(timed: Page) -> None:
    start_stream(timed)
    timed.evaluate("globalThis.fetch = async () => Response.json({error: {message: 'too many'}}, {status: 429})")
    timed.evaluate("hide(true), sources[0].readyState = 2, sources[0].tell('error')")
    timed.clock.run_for(60_000)
    assert timed.evaluate("[sources.length, states.at(-1)]") == [1, "paused"]


def test_a_market_that_the_server_does_not_have_is_left_out_until_that_may_have_changed(timed: Page) -> None:
    timed.evaluate("globalThis.fetch = async () => Response.json({error: {message: 'not kept'}}, {status: 404})")
    start_stream(timed, topics="['book:binance:SOLUSDT', 'symbols']")

    def topics() -> list[str]:
        found = timed.evaluate("sources.map(one => new URL(one.url, location).searchParams.get('topics'))")
        return [str(one) for one in found]

    def refuse() -> None:
        timed.evaluate("sources.at(-1).readyState = 2, sources.at(-1).tell('error')")
        timed.clock.run_for(100)
        timed.evaluate("sources.at(-1).tell('open'), sources.at(-1).tell('status', {}, '8')")

    both, rest = "status,book:binance:SOLUSDT,symbols", "status,symbols"
    refuse()
    assert topics() == [both, rest]
    asked = 2
    for pause_s in (10, 20, 40, 80, 160, 300, 300):  # seldom, and ever more so
        for _ in range(pause_s - 3):
            timed.clock.run_for(1_000)
            timed.evaluate("sources.at(-1).tell('status', {}, '9')")
        assert len(topics()) == asked
        assert timed.evaluate("states.at(-1)") == "refused: not kept"
        timed.clock.run_for(5_000)
        assert topics()[asked:] == [both]
        refuse()
        asked += 2
    timed.evaluate("sources.at(-1).tell('error'), sources.at(-1).tell('open')")  # the daemon was away
    assert topics()[asked:] == [both]
    refuse()
    timed.evaluate("stream.follow(['book:binance:SOLUSDT', 'symbols'])")  # the page knows better
    assert topics()[asked:] == [both, rest, both]
    loads = timed.evaluate("loads")
    timed.evaluate("sources.at(-1).tell('open')")
    assert timed.evaluate("[states.at(-1), loads]") == ["connected", loads + 1]


def test_a_request_without_an_answer_is_said_to_have_none(timed: Page) -> None:
    start = """async () => {
        globalThis.fetch = () => new Promise(answer => (globalThis.answer = answer));
        const {get} = await import("/js/core/api.js");
        globalThis.done = get("/api/venues");
    }"""
    timed.evaluate(start)
    notices = timed.locator("#notices")
    timed.clock.run_for(9_000)
    assert notices.inner_text() == ""
    timed.clock.run_for(1_500)
    assert "No answer: the daemon is down, or too many tabs of it are open." in notices.inner_text()
    timed.evaluate("answer(Response.json({})), done.then(() => null)")
    assert notices.inner_text() == ""


SETTINGS = """async work => {
    let kept = {time: "local", candle_lines: {x: {above: "1", below: null}}, other: 5}, fails = 0;
    const asked = [];
    globalThis.fetch = async (path, {method, body, keepalive}) => {
        asked.push(method === "GET" ? "GET" : [method, JSON.parse(body), keepalive]);
        if (fails > 0) {
            fails -= 1;
            return Response.json({error: {code: "failed", message: "no"}}, {status: 503});
        }
        if (method === "PATCH") {
            for (const [name, value] of Object.entries(JSON.parse(body))) {
                if (name !== "candle_lines" && name !== "minimum_prices") {
                    kept = {...kept, [name]: value};
                    continue;
                }
                const all = {...kept[name]};
                for (const [key, entry] of Object.entries(value)) {
                    delete all[key];
                    if (entry !== null) all[key] = entry;
                }
                kept = {...kept, [name]: all};
            }
        }
        return Response.json(kept);
    };
    const one = await import("/js/core/settings.js?1"), two = await import("/js/core/settings.js?2");
"""
"""Two tabs, and a server that keeps what they send."""


def test_two_tabs_leave_each_other_their_settings(bare: Page) -> None:
    script = """
        await one.loadSettings();
        await two.loadSettings();
        one.changeEntry("candle_lines", "x", line => ({...line, above: "3"}));
        one.changeEntry("candle_lines", "y", "7");
        await one.save();
        two.changeEntry("candle_lines", "x", line => ({...line, below: "2"}));
        two.changeEntry("minimum_prices", "x", "9");
        two.change("theme", "dark");
        const told = [];
        two.onChange((name, value) => told.push([name, value]));
        asked.length = 0;
        await two.save();
        const both = kept, seen = two.setting("candle_lines"), sent = [...asked];
        one.changeEntry("candle_lines", "y", null);
        await one.save();
        return [sent, both, seen, Object.keys(kept.candle_lines), told, await one.save(), asked.length];
    }"""
    sent, both, seen, left, told, is_saved, asked = bare.evaluate(SETTINGS + script)
    lines = {"x": {"above": "3", "below": "2"}, "y": "7"}
    changed = {"candle_lines": {"x": lines["x"]}, "minimum_prices": {"x": "9"}, "theme": "dark"}
    assert sent == ["GET", ["PATCH", changed, True]]
    assert both == {"time": "local", "other": 5, "theme": "dark", "candle_lines": lines, "minimum_prices": {"x": "9"}}
    assert seen == lines
    assert left == ["x"]
    assert told == [["candle_lines", {"y": "7", "x": lines["x"]}]]
    assert (is_saved, asked) == (True, 4)


def test_nothing_is_saved_over_settings_that_could_not_be_read(bare: Page) -> None:
    script = """
        fails = 2;
        const told = [await one.loadSettings()];
        one.changeEntry("candle_lines", "x", line => ({...line, below: "2"}));
        told.push(await one.save(), one.setting("candle_lines"));
        dispatchEvent(new Event("pagehide"));
        told.push([...asked], await one.save(), asked.slice(2), kept.candle_lines, one.setting("time"));
        return told;
    }"""
    lines = {"x": {"above": "1", "below": "2"}}
    sent = ["GET", ["PATCH", {"candle_lines": lines}, True]]
    assert bare.evaluate(SETTINGS + script) == [
        False, False, {"x": {"below": "2"}}, ["GET", "GET"], True, sent, lines, "local",
    ]  # fmt: skip


def test_a_page_that_is_left_saves_at_once(bare: Page) -> None:
    script = """
        await one.loadSettings();
        one.change("time", "ms");
        asked.length = 0;
        dispatchEvent(new Event("pagehide"));
        dispatchEvent(new Event("pagehide"));
        const sent = [...asked];
        await new Promise(done => setTimeout(done, 600));
        return [sent, kept.time, asked.length];
    }"""
    assert bare.evaluate(SETTINGS + script) == [[["PATCH", {"time": "ms"}, True]], "ms", 1]


def test_a_change_that_fails_to_be_saved_is_saved_with_the_next(bare: Page) -> None:
    script = """
        await one.loadSettings();
        one.changeEntry("candle_lines", "y", "4");
        fails = 1;
        const first = await one.save();
        one.changeEntry("candle_lines", "z", "5");
        return [first, await one.save(), kept.candle_lines];
    }"""
    lines = {"x": {"above": "1", "below": None}, "y": "4", "z": "5"}
    assert bare.evaluate(SETTINGS + script) == [False, True, lines]
