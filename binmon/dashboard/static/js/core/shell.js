// What every page has: the header's buttons, the state of the link, and the stream.

import { get } from "./api.js";
import { byId, setData, setText } from "./dom.js";
import { announce, clearNotice, notice } from "./notices.js";
import { change, loadSettings, onChange, setting } from "./settings.js";
import { startSound } from "./sound.js";
import { LiveStream } from "./stream.js";
import { nextTheme, setTheme, theme } from "./theme.js";

const WORDS = {
  connecting: "Connecting",
  connected: "Live",
  reconnecting: "Reconnecting",
  stale: "No news",
  paused: "Paused",
  offline: "Offline",
  refused: "Refused",
};

/**
 * Read the settings, wire the header and connect. `topics`, `onEvent`, `onReset`, `neededWhenHidden` are those of
 * LiveStream; `onLink(state)` hears how the link is. Resolves to the stream, or null for a page without one.
 */
export async function startShell({ topics = [], onEvent = () => {}, onReset = () => {}, onLink = () => {}, neededWhenHidden } = {}) {
  wireTheme();
  if (await loadSettings()) followTheme();
  onChange((name) => name === "theme" && followTheme());
  startSound();
  wireTime();
  const stream = new LiveStream({
    topics: [...topics, "symbols"],
    onEvent: (kind, data) => {
      if (kind === "symbol") countNew();
      if (kind === "crossed") announce(`${data.symbol} ${data.direction} ${data.threshold}: ${data.price}`);
      onEvent(kind, data);
    },
    onReset,
    onState: (state, detail) => {
      showLink(state, detail);
      onLink(state);
    },
    neededWhenHidden,
  });
  stream.start();
  countNew();
  return stream;
}

let counting = 0;

/** Ask how many symbols are new to this user; a moment later, as they come in crowds. */
function countNew() {
  clearTimeout(counting);
  counting = setTimeout(async () => {
    try {
      showNewCount((await get("/api/symbols", { new: 1, limit: 1 })).new_count);
    } catch {
      // a number in the header is not worth a notice: what fails here fails on the page, too
    }
  }, 300);
}

/** The number beside "Symbols" in the header. */
export function showNewCount(number) {
  const mark = byId("nav-new-symbols");
  mark.hidden = !number;
  setText(mark.firstElementChild, String(number));
}

function showLink(state, detail) {
  const pill = byId("link-state");
  setData(pill, "state", state);
  setText(pill, WORDS[state] ?? state);
  pill.title = detail;
  if (state === "refused") notice("link", `Nothing live: ${detail}`, "warn");
  else if (state === "offline") notice("link", "You are offline. What you see is what was last known.", "warn");
  else if (state === "connected") clearNotice("link");
}

function wireTheme() {
  byId("theme-switch").addEventListener("click", () => {
    setTheme(nextTheme());
    change("theme", theme());
    showTheme();
  });
  showTheme();
}

/** The theme as the settings have it. */
function followTheme() {
  if (setting("theme") !== theme()) setTheme(setting("theme"));
  showTheme();
}

/** The words of the theme button. */
export function showTheme() {
  setText(byId("theme-word"), theme());
}

function wireTime() {
  const select = document.getElementById("time-display");
  if (select === null) return;
  select.value = setting("time");
  select.addEventListener("change", () => change("time", select.value));
  onChange((name, value) => {
    if (name === "time") select.value = value;
  });
}
