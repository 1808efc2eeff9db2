// SPDX-License-Identifier: AGPL-3.0-or-later
// What an alarm is called, and which one comes first; and the banner over every view while something critical is
// there that nobody has said he saw.

import { has, t } from "./i18n.js";
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

/** Over every view, while something critical is there that nobody has seen. */
export function AlarmBanner({ state }) {
  const raised = ((state.alarms && state.alarms.alarms) || []).filter((a) => needsLook(a) && a.severity === "critical");
  if (!raised.length) return null;
  const [first] = raised.sort(worstFirst);
  const more = raised.length - 1;
  return html`<aside class="alarm-banner" role="alert" aria-label=${t("alarms.banner")}>
    <${Icon} name="bad" size=${28} />
    <p><strong dir="auto">${titleOf(first)}</strong> <span dir="auto">${first.text}</span>${more > 0 && html` <span>${t("alarms.and_more", { n: more })}</span>`}</p>
    <a class="button" href="#/alarms">${t("alarms.look")}</a>
  </aside>`;
}
