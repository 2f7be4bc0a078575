// Requests to the server. Every failure becomes an ApiError with one line for people.

import { pageData } from "./dom.js";
import { clearNotice, notice } from "./notices.js";

const TIMEOUT_MS = 20_000;
const SLOW_MS = 10_000;
// browsers have six connections to a host without HTTP/2, and a page's stream holds one: what is asked for then waits
const NO_ANSWER = "No answer: the daemon is down, or too many tabs of it are open.";

/** What the server, or the way to it, said. `status` 0: the server was not reached. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

/** GET a path under /api with query parameters; those that are null or "" are left out. Resolves to the JSON document. */
export function get(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return request("GET", text ? `${path}?${text}` : path);
}

/** POST, PATCH or DELETE with a JSON body and the CSRF token of this page. `keepalive`: also while the page is left. */
export function send(method, path, body, { keepalive = false } = {}) {
  return request(method, path, body, keepalive);
}

async function request(method, path, body, keepalive = false) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = pageData.csrf ?? document.querySelector("input[name='csrf']")?.value ?? "";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const slow = setTimeout(() => notice("no-answer", NO_ANSWER, "warn"), SLOW_MS);
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      keepalive,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    if (!navigator.onLine) throw new ApiError(0, "offline", "You are offline.");
    if (error.name === "TimeoutError") throw new ApiError(0, "timeout", "The server did not answer within 20 seconds.");
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  } finally {
    clearTimeout(slow);
  }
  clearNotice("no-answer");
  if (answer.status === 401) {
    leaveToLogin();
    throw new ApiError(401, "not_logged_in", "The session has ended; log in again.");
  }
  const document_ = await readJson(answer);
  if (!answer.ok) {
    const error = document_?.error ?? {};
    throw new ApiError(answer.status, error.code ?? "failed", error.message ?? `The server answered ${answer.status}.`);
  }
  return document_ ?? {};
}

async function readJson(answer) {
  try {
    return await answer.json();
  } catch {
    return null; // no body, or a proxy's own page: the status says what there is to say
  }
}

/** The session is over: to the login page, and back here afterwards. */
export function leaveToLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}
