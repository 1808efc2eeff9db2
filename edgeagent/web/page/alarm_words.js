// SPDX-License-Identifier: AGPL-3.0-or-later
// What an alarm is called, what it says and which one comes first; and the banner over every view while something
// critical is there that nobody has said he saw.

import { has, phrase, t, word } from "./i18n.js";
import { refusal } from "./records.js";
import { Icon, html } from "./ui.js";

const RANK = { critical: 0, warning: 1, info: 2 };

const rank = (alarm) => (alarm.severity in RANK ? RANK[alarm.severity] : 3);

export const worstFirst = (a, b) => rank(a) - rank(b) || b.raised_at - a.raised_at;

/** Whether somebody has to look: raised, and nobody has said that he saw it. */
export const needsLook = (alarm) => alarm.state === "raised";

/** In a few words: what kind of thing it is, and where. */
export function titleOf(alarm) {
  const kind = has(`alarm.kind.${alarm.kind}`) ? t(`alarm.kind.${alarm.kind}`) : alarm.rule || alarm.kind;
  const where = alarm.pipeline || alarm.model;
  return where ? t("alarm.title", { kind, where }) : kind;
}

/** Figures that a rule's sentence needs, by its kind. */
const OF_RULES = { present: ["objects"], count: ["objects", "seconds"], absent: ["seconds"] };

/** What a rule is about, or has found, in one sentence. */
export const ruleSays = (when, { classes, objects, seconds }) => t(`rule.words_${when}`, { what: classes || t("rule.anything"), n: objects, seconds });

const versionSays = (kind, figures) => {
  const said = phrase(`alarm.says.${kind}`, figures) || phrase(`alarm.says.${kind}_none`, figures);
  return said && [said, refusal({ ...figures, result: "rejected" })].filter(Boolean).join(" ");
};
/** Of kinds whose sentence depends on more than their figures as they are. */
const SAYS = {
  camera_lost: ({ state }) => phrase("alarm.says.camera_lost", { state: word("pipeline.state", state) }),
  frames_dropped: ({ reason }) => phrase("alarm.says.frames_dropped", { why: word("alarm.lack", reason) }),
  version_refused: (figures) => versionSays("version_refused", figures),
  version_rolled_back: (figures) => versionSays("version_rolled_back", figures),
  disk: ({ why, least_mb }) => [why && t("alarm.says.disk"), phrase("alarm.says.disk_low", { least_mb })].filter(Boolean).join(" "),
};

/** A sentence of this page's, of kind and figures; "" where it has none. */
function says({ kind, figures = {} }) {
  if (OF_RULES[kind]) return OF_RULES[kind].every((name) => typeof figures[name] === "number") ? ruleSays(kind, figures) : "";
  return SAYS[kind] ? SAYS[kind](figures) : phrase(`alarm.says.${kind}`, figures);
}

/** What is wrong: in the words of whoever wrote the rule, else in this page's, else in the node's. Also of a rule. */
export const textOf = (alarm) => (alarm.own_text ? alarm.text : says(alarm) || alarm.text);

/** What the node, or another system, says of it in its own words, where `textOf` doesn't. */
export const detailOf = (alarm) => (textOf(alarm) === alarm.text ? "" : (alarm.figures || {}).why || "");

/** What to do about it, in whose words as `textOf`. */
export function todoOf(alarm) {
  if (alarm.own_todo) return alarm.todo;
  const { kind, figures = {}, pipeline, model } = alarm;
  const where = pipeline || model;
  return phrase(`alarm.do.${kind}_${figures.reason}`, { where }) || phrase(`alarm.do.${kind}`, { where }) || alarm.todo;
}

/** How it came to its end. */
export function closedWhy(why) {
  const cause = /^a consequence of (\w+)$/.exec(why);
  return cause ? t("alarm.closed.consequence", { kind: word("alarm.kind", cause[1]) }) : phrase(`alarm.closed.${why.replace(/ /g, "_")}`) || why;
}

/** Over every view, while something critical is there that nobody has seen. */
export function AlarmBanner({ state }) {
  const raised = ((state.alarms && state.alarms.alarms) || []).filter((a) => needsLook(a) && a.severity === "critical");
  if (!raised.length) return null;
  const [first] = raised.sort(worstFirst);
  const more = raised.length - 1;
  return html`<aside class="alarm-banner" role="alert" aria-label=${t("alarms.banner")}>
    <${Icon} name="bad" size=${28} />
    <p><strong dir="auto">${titleOf(first)}</strong> <span dir="auto">${textOf(first)}</span>${more > 0 && html` <span>${t("alarms.and_more", { n: more })}</span>`}</p>
    <a class="button" href="#/alarms">${t("alarms.look")}</a>
  </aside>`;
}
