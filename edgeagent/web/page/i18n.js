// SPDX-License-Identifier: AGPL-3.0-or-later
// Every text of the page, by key, from lang/<language>.json; numbers and times by the rules of the language.
// What comes from the node in words (reasons) is shown as it is, beneath a text of this page's.

export const LANGUAGES = { en: "English", zh: "中文" };
const STORED = "edgeagent.language";

let language = "en";
let texts = {};

/** Read something that was kept on this device; null where the browser keeps nothing. */
export function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch (e) {
    return null;
  }
}

/** Keep something on this device, where the browser does that. */
export function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch (e) {
    // Without storage the choice holds for this visit.
  }
}

function wanted() {
  const chosen = kept(STORED);
  if (chosen && LANGUAGES[chosen]) return chosen;
  const asked = (navigator.languages || [navigator.language || "en"]).map((tag) => String(tag).slice(0, 2));
  return asked.find((tag) => LANGUAGES[tag]) || "en";
}

/** The texts of a language; null where they can't be had. */
async function read(name) {
  try {
    const response = await fetch(new URL(`lang/${name}.json`, import.meta.url).href);
    return response.ok ? await response.json() : null;
  } catch (e) {
    return null;
  }
}

/** Read the texts of the language that was chosen, or that the browser asks for. Where they can't be had, the page keeps
 *  those that it has. */
export async function loadLanguage(name = wanted()) {
  const found = await read(name);
  if (!found) return;
  texts = found;
  language = name;
  document.documentElement.lang = name === "zh" ? "zh-CN" : name;
  formats.clear();
}

/** Choose a language and keep the choice. */
export async function chooseLanguage(name) {
  keep(STORED, name);
  await loadLanguage(name);
}

export const currentLanguage = () => language;

/** Whether there is a text under this key. */
export const has = (key) => key in texts;

/** The text under a key, with {names} replaced. With a number `n` in params, key.one or key.other where they exist.
 *  A key without a text gives the key: nothing that is missing may cost more than its words. */
export function t(key, params = {}) {
  let found = texts[key];
  if (found === undefined && typeof params.n === "number") {
    found = texts[`${key}.${plural(params.n)}`];
    if (found === undefined) found = texts[`${key}.other`];
  }
  if (found === undefined) return key;
  return found.replace(/\{(\w+)\}/g, (all, name) => {
    const value = params[name];
    if (value === undefined || value === null) return all;
    return typeof value === "number" ? number(value) : String(value);
  });
}

/** The text under a key; "" where there is none, or where it names a value that isn't known. */
export function phrase(key, params = {}) {
  const names = has(key) ? [...texts[key].matchAll(/\{(\w+)\}/g)].map((found) => found[1]) : null;
  const isKnown = (name) => params[name] !== undefined && params[name] !== null && params[name] !== "";
  return names && names.every(isKnown) ? t(key, params) : "";
}

/** The text for a word of the node's (a state, a stage), or the word itself where this page doesn't know it. */
export function word(prefix, value, missing = "") {
  if (value === null || value === undefined || value === "") return missing;
  const key = `${prefix}.${String(value)}`;
  return has(key) ? t(key) : String(value);
}

const plural = (n) => formatter("plural", () => new Intl.PluralRules(language)).select(n);

const formats = new Map();
function formatter(name, make) {
  if (!formats.has(name)) formats.set(name, make());
  return formats.get(name);
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const NOTHING = "–";

/** A number with at most `digits` decimals; a dash for none. */
export function number(value, digits = 2) {
  if (!isNumber(value)) return NOTHING;
  return formatter(`n${digits}`, () => new Intl.NumberFormat(language, { maximumFractionDigits: digits })).format(value);
}

/** A number with exactly `digits` decimals, so that it keeps its place while it changes. */
export function fixed(value, digits = 1) {
  if (!isNumber(value)) return NOTHING;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return formatter(`f${digits}`, () => new Intl.NumberFormat(language, options)).format(value);
}

/** 0.25 → 25 %. */
export function percent(value, digits = 0) {
  if (!isNumber(value)) return NOTHING;
  const options = { style: "percent", maximumFractionDigits: digits };
  return formatter(`p${digits}`, () => new Intl.NumberFormat(language, options)).format(value);
}

/** Bytes, in megabytes where there are that many. */
export function bytes(value) {
  if (!isNumber(value)) return NOTHING;
  if (value >= 1e9) return `${number(value / 1e9, 2)} GB`;
  if (value >= 1e6) return `${number(value / 1e6, 1)} MB`;
  return `${number(value / 1e3, 0)} kB`;
}

/** Seconds as a person says them: 0.4 s, 12 s, 3 min, 2 h. */
export function seconds(value) {
  if (!isNumber(value)) return NOTHING;
  if (value < 10) return t("time.s", { n: Number(value.toFixed(1)) });
  if (value < 100) return t("time.s", { n: Math.round(value) });
  if (value < 100 * 60) return t("time.min", { n: Math.round(value / 60) });
  if (value < 48 * 3600) return t("time.h", { n: Math.round(value / 3600) });
  return t("time.d", { n: Math.round(value / 86400) });
}

/** Clock time of the node's Unix seconds, as this device shows times: 14:03:21. */
export function clock(unix, withSeconds = true) {
  if (!isNumber(unix)) return NOTHING;
  const options = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (withSeconds) options.second = "2-digit";
  return formatter(`c${withSeconds}`, () => new Intl.DateTimeFormat(language, options)).format(new Date(unix * 1000));
}

/** Day and time of Unix seconds. */
export function day(unix) {
  if (!isNumber(unix)) return NOTHING;
  const options = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false };
  return formatter("d", () => new Intl.DateTimeFormat(language, options)).format(new Date(unix * 1000));
}

/** How long ago `unix` was, seen from `now` (both by the node's clock). */
export function ago(unix, now) {
  if (!isNumber(unix) || !isNumber(now)) return NOTHING;
  const passed = now - unix;
  return passed < 5 ? t("time.now") : t("time.ago", { time: seconds(passed) });
}
