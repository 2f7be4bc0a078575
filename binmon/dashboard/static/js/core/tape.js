// The recent trades of a market in the order in which they came, each once. Trades are
// [trade_id, time_ms, price, quantity, side]; an id is decimal text, as numbers beyond 2^53 are not exact here.

import { Once } from "./once.js";

/**
 * What a trade is known by. Ids are compared for being the same only: not every venue counts them upwards. The time
 * belongs to it, as after a wipe of a venue the ids begin anew.
 */
export function tradeKey(trade) {
  return `${trade[0]}@${trade[1]}`;
}

/** At most `most` trades, oldest first in `trades`. */
export class Tape {
  constructor(most) {
    this.trades = [];
    this._most = most;
    this._once = new Once(5 * most);
    this._fromMs = -Infinity;
  }

  /** A picture of all there is, instead of what was known. */
  replace(picture) {
    this._once.clear();
    this.trades = this._unmet(picture).slice(-this._most);
    // events from before a picture that is full belong before it, where no room is left
    this._fromMs = this.trades.length < this._most ? -Infinity : Math.min(...this.trades.map((trade) => trade[1]));
  }

  /** Trades have come; gives back those that are new. */
  add(news) {
    const fresh = this._unmet(news).filter((trade) => trade[1] >= this._fromMs);
    if (fresh.length > 0) this.trades = [...this.trades, ...fresh].slice(-this._most);
    return fresh;
  }

  _unmet(some) {
    return some.filter((trade) => this._once.isNew(tradeKey(trade)));
  }
}
