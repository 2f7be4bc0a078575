// Light, dark, or as the system has it; remembered here for the first paint, and in the user's settings.

const ORDER = ["auto", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();
let chosen = remembered();

function remembered() {
  try {
    const found = localStorage.getItem("binmon.theme");
    return ORDER.includes(found) ? found : "auto";
  } catch {
    return "auto"; // storage is forbidden
  }
}

/** What is chosen: "auto", "light" or "dark". */
export function theme() {
  return chosen;
}

/** The one after the chosen one, for a switch that goes round. */
export function nextTheme() {
  return ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
}

/** Choose one and show it. */
export function setTheme(name) {
  chosen = ORDER.includes(name) ? name : "auto";
  try {
    localStorage.setItem("binmon.theme", chosen);
  } catch {
    // storage is forbidden: the settings on the server remember it
  }
  show();
}

/** Charts draw anew when the colours change. */
export function onTheme(listener) {
  listeners.add(listener);
}

/** The value of a colour of the style sheet, e.g. `colour("up")`. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function show() {
  const dark = chosen === "dark" || (chosen === "auto" && system.matches);
  const wanted = dark ? "dark" : "light";
  if (document.documentElement.dataset.theme === wanted) return;
  document.documentElement.dataset.theme = wanted;
  for (const listener of listeners) listener();
}

system.addEventListener("change", show);
