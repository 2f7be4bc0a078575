// Candlesticks with volume, and the user's lines. Draws with TradingView Lightweight Charts, loaded by the page before.

import { oncePerFrame } from "../core/dom.js";
import { clock, day, hourMinute, moment, price as priceText } from "../core/format.js";
import { colour, onTheme } from "../core/theme.js";

const VOLUME_SHARE = 0.2; // of the height
const YEAR = 0, MONTH = 1, DAY = 2, SECONDS = 4; // kinds of marks of the library's time axis

/** Whether the chart library is there. */
export function haveLibrary() {
  return typeof globalThis.LightweightCharts === "object";
}

/**
 * A chart in `container`. Candles are [open_ms, open, high, low, close, volume, closed], prices as decimal text.
 * `onPoint(candle | null)` hears which one the pointer is at; `onRedraw()` when prices have moved on the screen.
 */
export class CandleChart {
  constructor(container, { display, onPoint, onRedraw }) {
    const library = globalThis.LightweightCharts;
    this._display = display;
    this._byTime = new Map();
    this._container = container;
    this._chart = library.createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false, fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 12 },
      rightPriceScale: { scaleMargins: { top: 0.06, bottom: VOLUME_SHARE + 0.04 }, borderVisible: false, entireTextOnly: true },
      timeScale: { timeVisible: true, secondsVisible: false, borderVisible: false, rightOffset: 4 },
      crosshair: { mode: library.CrosshairMode.Normal },
      handleScroll: { vertTouchDrag: false }, // a finger up and down scrolls the page
    });
    this._candles = this._chart.addSeries(library.CandlestickSeries, { borderVisible: false });
    this._volume = this._chart.addSeries(library.HistogramSeries, {
      priceScaleId: "", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false,
    });
    this._volume.priceScale().applyOptions({ scaleMargins: { top: 1 - VOLUME_SHARE, bottom: 0 } });
    this._lines = new Map();
    this._chart.subscribeCrosshairMove((at) => onPoint(at.time === undefined ? null : (this._byTime.get(at.time) ?? null)));
    // the library asks its parts before each frame it draws: that is when handles beside it must follow. Once a frame, as
    // in a hidden tab there are none, and what is asked for at each candle would wait there in a crowd
    this._candles.attachPrimitive({ updateAllViews: oncePerFrame(onRedraw), paneViews: () => [] });
    this._colours();
    onTheme(() => this._colours());
    this.setDisplay(display);
    // the library lays its canvases out in a table, which is none to read; the page has a real one
    container.firstElementChild?.setAttribute("aria-hidden", "true");
  }

  /** All candles anew, oldest first. `places`: decimals of a price. */
  setAll(candles, places) {
    this._candles.applyOptions({ priceFormat: {
        type: "custom", minMove: 1 / 10 ** places, formatter: (value) => priceText(value.toFixed(places), places) } });
    this._byTime = new Map(candles.map((candle) => [seconds(candle), candle]));
    this._candles.setData(candles.map((candle) => bar(candle)));
    this._volume.setData(candles.map((candle) => this._volumeBar(candle)));
    const step = candles.length > 1 ? candles[1][0] - candles[0][0] : 60_000;
    this._chart.applyOptions({ timeScale: { secondsVisible: step < 60_000 } });
  }

  /** Show the newest `count` candles. */
  showLast(count, of) {
    this._chart.timeScale().setVisibleLogicalRange({ from: Math.max(-2, of - count), to: of + 4 });
  }

  /** One candle has changed, or is new. `newest`: it is the last one. */
  update(candle, newest) {
    this._byTime.set(seconds(candle), candle);
    this._candles.update(bar(candle), !newest);
    this._volume.update(this._volumeBar(candle), !newest);
  }

  /** How times are shown: "utc", "local" or "ms". */
  setDisplay(display) {
    this._display = display;
    this._chart.applyOptions({
      localization: { timeFormatter: (time) => moment(time * 1000, this._display) },
      timeScale: {
        tickMarkFormatter: (time, kind) => this._mark(time * 1000, kind),
        tickMarkMaxCharacterLength: display === "ms" ? 14 : 8,
      },
    });
  }

  /** Put a line at a price (decimal text), or take it away with null. `direction`: "above" or "below". */
  setLine(direction, price) {
    const known = this._lines.get(direction);
    if (price === null) {
      if (known) this._candles.removePriceLine(known);
      this._lines.delete(direction);
    } else if (known) {
      known.applyOptions({ price: Number(price) });
    } else {
      this._lines.set(direction, this._candles.createPriceLine(this._lineOptions(direction, price)));
    }
  }

  /** Where a price is, in pixels from the top; null while that is not known. */
  yOf(price) {
    return this._candles.priceToCoordinate(Number(price));
  }

  /** Which price is at `y`. */
  priceAt(y) {
    return this._candles.coordinateToPrice(y);
  }

  /** Width and height of the plot without its axes. */
  get plotSize() {
    return { width: this._chart.timeScale().width(), height: this._container.clientHeight - this._chart.timeScale().height() };
  }

  _lineOptions(direction, price) {
    return {
      price: Number(price), color: colour(direction === "above" ? "good" : "bad"), lineWidth: 2, lineStyle: 2, axisLabelVisible: true,
      axisLabelColor: colour(direction === "above" ? "good" : "bad"), axisLabelTextColor: colour("surface"), title: "",
    };
  }

  _volumeBar(candle) {
    return { time: seconds(candle), value: Number(candle[5]), color: colour(Number(candle[4]) >= Number(candle[1]) ? "bar-bid" : "bar-ask") };
  }

  _mark(ms, kind) {
    if (this._display === "ms") return String(ms);
    if (kind === YEAR) return day(ms, this._display, true);
    if (kind === MONTH || kind === DAY) return day(ms, this._display);
    return kind === SECONDS ? clock(ms, this._display) : hourMinute(ms, this._display);
  }

  _colours() {
    const text = colour("soft"), grid = colour("grid");
    this._chart.applyOptions({
      layout: { background: { type: "solid", color: colour("surface") }, textColor: text },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      crosshair: {
        vertLine: { color: colour("edge-strong"), labelBackgroundColor: colour("soft") },
        horzLine: { color: colour("edge-strong"), labelBackgroundColor: colour("soft") },
      },
    });
    const up = colour("up"), down = colour("down");
    this._candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, priceLineColor: text });
    for (const [direction, line] of this._lines) line.applyOptions(this._lineOptions(direction, line.options().price));
    this._volume.setData([...this._byTime.values()].sort((a, b) => a[0] - b[0]).map((candle) => this._volumeBar(candle)));
  }
}

function seconds(candle) {
  return Math.floor(candle[0] / 1000);
}

function bar(candle) {
  return { time: seconds(candle), open: Number(candle[1]), high: Number(candle[2]), low: Number(candle[3]), close: Number(candle[4]) };
}
