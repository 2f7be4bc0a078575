// Symbols: all of them, a search, and what is new since this user last said to have seen it.

import { get, send } from "../core/api.js";
import { byId, make, oncePerFrame, setData, setState, setText, stateMark, syncChildren } from "../core/dom.js";
import { age, count, moment } from "../core/format.js";
import { Loader } from "../core/load.js";
import { announce, notice } from "../core/notices.js";
import { onChange, setting } from "../core/settings.js";
import { showNewCount, startShell } from "../core/shell.js";

const PAGE = 200;
const SEARCH_AFTER_MS = 200;
const GATHER_MS = 300; // a reset of the venue tells of hundreds at once: they are loaded once

let limit = PAGE;
let listing = null;
let news = { symbols: [], new_count: 0 };
let shown = news; // what is in sight, which is what "Mark as seen" is about
let timer = 0;

const loader = new Loader({
  key: "symbols",
  fetch: () =>
    Promise.all([
      get("/api/symbols", { search: byId("search").value.trim(), venue: byId("venue").value, limit }),
      get("/api/symbols", { new: 1, limit: PAGE }),
    ]),
  show: ([all, fresh]) => {
    listing = all;
    news = fresh;
    showNewCount(news.new_count);
    refresh();
  },
});

const refresh = oncePerFrame(() => {
  if (listing === null) return;
  showNews();
  showList();
});

function candlesAddress(one) {
  return `/candles?${new URLSearchParams({ venue: one.venue, symbol: one.symbol })}`;
}

function showNews() {
  shown = news;
  const some = news.symbols.length > 0;
  setData(byId("news"), "state", some ? "new" : "none");
  byId("news-empty").hidden = some;
  byId("mark-seen").disabled = !some;
  setText(byId("news-note"), !some ? "" : news.symbols.length < news.new_count ? `${count(news.symbols.length)} of ${count(news.new_count)}` : count(news.new_count));
  syncChildren(
    byId("news-list"), news.symbols, (one) => `${one.venue}:${one.symbol}`,
    (one) => make("li", {}, make("a", { href: candlesAddress(one) }, make("span", { text: one.symbol }), make("small"))),
    (item, one) => setText(item.firstElementChild.lastElementChild, `${one.venue} · ${age(Date.now() - one.first_seen_ms)} ago`),
  );
}

function showList() {
  const { symbols, total } = listing;
  byId("symbols-empty").hidden = symbols.length > 0;
  setText(byId("symbols-empty"), byId("search").value.trim() ? "No symbol matches." : "No data yet: no list of symbols has been read.");
  setText(byId("list-note"), `${count(symbols.length)} of ${count(total)}`);
  const more = byId("symbols-more");
  more.hidden = symbols.length >= total || symbols.length < limit;
  setText(more, `Show ${count(Math.min(PAGE, total - symbols.length))} more`);
  const display = setting("time");
  syncChildren(
    byId("symbols"), symbols, (one) => `${one.venue}:${one.symbol}`,
    (one) => make("tr", {},
      make("th", { scope: "row" }, make("a", { href: candlesAddress(one), text: one.symbol }), " ",
        make("small", { class: "narrow-only", text: one.venue }), make("span", { class: "new-mark", text: "new", hidden: true })),
      make("td", { class: "wide-only", text: one.base }), make("td", { class: "wide-only", text: one.quote }), make("td", {}, stateMark("", "")),
      make("td", { class: "wide-only", text: one.venue }), make("td", { class: "dim" }), make("td", { class: "wide-only dim" })),
    (row, one) => {
      row.children[0].lastElementChild.hidden = !one.new;
      const trading = one.status === "TRADING";
      setState(row.children[3].firstElementChild, one.status.toLowerCase(), trading ? "good" : "warn");
      setText(row.children[5], moment(one.first_seen_ms, display));
      setText(row.children[6], (one.first_seen_by ?? "").replaceAll("_", " "));
    },
  );
}

byId("symbols-bar").addEventListener("submit", (event) => event.preventDefault());
byId("search").addEventListener("input", () => {
  clearTimeout(timer);
  limit = PAGE;
  timer = setTimeout(() => void loader.load(), SEARCH_AFTER_MS);
});
byId("venue").addEventListener("change", () => void loader.load());
byId("symbols-more").addEventListener("click", () => {
  limit += PAGE;
  void loader.load();
});
byId("mark-seen").addEventListener("click", async () => {
  byId("mark-seen").disabled = true;
  try {
    await send("POST", "/api/symbols/seen", { until_ms: shown.as_of_ms }); // not those that came after the picture
    announce("Marked as seen.");
    byId("search").focus();
  } catch (error) {
    notice("seen", error.message);
  }
  await loader.load();
});

void get("/api/venues").then(({ venues }) => {
  if (venues.length < 2) return;
  byId("venue").append(make("option", { value: "", text: "all" }), ...venues.map((one) => make("option", { value: one.name, text: one.name })));
  byId("venue-field").hidden = false;
}, () => {}); // without it the list is simply not narrowed by venue

await startShell({
  onEvent: (kind) => {
    if (kind !== "symbol") return;
    clearTimeout(timer);
    timer = setTimeout(() => void loader.load(), GATHER_MS);
  },
  onReset: () => void loader.load(),
});
onChange((name) => name === "time" && refresh());
setInterval(refresh, 10_000);
