// Latency: every order as a dot by its class, the threshold, percentiles and the distribution.

import { line, linearTicks, logTicks, Plot, quantityAxis, timeLabel, timeTicks } from "../charts/plot.js";
import { get } from "../core/api.js";
import { byId, make, oncePerFrame, setFacts, setText, syncChildren } from "../core/dom.js";
import { clock, count, milliseconds } from "../core/format.js";
import { Loader } from "../core/load.js";
import { onChange, setting } from "../core/settings.js";
import { startShell } from "../core/shell.js";
import { colour } from "../core/theme.js";

const ROWS = 50;
const RELOAD_MS = 15_000; // percentiles and histogram are the server's
const NEAR_PX = 14;
const SVG = "http://www.w3.org/2000/svg";
/** Each class has a colour and a shape of its own, for those who do not see the one. */
const CLASSES = {
  in_time: { words: "in time", colour: "accent", shape: "dot", level: "" },
  late: { words: "late", colour: "warn", shape: "triangle", level: "warn" },
  lost: { words: "lost", colour: "bad", shape: "cross", level: "bad" },
  rejected: { words: "rejected", colour: "soft", shape: "square", level: "" },
  unknown: { words: "unknown", colour: "bad", shape: "square", level: "bad" },
  reset: { words: "reset by the venue", colour: "soft", shape: "cross", level: "warn" },
};
const other = { words: "", colour: "soft", shape: "dot", level: "" };

let report = null;
let stale = 0;
const scatter = new Plot(byId("scatter"), "Each order by the time it was sent and its latency");
const histogram = new Plot(byId("histogram"), "Distribution of latencies");

const loader = new Loader({
  key: "latency",
  fetch: () => get("/api/latency", { since_s: byId("since").value }),
  show: (answer) => {
    report = answer;
    refresh();
  },
  apply: (measurement) => {
    const known = report.measurements.findIndex((one) => one.client_order_id === measurement.client_order_id);
    if (known >= 0) report.measurements[known] = measurement;
    else {
      report.measurements.push(measurement);
      report.classes = { ...report.classes, [measurement.class]: (report.classes?.[measurement.class] ?? 0) + 1 };
    }
    stale += 1;
    refresh();
  },
});

const refresh = oncePerFrame(() => {
  if (report === null) return;
  const some = report.measurements.length > 0;
  for (const name of ["scatter", "orders"]) byId(`${name}-empty`).hidden = some;
  byId("scatter").hidden = !some;
  setText(byId("latency-subject"), [report.venue, report.symbol].filter(Boolean).join(" "));
  showFacts();
  showClasses();
  showScatter();
  showHistogram();
  showOrders();
});

function nameOf(one) {
  return CLASSES[one]?.words || one;
}

function showFacts() {
  const at = report.percentiles ?? {};
  const over = (value) => (report.threshold_ms && value > report.threshold_ms ? "bad" : "");
  setFacts(byId("latency-facts"), [
    ["Orders", count(report.measurements.length)],
    ["Median", milliseconds(at.p50), over(at.p50)],
    ["90 %", milliseconds(at.p90), over(at.p90)],
    ["99 %", milliseconds(at.p99), over(at.p99)],
    ["Largest", milliseconds(at.max), over(at.max)],
    ["Threshold", milliseconds(report.threshold_ms)],
  ]);
}

function showClasses() {
  const rows = Object.entries(report.classes ?? {}).filter(([, number]) => number > 0);
  syncChildren(
    byId("classes"), rows, ([name]) => name,
    ([name]) => make("li", {}, symbolOf(CLASSES[name] ?? other), make("span")),
    (row, [name, number]) => {
      setText(row.lastElementChild, `${nameOf(name)} ${count(number)}`);
      row.lastElementChild.className = { bad: "down" }[CLASSES[name]?.level] ?? "";
    },
  );
}

function symbolOf(look) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", { dot: "M6 2a4 4 0 1 0 .01 0z", triangle: "M6 1.5 11 10.5H1z", square: "M2 2h8v8H2z", cross: "M2 2l8 8M10 2l-8 8" }[look.shape]);
  path.setAttribute(look.shape === "cross" ? "stroke" : "fill", `var(--${look.colour})`);
  if (look.shape === "cross") path.setAttribute("stroke-width", "2");
  svg.append(path);
  return svg;
}

function dot(pen, look, x, y) {
  pen.fillStyle = pen.strokeStyle = colour(look.colour);
  pen.lineWidth = 2;
  pen.beginPath();
  if (look.shape === "dot") pen.arc(x, y, 3, 0, 2 * Math.PI);
  else if (look.shape === "square") pen.rect(x - 3.5, y - 3.5, 7, 7);
  else if (look.shape === "triangle") {
    pen.moveTo(x, y - 5);
    pen.lineTo(x + 5, y + 4);
    pen.lineTo(x - 5, y + 4);
    pen.closePath();
  } else {
    line(pen, x - 4, y - 4, x + 4, y + 4);
    line(pen, x - 4, y + 4, x + 4, y - 4);
    return;
  }
  pen.fill();
}

function showScatter() {
  const some = report.measurements;
  if (some.length === 0) return;
  const display = setting("time");
  const log = byId("scale").value === "log";
  const threshold = report.threshold_ms || 0;
  const measured = some.map((one) => one.sent_to_report_ms).filter((value) => value > 0);
  const top = Math.max(threshold, ...measured, 1) * (log ? 1.8 : 1.08);
  const bottom = log ? Math.min(...measured, threshold || Infinity, top / 10) / 1.6 : 0;
  const newest = Math.max(...some.map((one) => one.sent_ms)), oldest = Math.min(...some.map((one) => one.sent_ms));
  const span = Math.max(newest - oldest, 60_000);
  const without = some.filter((one) => !(one.sent_to_report_ms > 0)).length;
  setText(byId("scatter-note"), without ? `${count(without)} without a report stand at the upper edge` : "");
  // an order without a report has no latency: it is shown at the upper edge, where the worst are
  const yOf = (at, one) => (one.sent_to_report_ms > 0 ? at.y(one.sent_to_report_ms) : at.box.top + 3);
  scatter.show(
    {
      x: { min: newest - span * 1.02, max: newest + span * 0.02, ticks: timeTicks, format: (ms) => timeLabel(ms, span, display) },
      y: { min: bottom, max: top, log, ticks: log ? logTicks : linearTicks, format: axisMs },
      paint: (pen, at) => {
        if (threshold) {
          pen.strokeStyle = pen.fillStyle = colour("bad");
          pen.setLineDash([6, 4]);
          pen.lineWidth = 1.5;
          line(pen, at.box.left, at.y(threshold), at.box.right, at.y(threshold));
          pen.setLineDash([]);
          pen.textAlign = "right";
          pen.textBaseline = "bottom";
          pen.fillText(`threshold ${milliseconds(threshold)}`, at.box.right - 4, at.y(threshold) - 3);
        }
        for (const one of some) dot(pen, CLASSES[one.class] ?? other, at.x(one.sent_ms), yOf(at, one));
      },
      tip: (at, px, py) => {
        let best = null, least = NEAR_PX;
        for (const one of some) {
          const away = Math.hypot(at.x(one.sent_ms) - px, yOf(at, one) - py);
          if (away < least) [best, least] = [one, away];
        }
        if (best === null) return null;
        return { x: at.x(best.sent_ms), y: yOf(at, best), text: `${clock(best.sent_ms, display, true)}  ${nameOf(best.class)}\n${milliseconds(best.sent_to_report_ms)}` };
      },
    },
    `${count(some.length)} orders, median ${milliseconds(report.percentiles?.p50)}, largest ${milliseconds(report.percentiles?.max)}, threshold ${milliseconds(threshold)}`,
  );
}

function axisMs(value) {
  if (value >= 1000) return `${Number((value / 1000).toPrecision(3))} s`;
  return `${Number(value.toPrecision(2))} ms`;
}

function showHistogram() {
  const all = (report.histogram ?? []).filter(([upper]) => Number.isFinite(upper) && upper > 0);
  const first = all.findIndex(([, number]) => number > 0);
  byId("histogram-empty").hidden = first >= 0;
  byId("histogram").hidden = first < 0;
  if (first < 0) return;
  const last = all.findLastIndex(([, number]) => number > 0);
  const bins = [];
  for (let index = first; index <= last; index += 1) {
    const upper = all[index][0];
    bins.push({ lower: index > 0 ? all[index - 1][0] : upper / 2, upper, number: all[index][1] });
  }
  const threshold = report.threshold_ms || 0;
  const min = Math.max(bins[0].lower, bins.at(-1).upper / 1e7) / 1.15, max = Math.max(bins.at(-1).upper, min * 4) * 1.15;
  const most = Math.max(...bins.map((bin) => bin.number));
  histogram.show(
    {
      x: { min, max, log: true, ticks: logTicks, format: axisMs },
      y: { ...quantityAxis, min: 0, max: most * 1.1, ticks: (low, high, number) => linearTicks(low, high, number).filter(Number.isInteger) },
      paint: (pen, at) => {
        for (const bin of bins) {
          const left = at.x(bin.lower), right = at.x(bin.upper);
          pen.fillStyle = colour(threshold && bin.lower >= threshold ? "bad" : "accent");
          pen.fillRect(left + 0.5, at.y(bin.number), Math.max(1, right - left - 1), at.y(0) - at.y(bin.number));
        }
        if (threshold && threshold < max) {
          pen.strokeStyle = colour("bad");
          pen.setLineDash([6, 4]);
          line(pen, at.x(threshold), at.box.top, at.x(threshold), at.box.bottom);
          pen.setLineDash([]);
        }
      },
      tip: (at, px) => {
        const value = at.xBack(px);
        const bin = bins.find((one) => value >= one.lower && value < one.upper);
        return bin ? { x: px, y: at.y(bin.number), text: `${axisMs(bin.lower)} – ${axisMs(bin.upper)}: ${count(bin.number)}` } : null;
      },
    },
    `Distribution: most between ${axisMs(bins[0].lower)} and ${axisMs(bins.at(-1).upper)}`,
  );
}

function showOrders() {
  const display = setting("time");
  syncChildren(
    byId("orders"), report.measurements.slice(-ROWS).reverse(), (one) => one.client_order_id,
    () => make("tr", {}, make("td", { class: "dim" }), make("td"), make("td", { class: "n" }), make("td", { class: "n wide-only dim" }), make("td", { class: "n wide-only dim" })),
    (row, one) => {
      row.title = one.client_order_id;
      row.dataset.level = CLASSES[one.class]?.level ?? "";
      setText(row.children[0], clock(one.sent_ms, display, true));
      setText(row.children[1], nameOf(one.class));
      setText(row.children[2], milliseconds(one.sent_to_report_ms));
      setText(row.children[3], milliseconds(one.sent_to_event_ms));
      setText(row.children[4], milliseconds(one.event_to_receive_ms));
    },
  );
}

byId("latency-bar").addEventListener("submit", (event) => event.preventDefault());
byId("since").addEventListener("change", () => void loader.load());
byId("scale").addEventListener("change", () => refresh());
setInterval(() => {
  if (stale === 0 || document.hidden) return;
  stale = 0;
  void loader.load();
}, RELOAD_MS);
await startShell({
  topics: ["latency"],
  onEvent: (kind, data) => kind === "measurement" && loader.take(data.measurement ?? data),
  onReset: () => void loader.load(),
});
onChange((name) => name === "time" && refresh());
