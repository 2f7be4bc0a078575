// Trades: the live price in large, green and with a sound above the user's minimum, and the recent trades beside it.

import { line, linearTicks, Plot, timeLabel, timeTicks } from "../charts/plot.js";
import { get } from "../core/api.js";
import { Crossing } from "../core/crossing.js";
import { byId, make, oncePerFrame, setData, setProblem, setText, syncChildren } from "../core/dom.js";
import { clock, commonDecimals, count, notAPrice, price as priceText, readPrice } from "../core/format.js";
import { Loader } from "../core/load.js";
import { market, startMarketBar } from "../core/market.js";
import { announce } from "../core/notices.js";
import { changeEntry, onChange, setting } from "../core/settings.js";
import { startShell } from "../core/shell.js";
import { play } from "../core/sound.js";
import { Tape, tradeKey } from "../core/tape.js";
import { colour } from "../core/theme.js";

const KEPT = 200; // trades
const SHOWN = 80;
const MOST_CROSSINGS = 5;

const topic = `trades:${market.venue}:${market.symbol}`;
const key = `${market.venue}:${market.symbol}`;

const tape = new Tape(KEPT);
let trades = tape.trades; // oldest first
let places = 2;
let link = "connecting";
let minimum = null; // a Crossing
const crossings = [];
const spark = new Plot(byId("spark"), "Prices of the recent trades");

const loader = new Loader({
  key: "trades",
  fetch: () => get("/api/trades", { venue: market.venue, symbol: market.symbol, limit: KEPT }),
  show: (answer) => {
    tape.replace(answer.trades);
    trades = tape.trades;
    places = Math.max(2, commonDecimals(trades.map((trade) => trade[2])));
    lookAt(trades.slice(-1));
    refresh();
  },
  apply: takeTrades,
});

function takeTrades(news) {
  const fresh = tape.add(news);
  if (fresh.length === 0) return;
  trades = tape.trades;
  lookAt(fresh);
  refresh();
}

/** Every trade against the minimum, so that a short spike between two frames is heard, too. */
function lookAt(some) {
  if (minimum === null) return;
  for (const [, time, price] of some) {
    if (minimum.look(price) !== "crossed") continue;
    crossings.unshift({ at: time, text: `${priceText(price, places)} is above ${priceText(minimum.line, places)}` });
    crossings.length = Math.min(crossings.length, MOST_CROSSINGS);
    announce(`${market.symbol}: ${priceText(price)} is above ${priceText(minimum.line)}`);
    void play("above");
  }
}

function setMinimum(text, { save = true } = {}) {
  minimum = text === null ? null : new Crossing("above", text).follows(minimum, trades.at(-1)?.[2]);
  const input = byId("minimum-price");
  if (save || document.activeElement !== input) {
    input.value = text === null ? "" : priceText(text);
    setProblem(input, "");
  }
  if (save) changeEntry("minimum_prices", key, text);
  lookAt(trades.slice(-1));
  refresh();
}

/** The minimum as the settings have it: at the start, and when another page has changed it. */
function showKept() {
  const kept = setting("minimum_prices")?.[key];
  const text = kept ? String(kept) : null;
  if (text !== (minimum?.line ?? null)) setMinimum(text, { save: false });
}

const refresh = oncePerFrame(() => {
  showState();
  showPrice();
  showSpark();
  showTape();
  showCrossings();
});

function showState() {
  const state = market.symbol === "" ? "no symbol" : link !== "connected" ? (loader.loaded ? "stale" : "loading")
    : trades.length ? "live" : loader.loaded ? "waiting" : "loading";
  setText(byId("series-state"), state);
  setData(byId("series-state"), "state", state);
}

function showPrice() {
  const last = trades.at(-1);
  setText(byId("market-price"), priceText(last?.[2], places));
  document.title = last ? `${priceText(last[2], places)} ${market.symbol} · binmon` : `${market.symbol} · binmon`;
  const above = minimum?.beyond ?? false;
  setData(byId("panel"), "side", above ? "above" : "none");
  setText(byId("crossing"), above ? `above your minimum of ${priceText(minimum.line, places)}` : "");
  setText(
    byId("market-note"),
    last ? `${last[4]} of ${priceText(last[3])} at ${clock(last[1], setting("time"), true)}` : loader.loaded ? "waiting for the first trade" : "loading",
  );
}

/** The prices of the trades that are kept, and the minimum where it is near enough to be seen. */
function showSpark() {
  byId("spark").hidden = trades.length < 2;
  if (trades.length < 2) return;
  const prices = trades.map((trade) => Number(trade[2]));
  let min = Math.min(...prices), max = Math.max(...prices);
  const level = minimum === null ? null : Number(minimum.line);
  const room = Math.max(max - min, max * 1e-5);
  if (level !== null && level > min - 3 * room && level < max + 3 * room) [min, max] = [Math.min(min, level), Math.max(max, level)];
  const margin = Math.max(max - min, max * 1e-6) * 0.08;
  const from = trades[0][1], to = Math.max(trades.at(-1)[1], from + 1000);
  const display = setting("time");
  spark.show(
    {
      x: { min: from, max: to, ticks: timeTicks, format: (ms) => timeLabel(ms, to - from, display) },
      y: { min: min - margin, max: max + margin, ticks: linearTicks, format: (value) => priceText(value.toFixed(places), places) },
      paint: (pen, at) => {
        if (level !== null) {
          pen.strokeStyle = colour("good");
          pen.setLineDash([6, 4]);
          pen.lineWidth = 1.5;
          line(pen, at.box.left, at.y(level), at.box.right, at.y(level));
          pen.setLineDash([]);
        }
        pen.strokeStyle = colour("accent");
        pen.lineWidth = 1.5;
        pen.lineJoin = "round";
        pen.beginPath();
        trades.forEach((trade, index) => {
          const x = at.x(trade[1]), y = at.y(prices[index]);
          if (index === 0) pen.moveTo(x, y);
          else {
            pen.lineTo(x, at.y(prices[index - 1]));
            pen.lineTo(x, y);
          }
        });
        pen.stroke();
      },
    },
    `Prices of the last ${trades.length} trades, from ${priceText(String(min))} to ${priceText(String(max))}`,
  );
}

function showTape() {
  byId("tape-empty").hidden = trades.length > 0;
  setText(byId("tape-empty"), loader.loaded ? "No trade yet." : "Loading …");
  const display = setting("time");
  const shown = trades.slice(-SHOWN).reverse();
  const quantityPlaces = commonDecimals(shown.map((trade) => trade[3]));
  setText(byId("tape-note"), trades.length ? `newest first, ${count(shown.length)} shown` : "");
  syncChildren(
    byId("tape"), shown, tradeKey,
    (trade) => make("tr", {},
      make("td", { class: "dim" }), make("td", { class: `side ${trade[4] === "buy" ? "up" : "down"}`, text: trade[4] }),
      make("td", { class: `n ${trade[4] === "buy" ? "up" : "down"}` }), make("td", { class: "n" }), make("td", { class: "n wide-only dim" })),
    (row, trade) => {
      const [, time, price, quantity] = trade;
      setText(row.children[0], clock(time, display, true));
      setText(row.children[2], priceText(price, places));
      setText(row.children[3], priceText(quantity, quantityPlaces));
      setText(row.children[4], priceText((Number(price) * Number(quantity)).toFixed(2), 2));
    },
  );
}

function showCrossings() {
  syncChildren(
    byId("crossings"), crossings, (one) => `${one.at} ${one.text}`,
    () => make("li", {}, make("time"), make("span")),
    (row, one) => {
      setText(row.firstElementChild, clock(one.at, setting("time")));
      setText(row.lastElementChild, one.text);
    },
  );
}

setText(byId("market-symbol"), market.symbol || "no symbol");
setText(byId("market-venue"), market.venue);
byId("minimum-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = byId("minimum-price");
  if (input.value.trim() === "") {
    setMinimum(null);
    return;
  }
  const text = readPrice(input.value);
  if (text === null) {
    setProblem(input, notAPrice(minimum === null ? "no minimum is set" : `the minimum of ${priceText(minimum.line)} stays in force`));
  } else {
    setMinimum(text);
  }
});
byId("minimum-clear").addEventListener("click", () => setMinimum(null));

void startMarketBar();
refresh();
await startShell({
  topics: market.symbol ? [topic] : [],
  onEvent: (kind, data) => {
    if (kind === "trade" && data.topic === topic) loader.take(data.trades);
  },
  onReset: () => market.symbol && void loader.load(),
  onLink: (state) => {
    link = state;
    refresh();
  },
  neededWhenHidden: () => setting("sound") && minimum !== null,
});
showKept();
onChange((name) => {
  if (name === "time") refresh();
  else if (name === "minimum_prices") showKept();
});
