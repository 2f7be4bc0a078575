// Lines above the page that say what went wrong, and words for screen readers.

import { byId, make, setText } from "./dom.js";

/** Show a notice; one of the same `key` is replaced. `kind`: "bad", "warn" or "good". */
export function notice(key, text, kind = "bad") {
  const box = byId("notices");
  let line = [...box.children].find((child) => child.dataset.key === key);
  if (line === undefined) {
    line = make("div", { class: "notice", dataset: { key } }, make("span"));
    line.append(
      make("button", { type: "button", class: "quiet", "aria-label": "Dismiss", text: "✕", on: { click: () => clearNotice(key) } }),
    );
    box.append(line);
  }
  line.dataset.kind = kind;
  setText(line.firstElementChild, text);
}

/** Take the notice of this key away, if it is there. */
export function clearNotice(key) {
  for (const line of [...byId("notices").children]) if (line.dataset.key === key) line.remove();
}

/** Let a screen reader say this at once. */
export function announce(text) {
  byId("announcer").textContent = text;
}
