// A small plot on a canvas: axes, grid, marks under the pointer. What is drawn between the axes is the page's.

import { clock, compact, day, hourMinute } from "../core/format.js";
import { make, oncePerFrame } from "../core/dom.js";
import { colour, onTheme } from "../core/theme.js";

const MARGIN = { top: 10, right: 14, bottom: 26, left: 56 };
const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];

/** Round steps over a range: about `count` of them. */
export function linearTicks(min, max, count) {
  const raw = (max - min) / Math.max(1, count);
  if (!(raw > 0)) return [min];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((one) => one * power >= raw) ?? 10);
  const ticks = [];
  for (let k = Math.ceil(min / step); k * step <= max + step * 1e-9; k += 1) ticks.push(k * step);
  return ticks;
}

/** Powers of ten, with 2 and 5 between where there is room. */
export function logTicks(min, max) {
  const factors = Math.log10(max / min) > 3 ? [1] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power += 1) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= min * 0.999 && tick <= max * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

/** Even moments, in milliseconds. */
export function timeTicks(min, max, count) {
  const raw = (max - min) / 1000 / Math.max(1, count);
  const step = 1000 * (TIME_STEPS_S.find((one) => one >= raw) ?? 604_800);
  const ticks = [];
  for (let at = Math.ceil(min / step) * step; at <= max; at += step) ticks.push(at);
  return ticks;
}

/** The words under moments: the time, and the day at midnight. */
export function timeLabel(ms, span, display) {
  if (display === "ms") return String(ms);
  if (span <= 600_000) return clock(ms, display);
  const words = hourMinute(ms, display);
  return words === "00:00" || span > 4 * 86_400_000 ? day(ms, display) : words;
}

/** Maps values to pixels. `log`: by the logarithm. */
function scale(min, max, from, to, log) {
  const on = log ? Math.log : (value) => value;
  const low = on(min), width = on(max) - low || 1;
  const map = (value) => from + ((on(value) - low) / width) * (to - from);
  const back = (pixel) => {
    const at = low + ((pixel - from) / (to - from)) * width;
    return log ? Math.exp(at) : at;
  };
  return { map, back };
}

/**
 * `scene`: `x` and `y` are {min, max, log?, ticks(min, max, count), format(value)}; `paint(pen, plot)` draws, with
 * `plot.x(value)`, `plot.y(value)` and `plot.box`; `tip(plot, px, py)` gives {x, y, text} or null for the pointer.
 */
export class Plot {
  constructor(container, label) {
    this._container = container;
    this._canvas = make("canvas", { role: "img", "aria-label": label });
    this._tip = make("div", { class: "plot-tip", hidden: true });
    container.append(this._canvas, this._tip);
    this._scene = null;
    this._draw = oncePerFrame(() => this._paint());
    new ResizeObserver(() => this._draw()).observe(container);
    onTheme(() => this._draw());
    this._canvas.addEventListener("pointermove", (event) => this._point(event));
    this._canvas.addEventListener("pointerleave", () => (this._tip.hidden = true));
  }

  /** Show this from now on. `label`: what it says, for those who do not see it. */
  show(scene, label) {
    this._scene = scene;
    if (label && this._canvas.getAttribute("aria-label") !== label) this._canvas.setAttribute("aria-label", label);
    this._draw();
  }

  _paint() {
    const width = this._container.clientWidth, height = this._container.clientHeight;
    if (!this._scene || width < 40 || height < 40) return;
    const ratio = devicePixelRatio || 1;
    if (this._canvas.width !== Math.round(width * ratio) || this._canvas.height !== Math.round(height * ratio)) {
      this._canvas.width = Math.round(width * ratio);
      this._canvas.height = Math.round(height * ratio);
    }
    const pen = this._canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11.5px ${getComputedStyle(document.body).fontFamily}`;
    const { x, y } = this._scene;
    const yTicks = y.ticks(y.min, y.max, Math.max(2, height / 60));
    const labels = yTicks.map((tick) => y.format(tick));
    const left = Math.max(34, ...labels.map((text) => pen.measureText(text).width + 14));
    const box = { left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const xScale = scale(x.min, x.max, box.left, box.right, x.log);
    const yScale = scale(y.min, y.max, box.bottom, box.top, y.log);
    this._plot = { box, x: xScale.map, y: yScale.map, xBack: xScale.back, yBack: yScale.back };
    this._axes(pen, box, yTicks, labels);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top - 6, box.right - box.left, box.bottom - box.top + 6);
    pen.clip();
    this._scene.paint(pen, this._plot);
    pen.restore();
  }

  _axes(pen, box, yTicks, labels) {
    const { x } = this._scene;
    pen.strokeStyle = colour("grid");
    pen.fillStyle = colour("soft");
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    yTicks.forEach((tick, index) => {
      const at = Math.round(this._plot.y(tick)) + 0.5;
      line(pen, box.left, at, box.right, at);
      pen.fillText(labels[index], box.left - 7, at);
    });
    pen.textBaseline = "top";
    const sample = pen.measureText(x.format(x.max)).width + 26;
    let free = -Infinity;
    for (const tick of x.ticks(x.min, x.max, Math.max(2, (box.right - box.left) / Math.max(70, sample)))) {
      const at = Math.round(this._plot.x(tick)) + 0.5;
      const text = x.format(tick), half = pen.measureText(text).width / 2;
      line(pen, at, box.top, at, box.bottom);
      const middle = Math.min(Math.max(at, box.left - 20 + half), box.right + MARGIN.right - half - 1);
      if (middle - half < free) continue;
      pen.textAlign = "center";
      pen.fillText(text, middle, box.bottom + 8);
      free = middle + half + 8;
    }
  }

  _point(event) {
    if (!this._scene?.tip || !this._plot) return;
    const bounds = this._canvas.getBoundingClientRect();
    const found = this._scene.tip(this._plot, event.clientX - bounds.left, event.clientY - bounds.top);
    this._tip.hidden = found === null;
    if (found === null) return;
    this._tip.textContent = found.text;
    const right = found.x > bounds.width / 2;
    this._tip.style.left = right ? "" : `${found.x + 12}px`;
    this._tip.style.right = right ? `${bounds.width - found.x + 12}px` : "";
    this._tip.style.top = `${Math.max(2, found.y - 30)}px`;
  }
}

/** A straight line. */
export function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

/** Axis of a quantity. */
export const quantityAxis = { ticks: linearTicks, format: compact };
