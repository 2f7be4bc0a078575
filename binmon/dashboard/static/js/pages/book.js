// Book: the ladder with bars, the depth chart, and what is to be known of the top.

import { Plot, quantityAxis } from "../charts/plot.js";
import { get } from "../core/api.js";
import { byId, make, makeBar, oncePerFrame, pageData, setBar, setData, setFacts, setText, syncChildren } from "../core/dom.js";
import { age, basisPoints, commonDecimals, compact, count, price as priceText } from "../core/format.js";
import { Loader } from "../core/load.js";
import { market, startMarketBar } from "../core/market.js";
import { startShell } from "../core/shell.js";
import { colour } from "../core/theme.js";

const ROWS = 12; // of the ladder, each side
const DEEP_EVERY_MS = 2000;
const KEPT_EVERY_MS = 5000; // how often it is looked at whether a book that is not kept is kept now
const OLD_MS = 10_000; // a book that has had no update for so long is said to be old

const topic = `book:${market.venue}:${market.symbol}`;
let book = null;
let heardAt = 0;
let deep = null; // a book with more levels, for the depth chart
let link = "connecting";
let refusal = pageData.refusal ?? ""; // why there is no book, where that will not change by itself
let following = market.symbol !== "" && refusal === "";
let stream = null;
const plot = new Plot(byId("depth"), "Depth of the book");

const loader = new Loader({
  key: "book",
  fetch: () => get("/api/book", { venue: market.venue, symbol: market.symbol, levels: 25 }),
  show: takeBook,
  apply: takeBook,
  onError: (error) => takeRefusal(error.status === 404 ? error.message : ""),
});

function takeRefusal(reason) {
  refusal = reason;
  if (refusal) book = deep = null;
  refresh();
}

function takeBook(news) {
  book = news;
  refusal = "";
  heardAt = Date.now();
  refresh();
}

const refresh = oncePerFrame(() => {
  showState();
  showFacts();
  showLadder();
  showDepth();
});

function ageMs() {
  return book === null || book.age_ms === null || book.age_ms === undefined ? null : book.age_ms + (Date.now() - heardAt);
}

function showState() {
  const state = market.symbol === "" ? "no symbol" : refusal ? "not kept" : book === null ? (loader.loaded ? "no book" : "loading")
    : link !== "connected" ? "stale" : !book.synced ? "not synced" : ageMs() > OLD_MS ? "quiet" : "live";
  setText(byId("series-state"), state);
  setData(byId("series-state"), "state", state === "not synced" ? "bad" : state);
}

function showFacts() {
  const bid = book?.bids[0]?.[0], ask = book?.asks[0]?.[0];
  const both = bid !== undefined && ask !== undefined;
  const places = Math.max(2, commonDecimals([bid, ask]));
  const spread = both ? (Number(ask) - Number(bid)).toFixed(places) : null;
  const mid = both ? ((Number(ask) + Number(bid)) / 2).toFixed(places + 1) : null;
  if (both) document.title = `${priceText(mid, places)} ${market.symbol} · binmon`;
  const old = ageMs();
  setFacts(byId("book-facts"), [
    ["Symbol", market.symbol || "–"],
    ["Bid", priceText(bid, places)],
    ["Ask", priceText(ask, places)],
    ["Spread", both ? `${priceText(spread, places)} (${basisPoints(spread, mid)})` : "–"],
    ["Mid", priceText(mid, places)],
    ["Age", age(old), old > OLD_MS ? "warn" : ""],
    ["Update id", book?.update_id ? count(book.update_id) : "–"],
    ["State", book === null ? "–" : book.synced ? "synced" : "not synced", book && !book.synced ? "bad" : ""],
  ]);
}

function showLadder() {
  const empty = !book || (book.bids.length === 0 && book.asks.length === 0);
  byId("ladder-empty").hidden = !empty;
  setText(byId("ladder-empty"), refusal || (!loader.loaded ? "Loading …" : "No data yet."));
  if (!book) {
    for (const part of ["asks", "middle", "bids"]) byId(part).replaceChildren();
    setText(byId("ladder-note"), "");
    return;
  }
  const bids = summed(book.bids.slice(0, ROWS)), asks = summed(book.asks.slice(0, ROWS));
  const most = Math.max(...bids.map((level) => level.sum), ...asks.map((level) => level.sum), 0);
  const all = [...book.bids.slice(0, ROWS), ...book.asks.slice(0, ROWS)];
  const places = Math.max(2, commonDecimals(all.map((level) => level[0])));
  const quantityPlaces = commonDecimals(all.map((level) => level[1]));
  fillSide(byId("asks"), asks.reverse(), "ask", most, places, quantityPlaces);
  fillSide(byId("bids"), bids, "bid", most, places, quantityPlaces);
  const middle = byId("middle");
  if (middle.children.length === 0) middle.append(make("tr", {}, make("td", { colspan: "3" })));
  const bid = book.bids[0]?.[0], ask = book.asks[0]?.[0];
  setText(middle.firstElementChild.firstElementChild, bid && ask ? `spread ${priceText((Number(ask) - Number(bid)).toFixed(places), places)}` : "one-sided");
  setText(byId("ladder-note"), `${Math.min(ROWS, book.bids.length)} + ${Math.min(ROWS, book.asks.length)} levels`);
}

function summed(levels) {
  let sum = 0;
  return levels.map(([price, quantity]) => ({ price, quantity, sum: (sum += Number(quantity)) }));
}

function fillSide(body, levels, side, most, places, quantityPlaces) {
  syncChildren(
    body, levels, (level) => level.price,
    () => {
      return make("tr", { class: "level" },
        make("td", { class: `n ${side === "bid" ? "up" : "down"}` }), make("td", { class: "n" }),
        make("td", { class: "n" }, makeBar(`bar-cell bar-${side}`), make("span", { class: "text" })));
    },
    (row, level) => {
      setText(row.children[0], priceText(level.price, places));
      setText(row.children[1], priceText(level.quantity, quantityPlaces));
      setText(row.children[2].lastElementChild, priceText(level.sum.toFixed(quantityPlaces), quantityPlaces));
      setBar(row.children[2].firstElementChild, most > 0 ? level.sum / most : 0, true);
    },
  );
}

// Depth -------------------------------------------------------------------------------------------------------------

function showDepth() {
  const source = byId("depth-levels").value === "25" ? book : (deep ?? book);
  const usable = source && source.bids.length && source.asks.length;
  byId("depth-empty").hidden = Boolean(usable);
  byId("depth").hidden = !usable;
  setText(byId("depth-empty"), refusal || (!loader.loaded ? "Loading …" : "No data yet."));
  if (!usable) {
    setText(byId("depth-note"), "");
    return;
  }
  const bids = points(source.bids), asks = points(source.asks);
  const min = bids.at(-1)[0], max = asks.at(-1)[0];
  const most = Math.max(bids.at(-1)[1], asks.at(-1)[1]) * 1.05;
  const mid = (bids[0][0] + asks[0][0]) / 2;
  const places = Math.max(2, commonDecimals([...source.bids, ...source.asks].map((level) => level[0])));
  const priceAxis = (value) => priceText(value.toFixed(max - min > 50 ? 0 : places));
  setText(byId("depth-note"), `${source.bids.length} + ${source.asks.length} levels, sums of quantities`);
  plot.show(
    {
      x: { ...quantityAxis, min, max, format: priceAxis },
      y: { ...quantityAxis, min: 0, max: most },
      paint: (pen, at) => {
        side(pen, at, bids, "up", "bar-bid");
        side(pen, at, asks, "down", "bar-ask");
        pen.strokeStyle = colour("edge-strong");
        pen.setLineDash([3, 3]);
        pen.lineWidth = 1;
        pen.beginPath();
        pen.moveTo(at.x(mid), at.box.top);
        pen.lineTo(at.x(mid), at.box.bottom);
        pen.stroke();
        pen.setLineDash([]);
      },
      tip: (at, px, py) => {
        const price = at.xBack(px);
        const levels = price <= mid ? bids : asks;
        const reached = levels.filter((level) => (price <= mid ? level[0] >= price : level[0] <= price)).at(-1);
        if (!reached || px < at.box.left || px > at.box.right) return null;
        const away = ((price - mid) / mid) * 10_000;
        return { x: px, y: py, text: `${priceText(price.toFixed(places))}  ${away >= 0 ? "+" : "−"}${Math.abs(away).toFixed(1)} bp\n${compact(reached[1])} up to here` };
      },
    },
    `Depth: ${compact(bids.at(-1)[1])} bid down to ${priceAxis(min)}, ${compact(asks.at(-1)[1])} asked up to ${priceAxis(max)}`,
  );
}

function points(levels) {
  let sum = 0;
  return levels.map(([price, quantity]) => [Number(price), (sum += Number(quantity))]);
}

function side(pen, at, levels, stroke, fill) {
  pen.beginPath();
  pen.moveTo(at.x(levels[0][0]), at.y(0));
  let before = 0;
  for (const [price, sum] of levels) {
    pen.lineTo(at.x(price), at.y(before));
    pen.lineTo(at.x(price), at.y(sum));
    before = sum;
  }
  pen.lineWidth = 2;
  pen.strokeStyle = colour(stroke);
  const edge = new Path2D();
  before = 0;
  edge.moveTo(at.x(levels[0][0]), at.y(0));
  for (const [price, sum] of levels) {
    edge.lineTo(at.x(price), at.y(before));
    edge.lineTo(at.x(price), at.y(sum));
    before = sum;
  }
  pen.lineTo(at.x(levels.at(-1)[0]), at.y(0));
  pen.closePath();
  pen.fillStyle = colour(fill);
  pen.fill();
  pen.stroke(edge);
}

async function loadDeep() {
  const levels = byId("depth-levels").value;
  if (levels === "25" || document.hidden || market.symbol === "" || refusal) return;
  try {
    deep = await get("/api/book", { venue: market.venue, symbol: market.symbol, levels });
  } catch (error) {
    deep = null; // the live levels are shown instead, and the next turn asks again
    if (error.status === 404) takeRefusal(error.message);
  }
  refresh();
}

/** A book that was not kept may be kept by now. The list of venues is asked, which has an answer in either case. */
async function lookForBook() {
  if (refusal === "" || document.hidden || stream === null) return;
  try {
    const { venues } = await get("/api/venues");
    if (!venues.find((one) => one.name === market.venue)?.books.includes(market.symbol)) return;
  } catch {
    return; // the next turn asks again
  }
  following = true;
  stream.follow([topic, "symbols"]); // the header counts symbols
}

byId("depth-levels").addEventListener("change", () => {
  deep = null;
  void loadDeep();
  refresh();
});
setInterval(loadDeep, DEEP_EVERY_MS);
setInterval(refresh, 1000);
void startMarketBar();
refresh();
stream = await startShell({
  topics: following ? [topic] : [],
  onEvent: (kind, data) => {
    if (kind === "book" && data.topic === topic) loader.take(data);
  },
  onReset: () => following && void loader.load(),
  onLink: (state) => {
    link = state;
    if (state === "refused" && following) void loader.load(); // says whether that is because of the book
    refresh();
  },
});
setInterval(lookForBook, KEPT_EVERY_MS);
