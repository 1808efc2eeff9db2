// SPDX-License-Identifier: AGPL-3.0-or-later
// What the page knows of the node: one state, kept up to date by one stream of events (api/events).
// Where the stream can't be had (too many viewers, an old proxy), the status is asked for now and then instead.

import { ApiError, address, get, goToLogin } from "./api.js";
import { addFigures, emptySeries, fromAnswer } from "./series.js";

const SILENCE_MS = 8000; // figures come each second: silence means that the line is dead
const POLL_MS = 3000;
const FIRST_WAIT_MS = 500;
const MOST_WAIT_MS = 2000; // who has just started the node looks at this page, and asking costs little
const HIDDEN_MS = 20000; // nobody looks: no stream, no pictures
const DRIFT_S = 5;
const HISTORY_MOST = 300;
const OVER_MOST = 200; // alarms that are over: a tab may be left open for days

let state = {
  link: "connecting", // connecting, live, polling (status only), lost, paused (nobody looks)
  linkError: null, // ApiError, while link is lost
  hello: null, // {instance, version, time}
  offset: 0, // seconds that the node's clock is ahead of this device's
  restarts: 0, // how often another process answered while this page was open
  status: null, // body of api/status
  lostWhy: {}, // by pipeline, the reasons for which frames were lost when last some were
  series: emptySeries(), // {end, pipelines: {p: {t, fps, p50_ms, p95_ms, dropped}}}
  figures: {}, // the last of each pipeline
  swaps: [], // {t, model, from_version, to_version, reason}, oldest first
  history: null, // audit records, newest first; null until they were read
  alarms: null, // {alarms, rules}; null where the node has none
  route: { name: "", arg: "" },
};
const readers = new Set();
const listeners = new Set();

export const getState = () => state;

/** Call `reader` after each change. Returns what ends that. */
export function subscribe(reader) {
  readers.add(reader);
  return () => readers.delete(reader);
}

/** Call `listener(kind, data)` with each event as it comes: swap, history, alarm, restarted, lost, back. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(kind, data) {
  listeners.forEach((listener) => {
    try {
      listener(kind, data);
    } catch (e) {
      console.error(e);
    }
  });
}

let pending = false;
/** Change the state; readers are called once a frame at most. */
export function set(patch) {
  state = { ...state, ...patch };
  if (pending) return;
  pending = true;
  setTimeout(() => {
    pending = false;
    readers.forEach((reader) => reader(state));
  }, 0);
}

/** Now by the node's clock, Unix seconds. */
export const nodeNow = () => Date.now() / 1000 + state.offset;

// ---- events

/** What an event changes in the state; null for nothing. */
const changed = {
  figures(data) {
    if (!data.pipelines) return null;
    const drift = data.t - nodeNow(); // somebody may set this device's clock, or the node's
    const offset = Math.abs(drift) > DRIFT_S ? state.offset + drift : state.offset;
    return { figures: data.pipelines, series: addFigures(state.series, data), offset };
  },
  swap(data) {
    if (state.swaps.some((s) => s.t === data.t && s.model === data.model)) return null;
    return { swaps: [...state.swaps, data].slice(-50) };
  },
  history: (data) => ({ history: withRecord(state.history || [], data) }),
  alarm(data) {
    const known = state.alarms || { alarms: [], rules: [] };
    if (known.alarms.some((alarm) => alarm.id === data.id && alarm.change > data.change)) return null;
    const rest = known.alarms.filter((alarm) => alarm.id !== data.id);
    let over = 0;
    const alarms = [data, ...rest]
      .sort((a, b) => b.raised_at - a.raised_at)
      .filter((alarm) => alarm.state !== "cleared" || ++over <= OVER_MOST);
    return { alarms: { ...known, alarms } };
  },
};

/** Lists of the events that came while an answer was on its way: it may be older than they are. */
const overtaking = new Set();

function take(kind, data) {
  const patch = changed[kind](data);
  if (!patch) return false;
  overtaking.forEach((events) => events.push([kind, data]));
  set(patch);
  return true;
}

/** Ask, and have `apply(answer)` change the state; what came meanwhile counts over it. */
async function askBehindEvents(ask, apply) {
  const events = [];
  overtaking.add(events);
  try {
    apply(await ask());
  } finally {
    overtaking.delete(events);
  }
  events.forEach(([kind, data]) => {
    const late = kind === "figures" ? { series: addFigures(state.series, data) } : changed[kind](data);
    if (late) set(late);
  });
}

const handlers = {
  hello(data) {
    const before = state.hello;
    const restarted = before && before.instance !== data.instance;
    if (restarted && before.version !== data.version) {
      location.reload(); // another release: this page is no longer its own
      return;
    }
    set({
      hello: data,
      offset: typeof data.time === "number" ? data.time - Date.now() / 1000 : 0,
      restarts: state.restarts + (restarted ? 1 : 0),
    });
    if (restarted) tell("restarted", data);
    else if (wasLost) tell("back", null);
    wasLost = false;
    reread();
  },
  status(data) {
    set({ status: data, lostWhy: whyLost(state, data) });
  },
  figures: (data) => take("figures", data),
  swap: (data) => take("swap", data) && tell("swap", data),
  history: (data) => take("history", data) && tell("history", data),
  alarm: (data) => take("alarm", data) && tell("alarm", data),
  missed() {
    reread(); // this page was too slow for all of them
  },
  bye(data) {
    lost(new ApiError(0, { what: "", why: data.why || "" }));
  },
};

/** Why frames of each pipeline were lost when last some were: what has grown since the status before. */
function whyLost({ status, lostWhy }, next) {
  const found = { ...lostWhy };
  Object.entries((status && next && next.pipelines) || {}).forEach(([name, pipeline]) => {
    const before = ((status.pipelines || {})[name] || {}).dropped_by;
    const grown = Object.keys((before && pipeline.dropped_by) || {}).filter((why) => pipeline.dropped_by[why] > (before[why] || 0));
    if (grown.length) found[name] = grown;
  });
  return found;
}

/** One record more, newest first; a refusal that came again takes the place of its last. */
function withRecord(history, record) {
  const same = (r) =>
    (record.seq && r.seq === record.seq) ||
    (record.count > 1 && r.event === record.event && r.model === record.model && r.to_version === record.to_version && r.why === record.why);
  return [record, ...history.filter((r) => !same(r))].slice(0, HISTORY_MOST);
}

/** What the stream doesn't bring: the past. */
async function reread() {
  const ask = () =>
    Promise.all([
      get("api/series?seconds=600").catch(() => null),
      get("api/history?limit=200").catch(() => null),
      get("api/alarms").catch(() => null),
    ]);
  await askBehindEvents(ask, ([series, history, alarms]) => {
    const patch = {};
    if (series) Object.assign(patch, { series: fromAnswer(series), swaps: series.swaps || [] });
    if (history) patch.history = [...history.history].reverse();
    if (alarms) patch.alarms = alarms;
    set(patch);
  });
}

/** Read the alarms again, after something was done to one. */
export const rereadAlarms = () => askBehindEvents(() => get("api/alarms"), (alarms) => set({ alarms }));

/** Read the status at once, after something was asked for. */
export async function rereadStatus() {
  set({ status: await get("api/status") });
}

// ---- the connection

let source = null;
let watchdog = null;
let retry = null;
let tries = 0;
let wasLost = false;

function alive() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => again(new ApiError(0, {})), SILENCE_MS);
  if (state.link !== "live") {
    tries = 0;
    set({ link: "live", linkError: null });
  }
}

function close() {
  clearTimeout(watchdog);
  clearTimeout(retry);
  if (source) source.close();
  source = null;
}

function open() {
  close();
  source = new EventSource(address("api/events"), { withCredentials: true });
  watchdog = setTimeout(() => again(new ApiError(0, {})), SILENCE_MS);
  Object.keys(handlers).forEach((kind) => {
    source.addEventListener(kind, (event) => {
      alive();
      let data;
      try {
        data = JSON.parse(event.data);
      } catch (e) {
        return; // half a line: the next one comes in a second
      }
      try {
        handlers[kind](data || {});
      } catch (e) {
        console.error(kind, e); // an event that isn't as it should be costs itself
      }
    });
  });
  source.onerror = () => again(new ApiError(0, {}));
}

/** The stream ended, or there is none: ask why, in plain HTTP, then try again. */
async function again(error) {
  close();
  const wait = Math.min(MOST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries) * (0.7 + 0.6 * Math.random());
  tries += 1;
  retry = setTimeout(open, wait);
  try {
    const status = await get("api/status");
    if (source) return; // it came back meanwhile
    poll(status);
  } catch (e) {
    if (e.status === 401) return;
    lost(e.status ? e : error.why ? error : e);
  }
}

/** The node answers, but has no stream for us: its status will do. */
function poll(status) {
  set({ status, link: tries > 1 ? "polling" : state.link, linkError: null });
  if (tries > 1) {
    clearTimeout(retry);
    retry = setTimeout(tries % 5 ? () => again(new ApiError(0, {})) : open, POLL_MS);
  }
}

function lost(error) {
  if (state.link !== "lost") tell("lost", error);
  wasLost = true;
  set({ link: "lost", linkError: error });
}

// ---- nobody looks

let hidden = null;
function onVisibility() {
  clearTimeout(hidden);
  if (document.hidden) {
    hidden = setTimeout(() => {
      close();
      set({ link: "paused" });
    }, HIDDEN_MS);
  } else if (!source && state.link === "paused") {
    set({ link: "connecting" });
    open();
  }
}

/** Begin. */
export function start() {
  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && open());
  open();
}

export { goToLogin };
