// SPDX-License-Identifier: AGPL-3.0-or-later
// Alarms: what is wrong, since when, what to do; acknowledged, put aside for a while, or over.

import { closedWhy, detailOf, textOf, titleOf, todoOf, worstFirst } from "../alarm_words.js";
import { path, placed, post } from "../api.js";
import { kept, number, seconds, t, word } from "../i18n.js";
import { rereadAlarms } from "../store.js";
import { Badge, Button, Card, Confirm, Details, Dialog, Failure, Field, Icon, Note, Said, Time, html, useState } from "../ui.js";

const KIND_OF = { info: "info", warning: "warn", critical: "bad" };
const SHELVE_MINUTES = [15, 60, 480, 1440];
const OVER_MOST = 50;
const NAME = "edgeagent.by";

function Evidence({ alarm }) {
  const [open, setOpen] = useState(false);
  if (!alarm.picture && !alarm.clip) return null;
  const title = titleOf(alarm);
  return html`<div class="alarm-evidence">
    ${alarm.picture &&
    html`<button type="button" class="thumb" aria-label=${t("alarm.show_picture", { title })} onClick=${() => setOpen(true)}>
      <img src=${placed(alarm.picture)} alt="" loading="lazy" />
      ${alarm.clip && html`<span class="thumb-mark"><${Icon} name="play" /></span>`}
    </button>`}
    ${!alarm.picture && html`<${Button} icon="play" onClick=${() => setOpen(true)}>${t("alarm.show_clip")}</${Button}>`}
    ${open &&
    html`<${Dialog} title=${title} wide onClose=${() => setOpen(false)}>
      ${alarm.clip
        ? html`<video class="alarm-media" controls muted playsinline preload="metadata" src=${placed(alarm.clip)}
            poster=${alarm.picture ? placed(alarm.picture) : undefined}></video>
            <p><a href=${placed(alarm.clip)} download>${t("alarm.save_clip")}</a></p>`
        : html`<img class="alarm-media" src=${placed(alarm.picture)} alt=${t("alarm.picture_of", { title })} />`}
      <p class="quiet">${t("alarm.clip_hint")}</p>
    </${Dialog}>`}
  </div>`;
}

function Shelve({ alarm, onClose }) {
  const [minutes, setMinutes] = useState(60);
  const [reason, setReason] = useState("");
  const act = async ({ by }) => {
    await post(path("api/alarms", alarm.id, "shelve"), { by, minutes, reason: reason.trim() });
    await rereadAlarms();
  };
  return html`<${Confirm} title=${t("alarm.shelve_title", { title: titleOf(alarm) })} what=${t("alarm.shelve_what")}
    verb=${t("alarm.shelve")} icon="wait" reason=${reason.trim() ? "" : t("alarm.shelve_needs_reason")} act=${act} onClose=${onClose}>
    <fieldset class="choices"><legend>${t("alarm.shelve_for")}</legend>
      ${SHELVE_MINUTES.map(
        (m) => html`<label class="choice"><input type="radio" name="minutes" checked=${m === minutes} onChange=${() => setMinutes(m)} />
          <span>${t(`alarm.shelve_${m}`)}</span></label>`,
      )}
    </fieldset>
    <${Field} label=${t("alarm.reason")} hint=${t("alarm.shelve_reason_hint")} value=${reason} onInput=${setReason} maxlength="500" />
  </${Confirm}>`;
}

function Actions({ alarm }) {
  const [asking, setAsking] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const close = () => setAsking("");
  const doing = (what, body) => async ({ by }) => {
    await post(path("api/alarms", alarm.id, what), { by, ...body });
    await rereadAlarms();
  };
  async function acknowledge() {
    const by = (kept(NAME) || "").trim();
    if (!by) return setAsking("ack");
    setBusy(true);
    setError(null);
    try {
      await doing("ack")({ by });
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  }
  const name = (kept(NAME) || "").trim();
  return html`<div class="alarm-actions">
    ${alarm.state === "raised" &&
    html`<${Button} kind="primary" icon="yes" busy=${busy} onClick=${acknowledge}>${name ? t("alarm.ack_as", { name }) : t("alarm.ack")}</${Button}>`}
    ${(alarm.state === "raised" || alarm.state === "acknowledged") &&
    html`<${Button} icon="wait" onClick=${() => setAsking("shelve")}>${t("alarm.shelve_button")}</${Button}>`}
    ${alarm.state === "shelved" &&
    html`<${Button} icon="back" onClick=${() => setAsking("unshelve")}>${t("alarm.unshelve")}</${Button}>`}
    <${Failure} error=${error} />
    ${asking === "shelve" && html`<${Shelve} alarm=${alarm} onClose=${close} />`}
    ${asking === "ack" &&
    html`<${Confirm} title=${t("alarm.ack")} what=${t("alarm.ack_what")} verb=${t("alarm.ack")} icon="yes" act=${doing("ack")} onClose=${close} />`}
    ${asking === "unshelve" &&
    html`<${Confirm} title=${t("alarm.unshelve")} what=${t("alarm.unshelve_what")} verb=${t("alarm.unshelve")} icon="back" act=${doing("unshelve")} onClose=${close} />`}
  </div>`;
}

/** Who did what to it, and when. */
function Trail({ alarm }) {
  const parts = [html`<span>${t("alarm.since")} <${Time} at=${alarm.raised_at} /></span>`];
  if (alarm.count > 1) parts.push(html`<span>${t("alarm.times", { n: alarm.count })}</span>`);
  if (alarm.state === "raised" && !alarm.active) parts.push(html`<span>${t("alarm.gone_unseen")}</span>`);
  if (alarm.acknowledged_by !== null && alarm.acknowledged_at !== null) {
    parts.push(html`<span>${t("alarm.seen_by", { name: alarm.acknowledged_by || t("alarm.somebody") })} <${Time} at=${alarm.acknowledged_at} /></span>`);
  }
  if (alarm.state === "shelved") {
    parts.push(html`<span>${t("alarm.shelved_by", { name: alarm.shelved_by || t("alarm.somebody") })} <${Time} at=${alarm.shelved_until} plain /></span>`);
  }
  if (alarm.state === "shelved" && alarm.shelved_reason) parts.push(html`<span dir="auto">${alarm.shelved_reason}</span>`);
  if (alarm.state === "cleared" && alarm.closed_why && alarm.closed_why !== "cleared") parts.push(html`<span dir="auto">${closedWhy(alarm.closed_why)}</span>`);
  if (alarm.cleared_at) parts.push(html`<span>${t("alarm.over_since")} <${Time} at=${alarm.cleared_at} /></span>`);
  return html`<p class="trail">${parts}</p>`;
}

/** Words of the node's among the figures, by where this page's are. */
const WORDS = { reason: "drop", stage: "stage", state: "pipeline.state" };

/** Those that can be shown as a row: a reason in words stands with the alarm. */
const rowsOf = (alarm) => Object.entries(alarm.figures || {}).filter(([name, value]) => name !== "why" && value !== "");

function shown(name, value) {
  if (typeof value === "number") return number(value, 3);
  if (name === "frames") return value.replace(" of ", " / "); // on which it was seen, of how many
  return WORDS[name] ? word(WORDS[name], value) : value;
}

function Figures({ rows }) {
  return html`<dl class="pairs-list">${rows.map(
    ([name, value]) => html`<div><dt>${word("alarm.figure", name)}</dt><dd>${shown(name, value)}</dd></div>`,
  )}</dl>`;
}

function Alarm({ alarm }) {
  const kind = alarm.state === "cleared" ? "off" : KIND_OF[alarm.severity] || "info";
  const [rows, todo] = [rowsOf(alarm), todoOf(alarm)];
  return html`<li class=${`alarm is-${kind}`} data-alarm=${alarm.id} data-state=${alarm.state}>
    <div class="alarm-main">
      <header><${Badge} kind=${kind}>${word("alarm.severity", alarm.severity)}</${Badge}>
        <h3 dir="auto">${titleOf(alarm)}</h3></header>
      <p class="alarm-text" dir="auto">${textOf(alarm)}</p>
      <${Said} why=${detailOf(alarm)} />
      ${todo && html`<p class="alarm-todo"><strong>${t("alarm.todo")}</strong> <span dir="auto">${todo}</span></p>`}
      <${Trail} alarm=${alarm} />
      ${rows.length > 0 && html`<${Details} title=${t("alarm.figures")}><${Figures} rows=${rows} /></${Details}>`}
      <${Actions} alarm=${alarm} />
    </div>
    <${Evidence} alarm=${alarm} />
  </li>`;
}

function Group({ title, alarms, id }) {
  if (!alarms.length) return null;
  return html`<${Card} id=${id} title=${`${title} (${alarms.length})`}>
    <ul class="alarm-list">${alarms.map((alarm) => html`<${Alarm} key=${alarm.id} alarm=${alarm} />`)}</ul>
  </${Card}>`;
}

/** What it is about: of one of the system its name says that. */
function aboutRule({ figures = {}, ...rule }) {
  const { at_least: frames, of, corners, seconds: after } = figures;
  if (!rule.pipeline) return after ? t("alarms.after", { time: seconds(after) }) : "";
  if (rule.own_text) return rule.text;
  return [textOf({ figures, ...rule }), of && t("rule.frames", { frames, of }), corners && t("rule.in_region")].filter(Boolean).join(" ");
}

function Rules({ rules }) {
  if (!rules.length) return html`<p class="quiet">${t("alarms.no_rules")}</p>`;
  return html`<ul class="rule-list">${rules.map(
    (rule) => html`<li>
      <${Badge} kind=${rule.error ? "warn" : KIND_OF[rule.severity] || "info"}>${word("alarm.severity", rule.severity)}</${Badge}>
      <div><strong dir="auto">${rule.pipeline ? `${rule.pipeline} · ${rule.name}` : word("alarm.kind", rule.kind)}</strong>
        <p dir="auto">${aboutRule(rule)}</p>
        ${rule.error && html`<${Note} kind="warn" title=${t("alarms.rule_fault")}>${rule.error}</${Note}>`}</div>
    </li>`,
  )}</ul>`;
}

/** The view. */
export default function Alarms({ state }) {
  const known = state.alarms;
  if (!known) {
    return html`<${Card} id="alarms" title=${t("alarms.title")}><${Note} kind="info" title=${t("alarms.none_known")} /></${Card}>`;
  }
  const alarms = [...known.alarms].sort(worstFirst);
  const of = (...states) => alarms.filter((alarm) => states.includes(alarm.state));
  const over = of("cleared").sort((a, b) => b.cleared_at - a.cleared_at);
  const open = alarms.length - over.length;
  const faults = known.rules.filter((rule) => rule.error).length;
  return html`<div class="view">
    ${open === 0 && html`<${Card} id="alarms" title=${t("alarms.title")}><${Note} kind="ok" title=${t("alarms.quiet")} /></${Card}>`}
    <${Group} id="alarms-raised" title=${t("alarms.raised")} alarms=${of("raised")} />
    <${Group} id="alarms-acknowledged" title=${t("alarms.acknowledged")} alarms=${of("acknowledged")} />
    <${Group} id="alarms-shelved" title=${t("alarms.shelved")} alarms=${of("shelved")} />
    <${Group} id="alarms-over" title=${t("alarms.over")} alarms=${over.slice(0, OVER_MOST)} />
    <${Card} id="alarm-rules" title=${t("alarms.rules")}>
      <${Details} title=${faults ? t("alarms.rules_faulty", { n: faults }) : t("alarms.rules_count", { n: known.rules.length })} open=${faults > 0}>
        <${Rules} rules=${known.rules} />
      </${Details}>
      <p class="quiet">${t("alarms.where_rules")} <a href="#/cameras">${t("nav.cameras")}</a></p>
    </${Card}>
  </div>`;
}
