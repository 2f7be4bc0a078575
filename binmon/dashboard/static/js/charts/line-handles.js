// What a user takes hold of to move a line in the chart: a strip along the line for the pointer, and a button on it that
// the arrow keys move. Pointer and keys end in the same place.

import { price as priceText } from "../core/format.js";
import { make, setText } from "../core/dom.js";

const EDGE = 12; // pixels that a handle keeps from the edge when its line is out of sight
const NAMES = { above: "Sound above", below: "Sound below" };

/** The handles of the lines "above" and "below" of one chart. `onMove(direction, text)` while it moves, `onDone` after. */
export class LineHandles {
  constructor(container, chart, { places, onMove, onDone }) {
    this._container = container;
    this._chart = chart;
    this._places = places;
    this._onMove = onMove;
    this._onDone = onDone;
    this._lines = new Map();
    this._dragging = null;
  }

  /** Whether the user is moving this line just now. */
  isMoving(direction) {
    return this._dragging === direction;
  }

  /** Put the handle at a price, or take it away with null. */
  set(direction, text) {
    const known = this._lines.get(direction);
    if (text === null) {
      known?.strip.remove();
      known?.button.remove();
      this._lines.delete(direction);
      return;
    }
    const line = known ?? this._create(direction);
    line.text = text;
    setText(line.button, `${direction} ${priceText(text, this._places())}`);
    line.button.setAttribute("aria-valuenow", text);
    line.button.setAttribute("aria-valuetext", priceText(text));
    this.place();
  }

  /** Follow the chart. */
  place() {
    if (this._lines.size === 0) return;
    const { width, height } = this._chart.plotSize;
    for (const line of this._lines.values()) {
      const y = this._chart.yOf(line.text);
      const inSight = y !== null && y >= 0 && y <= height;
      line.strip.hidden = !inSight;
      line.button.hidden = y === null;
      if (y === null) continue;
      line.strip.style.top = `${y}px`;
      line.strip.style.width = `${width}px`;
      line.button.style.top = `${Math.min(Math.max(y, EDGE), height - EDGE)}px`;
    }
  }

  _create(direction) {
    const strip = make("div", { class: "line-strip" });
    const button = make("button", {
      type: "button", class: "line-handle", role: "slider", "aria-label": NAMES[direction], "aria-orientation": "vertical",
      "aria-valuemin": "0", dataset: { direction },
    });
    const line = { strip, button, text: "" };
    this._lines.set(direction, line);
    for (const element of [strip, button]) element.addEventListener("pointerdown", (event) => this._drag(direction, element, event));
    button.addEventListener("keydown", (event) => this._key(direction, event));
    this._container.append(strip, button);
    return line;
  }

  _drag(direction, element, event) {
    if (event.button !== 0) return;
    event.preventDefault();
    const line = this._lines.get(direction);
    line.button.focus();
    element.setPointerCapture(event.pointerId);
    this._dragging = direction;
    line.button.dataset.dragging = "";
    const before = line.text;
    const move = (at) => {
      const { height } = this._chart.plotSize;
      const y = Math.min(Math.max(at.clientY - this._container.getBoundingClientRect().top, 0), height);
      this._to(direction, this._chart.priceAt(y));
    };
    const end = () => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", end);
      element.removeEventListener("pointercancel", end);
      this._dragging = null;
      delete line.button.dataset.dragging;
      if (line.text !== before) this._onDone(direction, line.text);
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", end);
  }

  _key(direction, event) {
    const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (steps === undefined) return;
    event.preventDefault();
    const { height } = this._chart.plotSize;
    const step = Math.abs((this._chart.priceAt(0) ?? 0) - (this._chart.priceAt(height) ?? 0)) / 100;
    const tick = 1 / 10 ** this._places();
    this._to(direction, Number(this._lines.get(direction).text) + steps * Math.max(step, tick));
    this._onDone(direction, this._lines.get(direction).text);
  }

  _to(direction, price) {
    if (price === null || !(price > 0)) return;
    const text = price.toFixed(this._places());
    if (Number(text) === 0) return;
    this.set(direction, text);
    this._onMove(direction, text);
  }
}
