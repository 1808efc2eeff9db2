// SPDX-License-Identifier: AGPL-3.0-or-later
// One model: what serves, what it would go back to, an update on its way, and what a person can do about it.

import { Badge, Details, Icon, Note, Said, Time, Version, html } from "../ui.js";
import { day, has, number, phrase, seconds, t, word } from "../i18n.js";
import { Actions } from "./actions.js";
import { Gates } from "./gates.js";
import { Pairs } from "./pairs.js";
import { Stages } from "./stages.js";
import { kindOf, sentence, whenOf } from "../records.js";
import { Refusal } from "./refusal.js";
import { nodeNow } from "../store.js";
import { lastKnownGood, modelVerdict, rollbackTarget, waitsForApproval } from "../verdict.js";

const DEFAULT_REASON = "roll-back"; // the node's own, where nobody gave one

/** A row of what the model has: a label, and what it is. */
function Fact({ label, children }) {
  return html`<div class="fact"><dt>${label}</dt><dd>${children}</dd></div>`;
}

function sinceOf(state, name, version) {
  const swap = [...state.swaps].reverse().find((s) => s.model === name && s.to_version === version);
  if (swap) return swap.t;
  const record = (state.history || []).find((r) => r.model === name && r.to_version === version && ["swapped", "rolled_back"].includes(r.result));
  return record ? whenOf(record) : null;
}

/** What serves, large; beneath, what stays ready. */
function Serving({ name, model, state }) {
  const { active, standby } = model;
  const good = lastKnownGood(model);
  const target = rollbackTarget(model);
  const since = active && sinceOf(state, name, active.version);
  return html`<div class="serving">
    <p class="label">${t("model.serves")}</p>
    <p class="serving-version"><${Version} name=${active ? active.version : t("model.none")} />
      ${since && html`<span class="quiet small" title=${day(since)}>${t("model.for", { time: seconds(nodeNow() - since) })}</span>`}</p>
    <dl class="facts">
      ${model.aspired && (!active || model.aspired !== active.version) &&
      html`<${Fact} label=${t("model.aspired")}><${Version} name=${model.aspired} quiet />${model.tag && html` <span class="quiet small">@${model.tag}</span>`}<//>`}
      <${Fact} label=${t("model.goes_back_to")}>${target
        ? html`<${Version} name=${target.version} quiet /> <span class="quiet small">${standby && standby.version === target.version ? t("model.warm") : t("model.cold")}</span>`
        : html`<span class="quiet">${t("model.none_before")}</span>`}<//>
      <${Fact} label=${t("model.last_good")}>${good ? html`<${Version} name=${good.version} quiet />` : html`<span class="quiet">${t("model.none_yet")}</span>`}<//>
    </dl>
  </div>`;
}

/** The roll-out in force: how it stands, and what this node has done in it. */
function RolloutNote({ rollout }) {
  const { version, wave, status, phase, cause, orphaned } = rollout;
  const title = t("model.rollout", { version, wave: (wave || 0) + 1, status: word("rollout.status", status) });
  return html`<${Note} kind=${orphaned ? "warn" : "info"} title=${title}>
    <p>${phrase(`rollout.phase.${phase}`)} ${phrase(`rollout.cause.${cause}`)} ${orphaned && t("alarm.says.rollout_orphaned")}</p>
    <${Said} why=${rollout.why} /><a href="#/fleet">${t("model.to_fleet")}</a><//>`;
}

/** What a person has to know of this model now, the worst first. */
function ModelNotes({ model, state, name }) {
  const { held, active } = model;
  const refused = model.rejected || [];
  const last = refused.length ? (state.history || []).find((r) => r.model === name && r.to_version === refused[0].version && r.result === "rejected") : null;
  return html`
    ${model.failing && html`<${Note} kind="bad" title=${t("model.failing")}>${model.failing}<//>`}
    ${active && active.withdrawn && html`<${Note} kind="warn" title=${t("model.withdrawn", { version: active.version })}>${active.withdrawn}<//>`}
    ${model.candidate ? null : refused.map((r) => html`<${Note} key=${r.digest} kind="warn" title=${t("model.refused", { version: r.version })}>
      <${Refusal} record=${{ result: "rejected", ...last, stage: r.stage, why: r.why }} /><//>`)}
    ${!refused.length && model.last_error && html`<${Note} kind="warn" title=${t("model.last_error")}>${model.last_error}<//>`}
    ${held && html`<${Note} kind="info" title=${t(has(`model.held.${held.kind}`) ? `model.held.${held.kind}` : "model.held", { version: held.version, by: held.by || "–" })}>${held.reason && held.reason !== DEFAULT_REASON && html`<p>${held.reason}</p>`}<p>${t("model.held_until")}</p><//>`}
    ${model.sentinel && model.sentinel.why && html`<${Note} kind="warn" title=${t("model.sentinel")}>${model.sentinel.why}<//>`}
    ${model.rollout && html`<${RolloutNote} rollout=${model.rollout} />`}
    ${model.preload && html`<${Note} kind=${model.preload.ready ? "ok" : "info"} title=${t(model.preload.ready ? "model.preload_ready" : "model.preload", { version: model.preload.version, stage: word("stage", model.preload.stage) })}>${model.preload.why}<//>`}
  `;
}

/** The last update that came to an end: what it cost the line. */
function LastUpdate({ name, state }) {
  const record = (state.history || []).find(
    (r) => r.model === name && ["swapped", "stable", "rolled_back", "rejected"].includes(r.result) && r.event !== "boot",
  );
  if (!record) return null;
  const { facts } = record;
  return html`<div class="last-update">
    <p class="label">${t("model.last_update")}</p>
    <p class="row-tight"><${Icon} name=${kindOf(record)} /> <span>${sentence(record)} <span class="quiet"><${Time} at=${whenOf(record)} /></span></span></p>
    ${facts && facts.frames > 0 && html`<p class="cost">
      <span><strong>${number(facts.lost)}</strong> ${t("model.cost_lost", { of: number(facts.frames + facts.lost, 0) })}</span>
      ${typeof facts.longest_gap_ms === "number" && html`<span><strong>${number(facts.longest_gap_ms, 0)}</strong> ${t("model.cost_gap")}</span>`}
    </p>`}
  </div>`;
}

/** How it runs on this machine, for the engineer. */
function Engine({ active }) {
  const tried = active.tried || [];
  return html`<${Details} title=${t("model.engine")}>
    <dl class="facts">
      <${Fact} label=${t("engine.runs_by")}>${active.engine}<//>
      <${Fact} label=${t("engine.input")}>${(active.input || []).slice().reverse().join(" × ")}<//>
      <${Fact} label=${t("engine.tuning")}>${word("tuning", active.tuning, "–")}<//>
      <${Fact} label=${t("engine.epoch")}>${number(active.epoch)}<//>
      <${Fact} label=${t("engine.digest")}><span class="mono">${String(active.digest || "").slice(0, 19)}…</span><//>
    </dl>
    ${tried.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label=${t("engine.way")}><table class="tried"><thead><tr><th scope="col">${t("engine.way")}</th><th scope="col" class="number">ms</th><th scope="col">${t("engine.why_not")}</th></tr></thead>
      <tbody>${tried.map((trial) => html`<tr><td>${trial.variant}</td><td class="number">${number(trial.ms, 1)}</td><td class="small">${trial.why}</td></tr>`)}</tbody></table></div>`}
  <//>`;
}

/** A candidate on its way, or the watch over what came in last. */
function Update({ model }) {
  const { candidate, probation, active } = model;
  if (!candidate && !probation) return null;
  const version = candidate ? candidate.version : active && active.version;
  const shadow = candidate && candidate.shadow;
  return html`<div class="update" data-stage=${candidate ? candidate.stage : "PROBATION"}>
    <p class="label">${t(candidate ? "update.on_its_way" : "update.watched")}</p>
    <p class="serving-version"><${Version} name=${version} quiet />
      ${candidate && candidate.attempt > 1 && html`<span class="quiet small">${t("update.attempt", { n: candidate.attempt })}</span>`}</p>
    <${Stages} candidate=${candidate} probation=${probation} />
    ${candidate && candidate.error && html`<${Note} kind="warn" title=${t("update.failed")}>${candidate.retry_in_seconds !== null && html`<p>${t("update.retry", { time: seconds(candidate.retry_in_seconds) })}</p>`}<${Said} why=${candidate.error} /><//>`}
    ${candidate && (candidate.gates || []).length > 0 && html`<${Gates} gates=${candidate.gates} />`}
    ${shadow && html`<${Pairs} watch=${shadow} version=${version} />`}
    ${!candidate && probation && html`<${Pairs} watch=${probation} version=${version} />`}
  </div>`;
}

export function Model({ name, model, lines, state }) {
  const verdict = modelVerdict(model);
  const urgent = verdict.kind === "bad" || waitsForApproval(model); // on a narrow screen it comes first then
  return html`<aside class=${`card model ${urgent ? "urgent" : ""}`} aria-label=${t("model.label", { model: name })}>
    <header class="card-head"><h2 dir="auto"><span class="quiet">${t("model.word")}</span> ${name}</h2><${Badge} kind=${verdict.kind}>${verdict.text}<//></header>
    <${Serving} name=${name} model=${model} state=${state} />
    <div class="notes"><${ModelNotes} model=${model} state=${state} name=${name} /></div>
    <${Update} model=${model} />
    <${Actions} name=${name} model=${model} lines=${lines} state=${state} />
    ${!model.candidate && html`<${LastUpdate} name=${name} state=${state} />`}
    <div class="more">
      <a class="details-link" href=${`#/pictures/${encodeURIComponent(name)}`}><${Icon} name="photo" /><span>${t("model.pictures")}</span></a>
      ${model.active && (model.active.gates || []).length > 0 && html`<${Details} title=${t("model.passed", { n: model.active.gates.length })}><${Gates} gates=${model.active.gates} /><//>`}
      ${model.active && html`<${Engine} active=${model.active} />`}
      ${model.rebuild && html`<${Details} title=${t("model.rebuild", { stage: word("stage", model.rebuild.stage) })}><${Stages} candidate=${model.rebuild} /><//>`}
    </div>
  </aside>`;
}
