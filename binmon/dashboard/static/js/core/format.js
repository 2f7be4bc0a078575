// Numbers, times and ages as people read them. Prices come as decimal text and are shown digit for digit.

const DASH = "–";

/** "67012.50000000" → "67,012.5", with at least `places` decimals. Never rounds: only zeros at the end are left out. */
export function price(text, places = 0) {
  if (text === null || text === undefined || text === "") return DASH;
  const plain = String(text);
  if (!/^-?\d+(\.\d+)?$/.test(plain)) return plain;
  const [whole, fraction = ""] = plain.split(".");
  const kept = fraction.replace(/0+$/, "").padEnd(places, "0");
  return grouped(whole) + (kept ? `.${kept}` : "");
}

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** How many decimals this decimal text needs. */
export function decimals(text) {
  const fraction = String(text ?? "").split(".")[1] ?? "";
  return fraction.replace(/0+$/, "").length;
}

/** The most decimals any of these texts needs, at most 12. */
export function commonDecimals(texts) {
  let most = 0;
  for (const text of texts) most = Math.max(most, decimals(text));
  return Math.min(most, 12);
}

// a comma is a decimal point to many: it is taken for a separator only where it can be nothing else than one
const GROUPED = /^[1-9]\d{0,2}([,\s'])\d{3}(\1\d{3})*(\.\d+)?$/;

/** What a person typed as a price, as decimal text; null when it is none. Accepts "67,000.5" and "67 000.5", not "0,5". */
export function readPrice(typed) {
  const trimmed = String(typed).trim();
  const plain = GROUPED.test(trimmed) ? trimmed.replace(/[,\s']/g, "") : trimmed;
  if (!/^\d{1,15}(\.\d{1,12})?$/.test(plain) || Number(plain) === 0) return null;
  return plain;
}

/** What to say of a text that `readPrice` does not take; `instead` is what holds now. */
export function notAPrice(instead) {
  return `expected a price such as 65000.5; ${instead}`;
}

/** A whole number with separators. */
export function count(value) {
  return Number.isFinite(value) ? grouped(String(Math.round(value))) : DASH;
}

/** Milliseconds for people: "0.41 ms", "12.3 ms", "1.52 s". */
export function milliseconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  if (size >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return `${value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)} ms`;
}

/** An age in milliseconds: "now", "12 s", "5 min", "3 h", "2 d". */
export function age(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return DASH;
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** Spread in basis points of the middle. */
export function basisPoints(spread, mid) {
  const share = (Number(spread) / Number(mid)) * 10_000;
  if (!Number.isFinite(share)) return DASH;
  return `${share >= 10 ? share.toFixed(0) : share >= 0.1 ? share.toFixed(2) : Number(share.toPrecision(2))} bp`;
}

/** A compact quantity for axes: 1,200 → "1.2k". */
export function compact(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${trim(value / 1e9)}B`;
  if (size >= 1e6) return `${trim(value / 1e6)}M`;
  if (size >= 1e4) return `${trim(value / 1e3)}k`;
  if (size >= 1 || size === 0) return trim(value);
  return String(Number(value.toPrecision(2)));
}

function trim(value) {
  return String(Number(value.toFixed(Math.abs(value) >= 100 ? 0 : 2)));
}

const pad = (value, digits = 2) => String(value).padStart(digits, "0");

function parts(date, display) {
  return display === "local"
    ? [date.getFullYear(), date.getMonth() + 1, date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds(), date.getMilliseconds()]
    : [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds(), date.getUTCMilliseconds()];
}

/** A moment in full: "2026-01-02 03:04:05", or its milliseconds. `display`: "utc", "local" or "ms". */
export function moment(ms, display) {
  if (ms === null || ms === undefined) return DASH;
  if (display === "ms") return String(ms);
  const [year, month, day, hour, minute, second] = parts(new Date(ms), display);
  return `${year}-${pad(month)}-${pad(day)} ${pad(hour)}:${pad(minute)}:${pad(second)}`;
}

/** The time of day, with milliseconds when `fine`. */
export function clock(ms, display, fine = false) {
  if (ms === null || ms === undefined) return DASH;
  if (display === "ms") return String(ms);
  const [, , , hour, minute, second, thousandth] = parts(new Date(ms), display);
  return `${pad(hour)}:${pad(minute)}:${pad(second)}${fine ? `.${pad(thousandth, 3)}` : ""}`;
}

/** The day: "2 Jan", or with the year. */
export function day(ms, display, withYear = false) {
  const [year, month, dayOfMonth] = parts(new Date(ms), display);
  const name = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month - 1];
  return withYear ? `${dayOfMonth} ${name} ${year}` : `${dayOfMonth} ${name}`;
}

/** Hours and minutes. */
export function hourMinute(ms, display) {
  const [, , , hour, minute] = parts(new Date(ms), display);
  return `${pad(hour)}:${pad(minute)}`;
}

/** What the time display is called beside a column. */
export function zoneName(display) {
  if (display === "utc") return "UTC";
  if (display === "ms") return "ms";
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
}
