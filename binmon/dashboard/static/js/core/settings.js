// This user's settings of the page: read once, changed here, saved a moment later. One JSON object on the server.

import { get, send } from "./api.js";
import { clearNotice, notice } from "./notices.js";

const SAVE_AFTER_MS = 400;
const KEPT_LINES = 100; // markets whose lines are remembered: the object on the server is bounded

const DEFAULTS = { theme: "auto", time: "utc", sound: true, candle_lines: {}, minimum_prices: {} };

let values = { ...DEFAULTS };
let timer = 0;
let unsaved = false;
const listeners = new Set();

/** Read them. Never rejects: where the server does not answer, the defaults hold and a notice says so. */
export async function loadSettings() {
  try {
    const found = await get("/api/settings");
    values = { ...DEFAULTS, ...found };
    clearNotice("settings");
  } catch (error) {
    notice("settings", `Your settings could not be read: ${error.message}`, "warn");
  }
  return values;
}

/** One setting. */
export function setting(name) {
  return values[name];
}

/** Change one and save it soon. */
export function change(name, value) {
  values = { ...values, [name]: value };
  for (const listener of listeners) listener(name, value);
  unsaved = true;
  clearTimeout(timer);
  timer = setTimeout(save, SAVE_AFTER_MS);
}

/** Change one entry of a setting that is an object; null takes it away. The oldest go when there are too many. */
export function changeEntry(name, key, value) {
  const entries = Object.entries(values[name] ?? {}).filter(([known]) => known !== key);
  if (value !== null) entries.push([key, value]);
  change(name, Object.fromEntries(entries.slice(-KEPT_LINES)));
}

/** Hear of changes made on this page: `listener(name, value)`. */
export function onChange(listener) {
  listeners.add(listener);
}

/** Save now what is not saved yet. */
export async function save() {
  clearTimeout(timer);
  if (!unsaved) return;
  unsaved = false;
  try {
    await send("PUT", "/api/settings", values);
    clearNotice("settings");
  } catch (error) {
    unsaved = true;
    notice("settings", `Your settings could not be saved: ${error.message}`, "warn");
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") void save();
});
