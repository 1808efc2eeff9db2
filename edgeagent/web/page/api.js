// SPDX-License-Identifier: AGPL-3.0-or-later
// Requests to the node. Paths are relative ("api/status"), so that a path prefix of a reverse proxy works.

import { t } from "./i18n.js";

const PATIENCE_MS = 20000;

/** What an answer that is no success says: status (0: there was no answer), what, why, todo; problems: each mistake of
 *  a configuration by itself. */
export class ApiError extends Error {
  constructor(status, { what = "", why = "", todo = "", problems = [] } = {}) {
    super(why || what);
    Object.assign(this, { status, what, why, todo, problems });
  }
}

/** Address of something on this node. */
export function address(path) {
  return new URL(path, document.baseURI).href;
}

/** Address of what the node gives a path of, such as a picture; kept below a path prefix. */
export const placed = (url) => address(String(url).replace(/^\/+/, ""));

/** Path made of parts that may hold any character: path("api/models", name, "promote"). */
export function path(...parts) {
  return parts.map((part, i) => (i ? encodeURIComponent(part) : part)).join("/");
}

/** Go to the login form, and come back to where we are. */
export function goToLogin() {
  const here = location.hash.slice(1);
  location.assign(address("login") + (here ? `#${here}` : ""));
}

async function ask(method, where, body, headers = {}) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE_MS);
  try {
    return await fetch(address(where), {
      method,
      credentials: "same-origin",
      headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: stop.signal,
    });
  } catch (e) {
    const why = stop.signal.aborted ? t("api.too_slow", { seconds: PATIENCE_MS / 1000 }) : t("api.no_answer");
    throw new ApiError(0, { what: t("api.node"), why, todo: t("api.no_answer_todo") });
  } finally {
    clearTimeout(timer);
  }
}

async function answerOf(response) {
  if (response.status === 204) return null;
  const text = await response.text();
  let doc = null;
  try {
    doc = JSON.parse(text);
  } catch (e) {
    // A proxy in between answers in its own words; only the status is to be relied upon.
  }
  if (response.ok && doc !== null) return doc;
  if (response.status === 401) goToLogin();
  const error = doc && typeof doc === "object" && doc.error;
  if (error && typeof error === "object") throw new ApiError(response.status, error);
  throw new ApiError(response.status, {
    what: t("api.node"),
    why: t("api.odd_answer", { status: response.status }),
    todo: t("api.odd_answer_todo"),
  });
}

/** The JSON that a request is answered with. Raises ApiError. */
async function call(method, where, body) {
  return answerOf(await ask(method, where, body));
}

export const get = (where) => call("GET", where);
export const post = (where, body = {}) => call("POST", where, body);
export const put = (where, body) => call("PUT", where, body);
export const del = (where) => call("DELETE", where);
