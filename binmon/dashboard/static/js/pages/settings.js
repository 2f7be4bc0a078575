// Settings: display and sound, the password, and tokens of the API.

import { get, send } from "../core/api.js";
import { byId, make, setText, syncChildren } from "../core/dom.js";
import { moment } from "../core/format.js";
import { Loader } from "../core/load.js";
import { announce, notice } from "../core/notices.js";
import { change, onChange, save, setting } from "../core/settings.js";
import { showTheme, startShell } from "../core/shell.js";
import { play, setSound } from "../core/sound.js";
import { setTheme, theme } from "../core/theme.js";

let tokens = null;
const loader = new Loader({
  key: "tokens",
  fetch: () => get("/api/tokens"),
  show: (answer) => {
    tokens = answer.tokens;
    showTokens();
  },
});

function showTokens() {
  if (tokens === null) return;
  byId("tokens-empty").hidden = tokens.length > 0;
  const display = setting("time");
  syncChildren(
    byId("tokens"), tokens, (one) => one.id,
    (one) => make("tr", {},
      make("th", { scope: "row", text: one.name }), make("td", { class: "dim" }), make("td", { class: "dim" }),
      make("td", { class: "n" }, make("button", { type: "button", class: "quiet", text: "Revoke", "aria-label": `Revoke ${one.name}`, on: { click: (event) => revoke(one, event.target) } }))),
    (row, one) => {
      setText(row.children[1], moment(one.created_ms, display));
      setText(row.children[2], one.last_used_ms ? moment(one.last_used_ms, display) : "never");
    },
  );
}

/** Asks by a second press of the same button, so that no token goes by a slip. */
async function revoke(one, button) {
  if (button.dataset.sure === undefined) {
    button.dataset.sure = "";
    setText(button, "Really revoke");
    button.setAttribute("aria-label", `Really revoke ${one.name}`);
    setTimeout(() => {
      delete button.dataset.sure;
      setText(button, "Revoke");
      button.setAttribute("aria-label", `Revoke ${one.name}`);
    }, 5000);
    return;
  }
  try {
    await send("DELETE", `/api/tokens/${encodeURIComponent(one.id)}`);
    announce(`${one.name} is revoked.`);
  } catch (error) {
    notice("tokens", error.message);
  }
  byId("token-name").focus();
  await loader.load();
}

byId("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = byId("token-name");
  try {
    const made = await send("POST", "/api/tokens", { name: name.value.trim() });
    byId("token-text").value = made.token;
    byId("token-shown").hidden = false;
    byId("token-text").focus();
    byId("token-text").select();
    announce("The token is made. Copy it now.");
    name.value = "";
  } catch (error) {
    notice("tokens", error.message);
  }
  await loader.load();
});

byId("token-copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("token-text").value);
    announce("Copied.");
    setText(byId("token-copy"), "Copied");
  } catch {
    byId("token-text").select(); // not allowed to: it is marked, for the user's own copying
  }
});

byId("password-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const word = byId("password-word");
  const say = (kind, text) => {
    word.dataset.kind = kind;
    setText(word, text);
  };
  if (byId("password-new").value !== byId("password-again").value) {
    say("bad", "The two new passwords differ.");
    byId("password-again").focus();
    return;
  }
  try {
    await send("POST", "/api/password", { current: byId("password-now").value, new: byId("password-new").value });
    event.target.reset();
    say("good", "The password is changed.");
  } catch (error) {
    say("bad", error.message);
  }
});

function showChoices() {
  for (const radio of document.querySelectorAll("input[name='theme']")) radio.checked = radio.value === theme();
  for (const radio of document.querySelectorAll("input[name='time']")) radio.checked = radio.value === setting("time");
  byId("sound-choice").checked = setting("sound");
}

byId("theme-choice").addEventListener("change", (event) => {
  setTheme(event.target.value);
  change("theme", theme());
  showTheme();
});
byId("time-choice").addEventListener("change", (event) => change("time", event.target.value));
byId("sound-choice").addEventListener("change", (event) => setSound(event.target.checked));
byId("sound-test").addEventListener("click", async () => {
  if (!setting("sound")) setSound(true);
  setText(byId("display-note"), (await play("above")) ? "played" : "the browser did not play it");
});

// also of a choice that is made while the settings are still on their way
for (const choice of ["theme-choice", "time-choice", "sound-choice"]) {
  byId(choice).addEventListener("change", () => {
    setText(byId("display-note"), "saving …");
    setTimeout(async () => {
      setText(byId("display-note"), (await save()) ? "saved" : "not saved");
    }, 500);
  });
}
await startShell({ onReset: () => void loader.load() });
showChoices();
onChange((name) => {
  showChoices();
  if (name === "time") showTokens();
});
