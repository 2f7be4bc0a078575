// The sound of a crossing. Browsers play nothing before somebody has clicked or typed on the page, so there is a button
// that says what is the case, and the first click or key anywhere unlocks it.

import { byId } from "./dom.js";
import { change, onChange, setting } from "./settings.js";

let context = null;
let unlocked = false;
let button = null;

/** Wire the button of the header. */
export function startSound() {
  button = byId("sound-switch");
  button.addEventListener("click", () => {
    if (setting("sound") && !unlocked) unlock();
    else setSound(!setting("sound"));
  });
  onChange((name) => name === "sound" && show()); // another page of this user has switched it
  for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, unlock, { once: true, capture: true });
  show();
}

/** Switch it on or off, and remember that. */
export function setSound(on) {
  change("sound", on);
  if (on) unlock();
  show();
}

/** Whether something would be heard now. */
export function canBeHeard() {
  return setting("sound") && unlocked;
}

/** Play the sound for a price that went up ("above") or down ("below"). Resolves to whether it was played. */
export async function play(direction) {
  if (!setting("sound")) return false;
  const element = byId(direction === "below" ? "sound-fall" : "sound-rise");
  try {
    element.currentTime = 0;
    await element.play();
    element.dataset.played = String(Number(element.dataset.played) + 1);
    unlocked = true;
    show();
    return true;
  } catch {
    return tone(direction); // the file is not to be had, or not allowed yet
  }
}

/** The same two notes without the file. */
function tone(direction) {
  if (context === null || context.state !== "running") {
    unlocked = false;
    show();
    return false;
  }
  const notes = direction === "below" ? [659.26, 440] : [659.26, 880];
  notes.forEach((frequency, index) => {
    const start = context.currentTime + index * 0.14;
    const volume = context.createGain();
    volume.gain.setValueAtTime(0.4, start);
    volume.gain.exponentialRampToValueAtTime(0.001, start + 0.4);
    const oscillator = context.createOscillator();
    oscillator.frequency.value = frequency;
    oscillator.connect(volume).connect(context.destination);
    oscillator.start(start);
    oscillator.stop(start + 0.4);
  });
  return true;
}

function unlock() {
  unlocked = true;
  if (typeof AudioContext !== "undefined") {
    context ??= new AudioContext();
    void context.resume();
  }
  show();
}

function show() {
  if (button === null) return;
  const wanted = setting("sound");
  button.setAttribute("aria-pressed", String(wanted && unlocked));
  button.dataset.wanted = String(wanted && !unlocked);
  button.textContent = !wanted ? "Sound off" : unlocked ? "Sound on" : "Enable sound";
  button.title = wanted && !unlocked ? "The browser plays no sound before a click on this page" : "Sound on a crossing";
}
