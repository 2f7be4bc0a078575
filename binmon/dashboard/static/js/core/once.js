// What has been met before. A picture by GET and the events after it overlap, so that the same thing comes twice.

/** Remembers the last `most` keys. */
export class Once {
  constructor(most) {
    this._most = most;
    this._met = new Set(); // in the order in which they came
  }

  /** Whether this key is met for the first time; from now on it is known. */
  isNew(key) {
    if (this._met.has(key)) return false;
    this._met.add(key);
    if (this._met.size > this._most) this._met.delete(this._met.values().next().value);
    return true;
  }

  /** Forget them all. */
  clear() {
    this._met.clear();
  }
}
