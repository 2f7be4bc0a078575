// Overview: what is wrong comes first and in red; when all is well, the page is calm.

import { get } from "../core/api.js";
import { byId, make, makeBar, oncePerFrame, setBar, setData, setFacts, setState, setText, stateMark, syncChildren } from "../core/dom.js";
import { age, basisPoints, clock, commonDecimals, count, milliseconds, moment, price as priceText } from "../core/format.js";
import { Loader } from "../core/load.js";
import { Once } from "../core/once.js";
import { onChange, setting } from "../core/settings.js";
import { startShell } from "../core/shell.js";

const ASK_EVERY_MS = 2000;
const ROWS = 30; // books in sight before somebody asks for more
const MOST_ALERTS = 8;
const QUEUES = 10; // in sight: the fullest
const QUIET_BOOK_MS = 60_000; // a book without an update for so long is pointed at
const SLOW_BEAT_S = 20;
const UNSURE_CLOCK_MS = 1000;
const ORDER = { bad: 0, warn: 1, "": 2, good: 3 };

let status = null;
let statusAt = 0;
let failed = "";
const tops = new Map(); // by venue:symbol
let alerts = []; // newest first
const alertsOnce = new Once(100);
let all = false; // every book in the table
let link = "connecting";

const statusLoader = new Loader({
  key: "status",
  fetch: () => get("/api/status"),
  show: (answer) => {
    status = answer;
    statusAt = Date.now();
    failed = "";
    refresh();
  },
  onError: (error) => {
    failed = error.message;
    refresh();
  },
});
const topsLoader = new Loader({
  key: "tops",
  fetch: () => get("/api/tops"),
  show: (answer) => {
    tops.clear();
    takeTops(answer.tops);
  },
  apply: takeTops,
});
const alertsLoader = new Loader({
  key: "alerts",
  fetch: () => get("/api/alerts", { limit: MOST_ALERTS }),
  show: (answer) => {
    alertsOnce.clear();
    alerts = answer.alerts.filter((alert) => alertsOnce.isNew(alertKey(alert)));
    refresh();
  },
  apply: (alert) => {
    if (!alertsOnce.isNew(alertKey(alert))) return; // the list has it already
    alerts = [alert, ...alerts].slice(0, MOST_ALERTS);
    refresh();
  },
});

function takeTops(news) {
  const now = Date.now();
  for (const top of news) tops.set(`${top.venue}:${top.symbol}`, { ...top, heardAt: now });
  refresh();
}

const refresh = oncePerFrame(() => {
  showVerdict();
  showBooks();
  showAlerts();
  if (status === null) return;
  showConnections();
  showRates();
  showClocks();
  showWorkers();
  showQueues();
});

const venues = () => Object.entries(status?.venues ?? {});
const byLevel = (a, b) => ORDER[a.level] - ORDER[b.level] || a.name.localeCompare(b.name, "en", { numeric: true });

// The verdict --------------------------------------------------------------------------------------------------------

function showVerdict() {
  const problems = status?.problems ?? [];
  const old = status !== null && Date.now() - statusAt > 15_000;
  const state = failed || old ? "warn" : status === null ? "unknown" : problems.length ? "bad" : "good";
  setData(byId("verdict"), "state", state);
  setText(
    byId("verdict-word"),
    failed ? `Not known: ${failed}` : old ? `Last heard ${age(Date.now() - statusAt)} ago` : status === null ? "Looking …"
      : problems.length === 0 ? "All is well" : problems.length === 1 ? "One problem" : `${problems.length} problems`,
  );
  // by place: texts that count seconds change in place instead of coming and going
  syncChildren(byId("verdict-problems"), problems.map((text, place) => ({ text, place })), (one) => one.place, () => make("li"), (item, one) => setText(item, one.text));
  if (status === null) return;
  const workers = Object.values(status.workers ?? {});
  const books = venues().flatMap(([, venue]) => Object.values(venue.books ?? {}));
  const synced = books.filter((state_) => state_ === "synced").length;
  const running = workers.filter((worker) => worker.state === "running").length;
  setFacts(byId("verdict-facts"), [
    ["Books synced", `${count(synced)} of ${count(books.length)}`, synced < books.length ? "bad" : ""],
    ["Workers running", `${running} of ${workers.length}`, running < workers.length ? "warn" : ""],
    ["Version", `${status.version} · ${status.config_hash}`],
  ]);
}

// Books --------------------------------------------------------------------------------------------------------------

function bookRows() {
  const rows = new Map();
  for (const [venue, found] of venues()) {
    for (const [symbol, state] of Object.entries(found.books ?? {})) rows.set(`${venue}:${symbol}`, { venue, symbol, state });
  }
  for (const [key, top] of tops) rows.set(key, { ...top, state: rows.get(key)?.state ?? top.state ?? "unknown" });
  return [...rows.values()].map((row) => {
    const ageMs = row.heardAt === undefined || row.age_ms === null ? null : row.age_ms + (Date.now() - row.heardAt);
    const level = row.state !== "synced" ? "bad" : ageMs !== null && ageMs > QUIET_BOOK_MS ? "warn" : "good";
    return { ...row, name: `${row.venue} ${row.symbol}`, ageMs, level };
  });
}

function showBooks() {
  const wanted = byId("books-filter").value.trim().toLowerCase();
  const every = bookRows().sort(byLevel);
  const matching = every.filter((row) => row.name.toLowerCase().includes(wanted));
  const shown = all || wanted ? matching.slice(0, 1000) : matching.slice(0, Math.max(ROWS, matching.filter((row) => row.level === "bad").length));
  byId("books-empty").hidden = matching.length > 0;
  setText(byId("books-empty"), wanted ? "No book matches." : status === null ? "Loading …" : "No book is kept.");
  setText(byId("books-note"), every.length ? `${count(every.length)} kept` : "");
  const more = byId("books-more");
  more.hidden = matching.length <= shown.length && !(all && matching.length > ROWS);
  setText(more, all ? "Show fewer" : `Show all ${count(matching.length)}`);
  const several = new Set(every.map((row) => row.venue)).size > 1;
  syncChildren(
    byId("books"), shown, (row) => row.name,
    (row) => make("tr", {},
      make("th", { scope: "row" }, make("a", { href: `/book?${new URLSearchParams({ venue: row.venue, symbol: row.symbol })}`, text: row.symbol }),
        " ", make("small", { text: several ? row.venue : "" })),
      make("td", {}, stateMark("", "")), make("td", { class: "n wide-only" }), make("td", { class: "n wide-only" }), make("td", { class: "n" }), make("td", { class: "n" })),
    (tr, row) => {
      setData(tr, "level", row.level === "good" ? "" : row.level);
      setState(tr.children[1].firstElementChild, row.state.replaceAll("_", " "), row.level === "warn" ? "warn" : row.level);
      const places = Math.max(2, commonDecimals([row.bid, row.ask].filter(Boolean)));
      setText(tr.children[2], priceText(row.bid, places));
      setText(tr.children[3], priceText(row.ask, places));
      setText(tr.children[4], row.spread ? `${priceText(row.spread)} (${basisPoints(row.spread, row.mid)})` : "–");
      setText(tr.children[5], age(row.ageMs));
    },
  );
  const total = {};
  for (const [, venue] of venues()) for (const [name, value] of Object.entries(venue.counters ?? {})) total[name] = (total[name] ?? 0) + value;
  setFacts(byId("book-counters"), status === null ? [] : [
    ["Audits passed", count(total.audits_passed ?? 0)],
    ["Audits failed", count(total.audits_failed ?? 0), total.audits_failed ? "bad" : ""],
    ["Inconclusive", count(total.audits_inconclusive ?? 0)],
    ["Gaps", count(total.gaps ?? 0), total.gaps ? "warn" : ""],
    ["Resyncs", count(total.resyncs ?? 0)],
    ["Renewals", count(total.renewals ?? 0)],
    ["Rotations", count(total.rotations ?? 0)],
  ]);
}

// Alerts -------------------------------------------------------------------------------------------------------------

function alertKey(alert) {
  return `${alert.time_ms} ${alert.name} ${alert.subject} ${alert.kind}`;
}

function alertLevel(alert) {
  if (alert.kind === "recovered" || alert.kind === "expired") return "good";
  return ["error", "critical"].includes(alert.severity) ? "bad" : alert.severity === "warning" ? "warn" : "";
}

function showAlerts() {
  byId("alerts-empty").hidden = alerts.length > 0;
  setText(byId("alerts-empty"), alertsLoader.loaded ? "No alert." : "Loading …");
  const display = setting("time");
  syncChildren(
    byId("alerts"), alerts, alertKey,
    () => make("li", {}, make("span", { class: "head" }, make("strong"), make("span", { class: "subject" }), make("time")), make("span")),
    (row, one) => {
      setData(row, "level", alertLevel(one));
      const [head, text] = row.children;
      setText(head.children[0], `${one.kind}: ${one.name}`);
      setText(head.children[1], one.subject ?? "");
      setText(head.children[2], clock(one.time_ms, display));
      head.children[2].title = moment(one.time_ms, display);
      setText(text, one.text ?? "");
    },
  );
}

// Connections, rates, clocks -------------------------------------------------------------------------------------------

function showConnections() {
  const rows = venues().flatMap(([venue, found]) =>
    Object.entries(found.connections ?? {}).map(([name, state]) => ({
      name, venue, state, level: ["live", "up", "connected"].includes(state) ? "good" : ["failed", "down", "refused"].includes(state) ? "bad" : "warn",
    })));
  const latency = status.latency;
  if (latency) {
    rows.push({ name: `user data: ${latency.subscribed_to ?? "none"}`, venue: "", state: latency.subscribed_to ? "subscribed" : "not subscribed", level: latency.subscribed_to ? "good" : "warn" });
  }
  byId("connections-empty").hidden = rows.length > 0;
  setText(byId("connections-note"), rows.length ? count(rows.length) : "");
  syncChildren(
    byId("connections"), rows.sort(byLevel), (row) => `${row.venue} ${row.name}`,
    (row) => make("li", {}, make("span", { text: row.name, title: row.name }), stateMark("", "")),
    (item, row) => setState(item.lastElementChild, row.state.replaceAll("_", " "), row.level),
  );
}

function showRates() {
  const rows = venues().filter(([, venue]) => venue.rate);
  byId("rates-empty").hidden = rows.length > 0;
  syncChildren(
    byId("rates"), rows, ([name]) => name,
    ([name]) => make("div", { class: "rate" }, make("h3", { text: name }), make("div"), make("p", { class: "word" })),
    (box, [, { rate }]) => {
      const meters = [["weight / minute", rate.weight], ["connects / 5 min", rate.connects], ...Object.entries(rate.orders ?? {}).map(([name, use]) => [`orders / ${name}`, use])];
      meterRows(box.children[1], meters.filter(([, use]) => use));
      const word = box.children[2];
      const waiting = Object.entries(rate.waiting ?? {}).filter(([, number]) => number > 0);
      const stopped = rate.banned_for_s > 0 ? `banned for another ${age(rate.banned_for_s * 1000)}` : rate.blocked_for_s > 0 ? `blocked for another ${age(rate.blocked_for_s * 1000)}` : "";
      setData(word, "level", stopped ? "bad" : "");
      setText(word, [
        stopped,
        waiting.length ? `waiting: ${waiting.map(([name, number]) => `${name.replaceAll("_", " ")} ${number}`).join(", ")}` : "nobody waits",
        rate.full_resync ? `all books anew: ${count(rate.full_resync.weight)} weight, ${rate.full_resync.seconds === null ? "never" : age(rate.full_resync.seconds * 1000)}` : "",
      ].filter(Boolean).join(" · "));
    },
  );
}

function meterRows(parent, rows) {
  syncChildren(
    parent, rows, ([name]) => name,
    ([name]) => make("div", { class: "meter-row" }, make("span", { text: name, title: name }), makeBar("level-bar"), make("span")),
    (row, [, use]) => {
      const [, bar, text] = row.children;
      setLevelBar(bar, use.limit ? use.used / use.limit : 0, 0.6, 0.9);
      setText(text, `${count(use.used)} / ${count(use.limit)}`);
    },
  );
}

/** A bar that changes colour where its share comes to `warn` and to `bad`. */
function setLevelBar(bar, share, warn, bad) {
  setBar(bar, share);
  setData(bar, "level", share >= bad ? "bad" : share >= warn ? "warn" : "");
}

function showClocks() {
  const facts = [];
  const clocks = Object.keys(status.clocks ?? {}).length ? status.clocks : Object.fromEntries(venues().map(([name, venue]) => [name, venue.clock ?? {}]));
  for (const [venue, reading] of Object.entries(clocks)) {
    const known = reading.offset_ms !== null && reading.offset_ms !== undefined;
    const unsure = reading.uncertainty_ms > UNSURE_CLOCK_MS;
    facts.push([`${venue} ahead of us`, known ? `${milliseconds(reading.offset_ms)}${reading.uncertainty_ms === undefined || reading.uncertainty_ms === null ? "" : ` ± ${milliseconds(reading.uncertainty_ms)}`}` : "not known", known && !unsure ? "" : "warn"]);
    if (reading.drift_ppm !== undefined && reading.drift_ppm !== null) facts.push([`${venue} drift`, `${reading.drift_ppm.toFixed(1)} ppm`]);
    if (reading.steps) facts.push([`${venue} clock steps`, count(reading.steps), "warn"]);
  }
  const recorder = status.recorder;
  if (recorder) {
    facts.push(["Recording", recorder.failing ? "cannot be written" : "writing", recorder.failing ? "bad" : "good"]);
    facts.push(["Rows written", count(recorder.rows)]);
    facts.push(["Rows lost", count(recorder.rows_lost), recorder.rows_lost ? "bad" : ""]);
  }
  if (status.latency) {
    for (const [name, number] of Object.entries(status.latency.classes ?? {})) {
      facts.push([`Orders ${name.replaceAll("_", " ")}`, count(number), number && ["lost", "unknown"].includes(name) ? "bad" : number && name === "late" ? "warn" : ""]);
    }
    if (status.latency.trouble) facts.push(["Order latency", String(status.latency.trouble), "warn"]);
  }
  byId("clocks-empty").hidden = facts.length > 0;
  setFacts(byId("clocks"), facts);
}

// Workers and queues -------------------------------------------------------------------------------------------------

function workerLevel(worker) {
  if (worker.state === "fatal" || worker.failing_s > 60) return "bad";
  if (worker.state !== "running" && worker.state !== "stopped") return "warn";
  return worker.failing_s > 0 || worker.beat_age_s > SLOW_BEAT_S ? "warn" : "good";
}

function showWorkers() {
  const rows = Object.entries(status.workers ?? {}).map(([name, worker]) => ({ ...worker, name, level: workerLevel(worker) })).sort(byLevel);
  byId("workers-empty").hidden = rows.length > 0;
  setText(byId("workers-note"), rows.length ? `${count(rows.length)}, with the age of their last sign of life` : "");
  syncChildren(
    byId("workers"), rows, (row) => row.name,
    (row) => make("li", {}, stateMark(row.name, ""), make("span"), make("span", { class: "trouble" })),
    (item, row) => {
      const [mark, beat, trouble] = item.children;
      setData(item, "level", row.level);
      setState(mark, row.name, row.level);
      mark.title = row.cpu_s === null ? row.name : `${row.name}: ${row.cpu_s.toFixed(1)} s of processor time`;
      setText(beat, row.level === "good" ? age(row.beat_age_s * 1000) : `${row.state}, ${age(row.beat_age_s * 1000)}`);
      const words = row.level === "good" ? "" : [row.failing_s > 0 ? `failing for ${age(row.failing_s * 1000)}` : "", row.last_error].filter(Boolean).join(": ");
      trouble.hidden = words === "";
      setText(trouble, words);
    },
  );
}

function showQueues() {
  const rows = Object.entries(status.channels ?? {}).map(([name, queue]) => ({ ...queue, name })).sort(
    (a, b) => b.dropped - a.dropped || b.depth / b.capacity - a.depth / a.capacity || a.name.localeCompare(b.name));
  const dropped = rows.reduce((sum, row) => sum + row.dropped, 0);
  const shown = rows.filter((row, place) => place < QUEUES || row.dropped > 0 || row.depth > 0);
  const rest = byId("queues-rest");
  rest.hidden = rows.length === shown.length;
  setText(rest, `and ${count(rows.length - shown.length)} more, all empty`);
  byId("queues-empty").hidden = rows.length > 0;
  setText(byId("queues-note"), rows.length ? (dropped ? `${count(dropped)} dropped` : "nothing dropped") : "");
  syncChildren(
    byId("queues"), shown, (row) => row.name,
    (row) => make("li", { class: "meter-row" }, make("span", { text: row.name, title: row.name }), makeBar("level-bar"), make("span")),
    (item, row) => {
      const [, bar, text] = item.children;
      setLevelBar(bar, row.depth / row.capacity, 0.3, 0.8);
      setText(text, row.dropped ? `${count(row.dropped)} dropped` : `${count(row.depth)} / ${count(row.capacity)}`);
      text.className = row.dropped ? "down" : "";
    },
  );
}

byId("books-filter").addEventListener("input", () => refresh());
byId("books-more").addEventListener("click", () => {
  all = !all;
  refresh();
});
refresh();
await startShell({
  topics: ["tops", "alerts"],
  onEvent: (kind, data) => {
    if (kind === "top") topsLoader.take(data.tops);
    else if (kind === "alert") alertsLoader.take(data.alert ?? data);
    else if (kind === "status" && status !== null && data.ok !== undefined && data.ok !== status.ok) void statusLoader.poll();
  },
  onReset: () => {
    void statusLoader.load();
    void topsLoader.load();
    void alertsLoader.load();
  },
  onLink: (state) => {
    link = state;
    refresh();
  },
});
onChange((name) => name === "time" && refresh());
setInterval(() => {
  refresh();
  if (!document.hidden && link !== "offline" && Date.now() - statusAt >= ASK_EVERY_MS - 100) void statusLoader.poll();
}, ASK_EVERY_MS);
