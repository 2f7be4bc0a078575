// The live events of the server: one connection a page, resumed after a break where it was left, and started anew where
// that is not possible. `status` comes every second whatever else is asked for, so silence means a dead connection.
// A market that the server does not have (404) is left out, and asked for again when that may have changed: after a break,
// when the page says so, and otherwise seldom.

import { leaveToLogin } from "./api.js";

const KINDS = ["hello", "status", "candle", "candles", "trade", "book", "top", "measurement", "alert", "symbol", "crossed", "reset"];
const STALE_AFTER_MS = 6_000;
const REOPEN_AFTER_MS = 20_000;
const FIRST_LOAD_AFTER_MS = 4_000; // data are loaded even where no stream is to be had
const HIDDEN_PAUSE_MS = 5_000; // long enough for a look at another tab and back
const REFUSED_FIRST_MS = 10_000; // a daemon that starts refuses for a moment what it has a little later
const REFUSED_LONGEST_MS = 300_000;
const LONGEST_PAUSE_MS = 15_000;

/**
 * States: "connecting", "connected", "reconnecting", "stale" (connected, but silent), "paused" (the page is hidden),
 * "offline" (the server is not reached, and the browser has no network), "refused" (with the server's reason; what is
 * not refused may come all the same).
 */
export class LiveStream {
  /**
   * `topics`: an array; `onEvent(kind, data)`; `onReset()`: load everything by GET, also called at the start;
   * `onState(state, detail)`; `neededWhenHidden()`: whether it must go on while nobody looks.
   */
  constructor({ topics, onEvent, onReset, onState, neededWhenHidden = () => false }) {
    this._topics = [...new Set(["status", ...topics])];
    this._onEvent = onEvent;
    this._onReset = onReset;
    this._onState = onState;
    this._neededWhenHidden = neededWhenHidden;
    this._source = null;
    this._lastId = "";
    this._heardAt = 0;
    this._state = "";
    this._detail = "";
    this._refusal = ""; // why the topics of a market are left out
    this._refusals = 0; // in a row
    this._refusedUntil = 0;
    this._cut = false; // since it was open last
    this._failures = 0;
    this._retry = 0;
    this._loaded = false;
    this._hiddenSince = document.hidden ? Date.now() : 0;
    this._leaving = false;
  }

  /** Connect, and watch over it from then on. */
  start() {
    // tried in either case: a daemon on this machine is reached without a network
    for (const turn of ["online", "offline"]) addEventListener(turn, () => this._state !== "paused" && this._reopen());
    addEventListener("pagehide", () => {
      this._leaving = true;
      this._close();
    });
    addEventListener("pageshow", (event) => {
      if (!event.persisted) return;
      this._leaving = false;
      this._reopen();
    });
    document.addEventListener("visibilitychange", () => this._lookAtVisibility());
    setInterval(() => this._watch(), 1000);
    setTimeout(() => this._firstLoad(), FIRST_LOAD_AFTER_MS);
    this._move("connecting");
    this._open();
  }

  /** Follow other topics from now on; what came before them is not told. */
  follow(topics) {
    this._topics = [...new Set(["status", ...topics])];
    this._askForAll();
  }

  _askForAll() {
    this._refusal = "";
    this._lastId = "";
    this._reopen();
  }

  _address() {
    const topics = this._refusal ? this._topics.filter((one) => !isOfMarket(one)) : this._topics;
    const query = new URLSearchParams({ topics: topics.join(",") });
    if (this._lastId) query.set("last_event_id", this._lastId);
    return `/api/stream?${query}`;
  }

  _open() {
    clearTimeout(this._retry);
    const source = new EventSource(this._address());
    this._source = source;
    this._heardAt = Date.now();
    source.addEventListener("open", () => {
      if (source !== this._source) return;
      if (this._cut && this._refusal) {
        this._cut = false;
        this._askForAll(); // it may be another daemon, or have another configuration
        return;
      }
      this._cut = false;
      if (!this._refusal) this._refusals = 0;
      this._heard();
      this._failures = 0;
      // looked at now: when the browser connects again by itself, what was missed is told, and nothing is to be loaded
      if (this._lastId === "") this._firstLoad(true);
    });
    source.addEventListener("error", () => {
      if (source !== this._source || this._leaving) return;
      this._cut = true;
      this._move(navigator.onLine ? "reconnecting" : "offline");
      if (source.readyState === EventSource.CLOSED) void this._askWhy();
    });
    for (const kind of KINDS) source.addEventListener(kind, (event) => source === this._source && this._take(kind, event));
  }

  _close() {
    clearTimeout(this._retry);
    this._source?.close();
    this._source = null;
  }

  _reopen() {
    if (this._leaving) return;
    this._close();
    if (this._state !== "offline") this._move(this._loaded ? "reconnecting" : "connecting");
    this._open();
  }

  _take(kind, event) {
    this._heard();
    if (event.lastEventId) this._lastId = event.lastEventId;
    if (kind === "hello") return; // the beginning: from here on, what is missed can be told
    let data;
    try {
      data = JSON.parse(event.data || "{}");
    } catch {
      this._onReset(); // half an event: whatever it was, a GET tells it
      return;
    }
    if (kind === "reset") {
      this._loaded = true;
      this._onReset();
    } else {
      this._onEvent(kind, data);
    }
  }

  _heard() {
    this._heardAt = Date.now();
    if (this._refusal) this._move("refused", this._refusal);
    else this._move("connected");
  }

  _firstLoad(again = false) {
    if (this._loaded && !again) return;
    this._loaded = true;
    this._onReset();
  }

  /** The browser does not say why a stream was refused: ask with a request of our own. */
  async _askWhy() {
    this._source = null;
    this._failures += 1;
    let pause = Math.min(LONGEST_PAUSE_MS, 1000 * 2 ** Math.min(this._failures - 1, 6)) * (0.7 + 0.6 * Math.random());
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), 10_000);
    try {
      const answer = await fetch(this._address(), { signal: abort.signal, cache: "no-store" });
      if (answer.status === 401) {
        leaveToLogin();
        return;
      }
      if (!answer.ok) {
        const said = await answer.json().catch(() => null);
        const reason = said?.error?.message ?? `the server answered ${answer.status}`;
        if (this._state === "paused") return;
        this._move("refused", reason);
        if (answer.status === 429) pause = LONGEST_PAUSE_MS;
        if (answer.status === 404 && this._leaveOutMarket(reason)) pause = 0;
      }
    } catch {
      if (this._state === "paused") return;
      this._move(navigator.onLine ? "reconnecting" : "offline"); // not reached: tried again below
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
    if (this._leaving || this._state === "paused" || this._source !== null) return;
    this._retry = setTimeout(() => this._source === null && this._open(), pause);
  }

  /** Whether there was something to leave out: to ask for it every few seconds would change nothing. */
  _leaveOutMarket(reason) {
    if (this._refusal || !this._topics.some(isOfMarket)) return false;
    this._refusal = reason;
    this._refusedUntil = Date.now() + Math.min(REFUSED_LONGEST_MS, REFUSED_FIRST_MS * 2 ** this._refusals);
    this._refusals += 1;
    this._cut = false;
    this._failures = 0;
    return true;
  }

  _watch() {
    if (this._leaving || this._state === "paused") return;
    if (this._hiddenSince && Date.now() - this._hiddenSince > HIDDEN_PAUSE_MS && !this._neededWhenHidden()) {
      this._close(); // browsers allow six connections to a host: hidden pages leave theirs to the others
      this._move("paused");
      return;
    }
    if (this._source === null) return;
    const silent = Date.now() - this._heardAt;
    if (this._refusal && Date.now() > this._refusedUntil) this._askForAll();
    else if (silent > REOPEN_AFTER_MS) this._reopen(); // asleep for an hour, or a dead connection that nobody has ended
    else if (silent > STALE_AFTER_MS && this._state === "connected") this._move("stale");
  }

  _lookAtVisibility() {
    this._hiddenSince = document.hidden ? Date.now() : 0;
    if (document.hidden) return;
    if (this._state === "paused" || Date.now() - this._heardAt > STALE_AFTER_MS) this._reopen();
  }

  _move(state, detail = "") {
    if (state === this._state && detail === this._detail) return;
    this._state = state;
    this._detail = detail;
    this._onState(state, detail);
  }
}

function isOfMarket(topic) {
  return topic.includes(":");
}
