// This user's settings of the page. They belong to all pages that are open, so what is kept here is what was changed on
// this one and is not saved yet; it is laid over what the server says, and only it is sent.

import { get, send } from "./api.js";
import { clearNotice, notice } from "./notices.js";

const SAVE_AFTER_MS = 400;
const AGAIN_AFTER_MS = 5_000;

const DEFAULTS = { theme: "auto", time: "utc", sound: true, candle_lines: {}, minimum_prices: {} };

let known = null; // the server's, once it has been read: nothing is saved before
let changes = []; // {name, key, to}: `to(value so far)` gives the new value of a setting, or of one entry of it
let values = { ...DEFAULTS };
let timer = 0;
let saving = null;
let asked = 0;
let told = 0;
const onTheWay = new Set(); // changes that are being sent
const listeners = new Set();

/**
 * Read them. Resolves to whether they could be read; where not, the defaults hold, a notice says so, and the server is
 * asked again.
 */
export async function loadSettings() {
  try {
    await read();
    clearNotice("settings");
    return true;
  } catch (error) {
    notice("settings", `Your settings could not be read: ${error.message}`, "warn");
    askAgain(error);
    return false;
  }
}

/** One setting. */
export function setting(name) {
  return values[name];
}

/** Change one and save it soon. */
export function change(name, value) {
  changed(name, null, () => value);
}

/**
 * Change one entry of a setting that is an object; null takes it away. `value` may be a function of the entry as it is,
 * for a change of a part of it. Where there are too many, the server lets the oldest go.
 */
export function changeEntry(name, key, value) {
  changed(name, key, typeof value === "function" ? value : () => value);
}

function changed(name, key, to) {
  changes.push({ name, key, to });
  values = laidOver(known);
  tell(name);
  clearTimeout(timer);
  timer = setTimeout(save, SAVE_AFTER_MS);
}

/** Hear of changes, made on this page or found on the server: `listener(name, value)`. */
export function onChange(listener) {
  listeners.add(listener);
}

function tell(name) {
  for (const listener of listeners) listener(name, values[name]);
}

/** Save now what is not saved yet. Resolves to whether nothing is left to save. */
export function save() {
  clearTimeout(timer);
  saving ??= saveAll().finally(() => (saving = null));
  return saving;
}

async function saveAll() {
  try {
    while (changes.length > 0) {
      await read(); // another page may have changed the other part of the same entry
      if (changes.length > 0) await patch(changes);
    }
    clearNotice("settings");
    return true;
  } catch (error) {
    notice("settings", `Your settings could not be saved: ${error.message}`, "warn");
    askAgain(error);
    return false;
  }
}

async function read() {
  const turn = ++asked;
  take(await get("/api/settings"), turn);
}

/** `keepalive`: the page may be left before the answer is here. */
async function patch(some) {
  const sent = new Set(some);
  const turn = ++asked;
  for (const one of sent) onTheWay.add(one);
  try {
    const answer = await send("PATCH", "/api/settings", bodyOf(sent), { keepalive: true });
    changes = changes.filter((one) => !sent.has(one));
    take(answer, turn);
  } catch (error) {
    if (error.status === 400 || error.status === 413) { // so it would be for ever, with all that is changed later
      changes = changes.filter((one) => !sent.has(one));
      take(known, turn);
    }
    throw error;
  } finally {
    for (const one of sent) onTheWay.delete(one);
  }
}

/** What these changes come to: a setting as it is, of an object its changed entries, null for one that is gone. */
function bodyOf(some) {
  const body = {};
  for (const { name, key } of some) {
    if (key === null) body[name] = values[name];
    else body[name] = { ...body[name], [key]: values[name][key] ?? null };
  }
  return body;
}

/** The server's settings, unless what was asked later has been answered before. */
function take(document_, turn) {
  if (turn < told) return;
  told = turn;
  const before = values;
  known = document_;
  values = laidOver(known);
  for (const name of Object.keys(values)) if (JSON.stringify(values[name]) !== JSON.stringify(before[name])) tell(name);
}

function laidOver(base) {
  const all = { ...DEFAULTS, ...base };
  for (const { name, key, to } of changes) {
    if (key === null) {
      all[name] = to();
      continue;
    }
    const { [key]: before = null, ...others } = all[name] ?? {};
    const after = to(before);
    all[name] = after === null ? others : { ...others, [key]: after }; // the newest is last, as on the server
  }
  return all;
}

function askAgain(error) {
  if (error.status !== 0 && error.status < 500 && error.status !== 429) return;
  clearTimeout(timer);
  timer = setTimeout(() => (changes.length > 0 ? save() : loadSettings()), AGAIN_AFTER_MS);
}

/** The page is hidden or left: there may be no time to read first. */
function saveLeaving() {
  const rest = changes.filter((one) => !onTheWay.has(one));
  if (rest.length === 0 || known === null) return;
  clearTimeout(timer);
  patch(rest).catch(askAgain); // they are kept, should the page be shown again
}

document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && saveLeaving());
addEventListener("pagehide", saveLeaving);
