// A line and a price that goes beyond it and comes back: the same rule as the daemon's own thresholds.
// "above" 70000: beyond when the price is higher, back when it is at or below 70000 less the hysteresis; in between it
// stays what it was, so that a price that wavers around the line crosses it once. "below" is the mirror of it.

/** How far back a price must come, as a share of the line. */
export const HYSTERESIS = 0.0002;

/** One line: `look` takes each price and says whether it has just "crossed", come "back", or null. */
export class Crossing {
  /** `direction`: "above" or "below"; `line`: the price as decimal text. */
  constructor(direction, line) {
    this.direction = direction;
    this.line = line;
    this.beyond = false;
    const level = Number(line);
    const back = direction === "above" ? level - level * HYSTERESIS : level + level * HYSTERESIS;
    this._isBeyond = direction === "above" ? (price) => price > level : (price) => price < level;
    this._isBack = direction === "above" ? (price) => price <= back : (price) => price >= back;
  }

  /** The line takes the place of `other`: a price that was beyond that one and is beyond this one crosses nothing anew. */
  follows(other, priceText) {
    this.beyond = other !== null && other.beyond && this._isBeyond(numberOf(priceText));
    return this;
  }

  /** Take a price, as decimal text. */
  look(priceText) {
    const price = numberOf(priceText);
    if (Number.isNaN(price)) return null;
    if (!this.beyond && this._isBeyond(price)) {
      this.beyond = true;
      return "crossed";
    }
    if (this.beyond && this._isBack(price)) {
      this.beyond = false;
      return "back";
    }
    return null;
  }
}

function numberOf(text) {
  return text === null || text === undefined || String(text).trim() === "" ? NaN : Number(text);
}
