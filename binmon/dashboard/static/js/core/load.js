// Loading a picture by GET while its changes already come in: changes are kept until the picture is there.

import { clearNotice, notice } from "./notices.js";

/**
 * `fetch()` gives the picture, `show(picture)` puts it up, `apply(change)` changes it. `key` names the notice of a
 * failure. Only the newest load counts, and it is tried again by itself where the server was not reached. Who asks at
 * fixed times uses `poll`, so that an answer that takes longer than that is waited for.
 */
export class Loader {
  constructor({ key, fetch, show, apply = () => {}, onError = () => {} }) {
    this._key = key;
    this._fetch = fetch;
    this._show = show;
    this._apply = apply;
    this._onError = onError;
    this._turn = 0;
    this._waiting = null; // changes that came since the load began
    this._retry = 0;
    this._inFlight = 0;
    this.loaded = false;
  }

  /** Load now. */
  async load() {
    clearTimeout(this._retry);
    const turn = ++this._turn;
    this._waiting ??= [];
    let picture;
    this._inFlight += 1;
    try {
      picture = await this._fetch();
    } catch (error) {
      if (turn !== this._turn) return;
      this._waiting = null;
      this._onError(error);
      notice(this._key, error.message, error.status >= 500 || error.status === 0 ? "warn" : "bad");
      if (error.status === 0 || error.status >= 500 || error.status === 429) {
        this._retry = setTimeout(() => void this.load(), 3000 + 4000 * Math.random());
      }
      return;
    } finally {
      this._inFlight -= 1;
    }
    if (turn !== this._turn) return;
    const waiting = this._waiting ?? [];
    this._waiting = null;
    this.loaded = true;
    clearNotice(this._key);
    this._show(picture);
    for (const change of waiting) this._apply(change);
  }

  /** Load, unless an answer is being waited for. */
  async poll() {
    if (this._inFlight === 0) await this.load();
  }

  /** A change has come. */
  take(change) {
    if (this._waiting !== null) this._waiting.push(change);
    else if (this.loaded) this._apply(change);
  }
}
