// Small hands for the document: elements, texts and lists that change in place instead of being built anew.

/** The element with this id; throws where the template and the script have come apart. */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`no element #${id}`);
  return found;
}

/**
 * Make an element. `properties`: attributes; `dataset` an object, `on` an object of listeners, `text` its text.
 * Attributes that are null or false are left out. Nothing here ever parses HTML.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "text") element.textContent = value;
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Set the text only when it differs, so that selections and screen readers are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set a data attribute only when it differs. */
export function setData(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

/**
 * Bring the children of `parent` into line with `items`: those with a known key are updated and moved, others made.
 * `create(item)` gives an element, `update(element, item)` fills it. Each item has one child, and a child that no item
 * has goes. Where a key comes again, the later item has a place of its own: nothing that is told is hidden here.
 */
export function syncChildren(parent, items, keyOf, create, update) {
  const known = new Map();
  for (const child of parent.children) known.set(child.dataset.key, child);
  const times = new Map();
  const used = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(keyOf(item));
    const time = (times.get(name) ?? 0) + 1;
    times.set(name, time);
    const key = time === 1 ? name : `${name}\u0000${time}`;
    let child = known.get(key);
    if (child === undefined) {
      child = create(item);
      child.dataset.key = key;
    }
    used.add(child);
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of [...parent.children]) if (!used.has(child)) child.remove();
}

/** Fill a <dl> with [term, text, level] rows; `level` is "", "good", "warn" or "bad". */
export function setFacts(list, facts) {
  syncChildren(
    list,
    facts,
    ([term]) => term,
    ([term]) => make("div", {}, make("dt", { text: term }), make("dd")),
    (row, [, text, level]) => {
      const value = row.lastElementChild;
      setText(value, text);
      setData(value, "level", level ?? "");
    },
  );
}

/** Say beside an input (in the element `<its id>-problem`) what is wrong with what was typed; "" takes it back. */
export function setProblem(input, text) {
  if (text) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  setText(byId(`${input.id}-problem`), text);
}

/** A word with a dot in the colour of its level. */
export function stateMark(word, level) {
  return make("span", { class: "state", dataset: { level } }, make("span", { text: word }));
}

/** Change what `stateMark` made. */
export function setState(mark, word, level) {
  setText(mark.firstElementChild, word);
  setData(mark, "level", level);
}

const SVG = "http://www.w3.org/2000/svg";

/** A horizontal bar for `setBar`; the text beside it says the same. */
export function makeBar(name) {
  const bar = document.createElementNS(SVG, "svg");
  bar.setAttribute("class", name);
  bar.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(SVG, "rect");
  shape.setAttribute("height", "100%");
  bar.append(shape);
  return bar;
}

/** Fill a bar to `share` (0 to 1), from the left or, with `fromRight`, from the right. */
export function setBar(bar, share, fromRight = false) {
  const percent = Math.min(1, Math.max(0, share || 0)) * 100;
  bar.firstElementChild.setAttribute("width", `${percent}%`);
  bar.firstElementChild.setAttribute("x", fromRight ? `${100 - percent}%` : "0");
}

/** Call `work` at most once a frame, however often it is asked for. */
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** The data that the server gave this page. */
export const pageData = JSON.parse(byId("page-data").textContent);
