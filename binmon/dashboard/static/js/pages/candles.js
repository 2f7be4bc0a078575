// Candles: history, then live; the user's lines; colour and sound when the chosen price crosses one.

import { CandleChart, haveLibrary } from "../charts/candle-chart.js";
import { LineHandles } from "../charts/line-handles.js";
import { get } from "../core/api.js";
import { Crossing } from "../core/crossing.js";
import { byId, make, oncePerFrame, pageData, setData, setProblem, setText, syncChildren } from "../core/dom.js";
import { clock, commonDecimals, moment, notAPrice, price as priceText, readPrice, zoneName } from "../core/format.js";
import { Loader } from "../core/load.js";
import { market, startMarketBar } from "../core/market.js";
import { announce } from "../core/notices.js";
import { changeEntry, onChange, setting } from "../core/settings.js";
import { startShell } from "../core/shell.js";
import { play } from "../core/sound.js";

const LIMIT = 500;
const MOST = 10_000; // candles in memory: a page may stay open for weeks
const SHOWN = 120; // candles in sight at first
const SHOWN_NARROW = 50;
const TABLE_ROWS = 20;
const MOST_CROSSINGS = 20;
const ASK_AGAIN_MS = 10_000; // how often the state of the series is looked at
const FIELDS = { open: 1, high: 2, low: 3, close: 4 };
const DIRECTIONS = ["above", "below"];

const topic = `candles:${market.venue}:${market.symbol}:${market.interval}`;
const key = `${market.venue}:${market.symbol}:${market.interval}`;

let candles = []; // oldest first
let places = 2;
let field = FIELDS[pageData.price] ? pageData.price : "close";
let series = "loading"; // what the server says of it
let link = "connecting";
let pointed = null; // the candle under the pointer
let chart = null;
let handles = null;
const lines = { above: null, below: null }; // a Crossing each
const crossings = [];

const loader = new Loader({
  key: "candles",
  fetch: () => get("/api/candles", { venue: market.venue, symbol: market.symbol, interval: market.interval, limit: LIMIT }),
  show: showAll,
  apply: applyCandle,
  onError: (error) => !loader.loaded && showMessage(error.message),
});

function showAll(answer) {
  const first = candles.length === 0;
  series = answer.state;
  candles = answer.candles;
  places = Math.max(2, commonDecimals(candles.slice(-100).flatMap((candle) => candle.slice(1, 5))));
  if (candles.length === 0) {
    showMessage(series === "loading" ? "Loading candles …" : "The venue has no candles for this symbol and interval.");
  } else {
    showMessage("");
    chart?.setAll(candles, places);
    if (first) chart?.showLast(innerWidth < 700 ? SHOWN_NARROW : SHOWN, candles.length);
    handles?.place();
  }
  lookAtPrice();
  refresh();
}

function applyCandle(candle) {
  const last = candles.at(-1);
  if (last === undefined) {
    void loader.load();
    return;
  }
  if (candle[0] >= last[0]) {
    const step = candles.length > 1 ? last[0] - candles.at(-2)[0] : 0;
    if (step && step < 7 * 86_400_000 && candle[0] > last[0] + step) {
      void loader.load(); // candles between are missing: the whole picture anew
      return;
    }
    if (candle[0] === last[0]) candles[candles.length - 1] = candle;
    else candles.push(candle);
    if (candles.length > MOST) {
      candles = candles.slice(-MOST / 2);
      chart?.setAll(candles, places);
    } else {
      chart?.update(candle, true);
    }
    lookAtPrice();
  } else {
    const index = candles.findIndex((one) => one[0] === candle[0]);
    if (index < 0) return;
    candles[index] = candle;
    chart?.update(candle, false);
  }
  refresh();
}

function currentPrice() {
  return candles.at(-1)?.[FIELDS[field]] ?? null;
}

// Lines -------------------------------------------------------------------------------------------------------------

function setLine(direction, text, { save = true } = {}) {
  lines[direction] = text === null ? null : new Crossing(direction, text).follows(lines[direction], currentPrice());
  const input = byId(`line-${direction}`);
  if (document.activeElement !== input) {
    input.value = text === null ? "" : priceText(text, places);
    setProblem(input, "");
  }
  chart?.setLine(direction, text);
  handles?.set(direction, text);
  if (save) saveLine(direction, text);
  lookAtPrice();
  refresh();
}

/** The other line stays what it is on the server, which another page may have moved. */
function saveLine(direction, text) {
  changeEntry("candle_lines", key, (kept) => {
    const both = { above: null, below: null, ...kept, [direction]: text };
    return both.above || both.below ? both : null;
  });
}

/** The lines as the settings have them: at the start, and when another page has changed them. */
function showKept() {
  const kept = setting("candle_lines")?.[key] ?? {};
  for (const direction of DIRECTIONS) {
    const text = kept[direction] ? String(kept[direction]) : null;
    if (text !== (lines[direction]?.line ?? null) && !handles?.isMoving(direction)) setLine(direction, text, { save: false });
  }
}

/** The price against the lines: once a crossing, whatever it does around the line. */
function lookAtPrice() {
  const now = currentPrice();
  if (now === null) return;
  for (const direction of DIRECTIONS) {
    const line = lines[direction];
    if (line === null || handles?.isMoving(direction)) continue;
    if (line.look(now) === "crossed") {
      crossings.unshift({ at: Date.now(), text: `${priceText(now, places)} is ${direction} ${priceText(line.line, places)}`, direction });
      crossings.length = Math.min(crossings.length, MOST_CROSSINGS);
      announce(`${market.symbol}: ${field} ${priceText(now)} is ${direction} ${priceText(line.line)}`);
      void play(direction);
    }
  }
}

function wireLines() {
  for (const direction of DIRECTIONS) {
    const input = byId(`line-${direction}`);
    const commit = () => {
      const isEmpty = input.value.trim() === "";
      const text = isEmpty ? null : readPrice(input.value);
      if (text === null && !isEmpty) {
        const kept = lines[direction]?.line ?? null;
        setProblem(input, notAPrice(kept === null ? "no line is set" : `the line at ${priceText(kept, places)} stays in force`));
        return;
      }
      setProblem(input, "");
      if (text !== (lines[direction]?.line ?? null)) setLine(direction, text);
    };
    input.addEventListener("change", commit);
    input.addEventListener("keydown", (event) => event.key === "Enter" && commit());
    input.addEventListener("blur", () => {
      if (readPrice(input.value) !== null && lines[direction] !== null) input.value = priceText(lines[direction].line, places);
    });
    byId(`line-${direction}-clear`).addEventListener("click", () => setLine(direction, null));
    byId(`line-${direction}-here`).addEventListener("click", () => {
      if (input.value.trim() !== "") {
        commit();
        return;
      }
      const now = Number(currentPrice());
      if (now > 0) setLine(direction, (now * (direction === "above" ? 1.001 : 0.999)).toFixed(places));
    });
  }
}

// Words and tables --------------------------------------------------------------------------------------------------

function showMessage(text) {
  const message = byId("chart-message");
  message.hidden = text === "";
  setText(message.firstElementChild, text);
}

const refresh = oncePerFrame(() => {
  showState();
  showHead();
  showCrossings();
  if (byId("table-view").open) showTable();
});

function showState() {
  const cut = link !== "connected";
  const state = cut && series === "live" ? "stale" : series;
  setText(byId("series-state"), state);
  setData(byId("series-state"), "state", state);
}

function showHead() {
  const last = candles.at(-1);
  const now = currentPrice();
  const side = lines.above?.beyond ? "above" : lines.below?.beyond ? "below" : "within";
  setData(byId("panel"), "side", side);
  setText(byId("crossing"), side === "within" ? "" : `${field} is ${side} ${priceText(lines[side].line, places)}`);
  setText(byId("market-price"), priceText(now, places));
  setText(byId("market-label"), `${field} · ${market.interval}${last && last[6] ? " · closed" : ""}`);
  document.title = now === null ? `${market.symbol} · binmon` : `${priceText(now, places)} ${market.symbol} · binmon`;
  const before = candles.at(-2);
  if (last && before) {
    const share = Number(((Number(last[4]) / Number(before[4]) - 1) * 100).toFixed(2)); // as shown: −0.004 is no fall
    const change = byId("market-change");
    setText(change, `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(share).toFixed(2)} %`);
    change.className = `market-change ${share > 0 ? "up" : share < 0 ? "down" : ""}`;
    change.title = "against the candle before";
  }
  const shown = pointed ?? last;
  const display = setting("time");
  const rows = shown
    ? [["Opened", moment(shown[0], display)], ["O", priceText(shown[1], places)], ["H", priceText(shown[2], places)],
       ["L", priceText(shown[3], places)], ["C", priceText(shown[4], places)], ["Vol", priceText(shown[5])]]
    : [];
  syncChildren(
    byId("ohlc"), rows, ([name]) => name,
    ([name]) => make("div", {}, make("dt", { text: name }), make("dd")),
    (row, [, text]) => setText(row.lastElementChild, text),
  );
}

function showCrossings() {
  byId("crossings-empty").hidden = crossings.length > 0;
  syncChildren(
    byId("crossings"), crossings, (one) => `${one.at}${one.direction}`,
    () => make("li", {}, make("time"), make("span")),
    (row, one) => {
      setText(row.firstElementChild, clock(one.at, setting("time")));
      setText(row.lastElementChild, one.text);
      row.lastElementChild.className = one.direction === "above" ? "up" : "down";
    },
  );
}

function showTable() {
  const display = setting("time");
  syncChildren(
    byId("candle-rows"), candles.slice(-TABLE_ROWS).reverse(), (candle) => candle[0],
    () => make("tr", {}, make("td"), ...Array.from({ length: 5 }, () => make("td", { class: "n" })), make("td", { class: "dim" })),
    (row, candle) => {
      const texts = [moment(candle[0], display), ...candle.slice(1, 5).map((text) => priceText(text, places)), priceText(candle[5]),
                     candle[6] ? "closed" : "open"];
      texts.forEach((text, index) => setText(row.children[index], text));
    },
  );
}

function showDisplay() {
  const display = setting("time");
  byId("time-display").title = zoneName(display);
  chart?.setDisplay(display);
  refresh();
}

// Start -------------------------------------------------------------------------------------------------------------

setText(byId("market-symbol"), market.symbol || "no symbol");
setText(byId("market-venue"), market.venue);
const priceField = byId("price-field");
priceField.value = field;
priceField.addEventListener("change", () => {
  field = priceField.value;
  const query = new URLSearchParams(location.search);
  query.set("price", field);
  history.replaceState(null, "", `${location.pathname}?${query}`);
  for (const direction of DIRECTIONS) if (lines[direction]) lines[direction] = new Crossing(direction, lines[direction].line);
  lookAtPrice();
  refresh();
});
byId("table-view").addEventListener("toggle", () => refresh());

if (!haveLibrary()) {
  showMessage("The chart library could not be loaded; the table below has the candles.");
} else {
  chart = new CandleChart(byId("chart"), {
    display: setting("time"),
    onPoint: (candle) => {
      pointed = candle;
      refresh();
    },
    onRedraw: () => handles?.place(),
  });
  handles = new LineHandles(byId("chart"), chart, {
    places: () => places,
    onMove: (direction, text) => {
      byId(`line-${direction}`).value = priceText(text, places);
      chart.setLine(direction, text);
    },
    onDone: (direction, text) => setLine(direction, text),
  });
}

void startMarketBar();
if (market.symbol === "") {
  showMessage("No symbol yet: search one above.");
  series = "no symbol";
  refresh();
}
await startShell({
  topics: market.symbol ? [topic] : [],
  onEvent: (kind, data) => {
    if (data.topic !== topic) return;
    if (kind === "candle") loader.take(data.candle);
    else if (kind === "candles") {
      if (data.state) series = data.state;
      void loader.load();
    }
  },
  onReset: () => market.symbol && void loader.load(),
  onLink: (state) => {
    link = state;
    refresh();
  },
  neededWhenHidden: () => setting("sound") && DIRECTIONS.some((direction) => lines[direction] !== null),
});
wireLines();
showKept();
onChange((name) => {
  if (name === "time") showDisplay();
  else if (name === "candle_lines") showKept();
});
showDisplay();
setInterval(async () => {
  if (market.symbol === "" || link !== "connected" || !loader.loaded) return;
  if (series !== "live" || candles.length === 0) {
    void loader.load();
    return;
  }
  try {
    const answer = await get("/api/candles", { venue: market.venue, symbol: market.symbol, interval: market.interval, limit: 1 });
    if (answer.state !== series) void loader.load();
  } catch {
    // the next turn asks again; the state of the link says what is the case
  }
}, ASK_AGAIN_MS);
