// SPDX-License-Identifier: AGPL-3.0-or-later
// The fleet: each roll-out with its waves, what every node serves, and which nodes are silent.

import { fixed, number, percent, phrase, t, word } from "../i18n.js";
import { Badge, Card, Details, Failure, Field, Icon, Note, Said, Time, Version, html, useState } from "../ui.js";
import { usePolled } from "./polled.js";

const POLL_MS = 5000;
const SHOWN = 200;
const STATUS_KIND = { planned: "wait", rolling: "busy", baking: "busy", paused: "warn", aborting: "bad", aborted: "bad", done: "ok", superseded: "off" };
const STATE_KIND = { STABLE: "ok", PROBATION: "busy", REJECTED: "warn", ASPIRED: "wait" };

/** How much of something is done, in words beside a bar. parts: [{kind, n, label}] of `of`. */
function Bar({ parts, of, label }) {
  let from = 0;
  const shown = parts.filter((part) => part.n > 0);
  return html`<div class="bar-box">
    <svg class="bar" viewBox="0 0 1000 24" preserveAspectRatio="none" role="img" aria-label=${label}>
      <rect class="bar-ground" x="0" y="0" width="1000" height="24" />
      ${shown.map((part) => {
        const width = of > 0 ? (1000 * Math.min(part.n, of - from)) / of : 0;
        const x = of > 0 ? (1000 * from) / of : 0;
        from += part.n;
        return html`<rect class=${`bar-part is-${part.kind}`} x=${x} y="0" width=${Math.max(0, width)} height="24" />`;
      })}
    </svg>
    <p class="bar-key">${shown.map((part) => html`<span><${Icon} name=${part.kind} size=${18} />${part.label}</span>`)}</p>
  </div>`;
}

/** Waves one under the other: as wide as their share of the fleet, filled as they open. */
function Waves({ progress }) {
  const of = Math.max(1, progress.fleet, ...progress.waves.map((wave) => wave.nodes));
  return html`<ol class="waves">${progress.waves.map((wave, i) => {
    const before = i ? progress.waves[i - 1].nodes : 0;
    const current = wave.is_open && (i + 1 === progress.waves.length || !progress.waves[i + 1].is_open);
    const label = t("fleet.wave_label", { number: i + 1, nodes: wave.nodes, of: progress.fleet });
    return html`<li class=${`wave ${wave.is_open ? "is-open" : ""}`} aria-current=${current ? "step" : undefined}>
      <span class="wave-name"><${Icon} name=${wave.is_open ? (current ? "busy" : "ok") : "wait"} size=${20} />
        ${t("fleet.wave", { number: i + 1, share: word("fleet.wave_of", wave.wave) })}</span>
      <svg class="bar" viewBox="0 0 1000 24" preserveAspectRatio="none" role="img" aria-label=${label}>
        <rect class="bar-ground" x="0" y="0" width="1000" height="24" />
        <rect class=${`bar-part ${wave.is_open ? "is-ok" : "is-wait"}`} x="0" y="0" width=${(1000 * wave.nodes) / of} height="24" />
        ${wave.nodes > before && html`<rect class=${`bar-new ${wave.is_open ? "is-ok" : "is-wait"}`} x=${(1000 * before) / of} y="0" width=${(1000 * (wave.nodes - before)) / of} height="24" />`}
      </svg>
      <span class="wave-count">${t("fleet.nodes", { n: wave.nodes })}</span>
    </li>`;
  })}</ol>`;
}

function Reasons({ title, kind, reasons }) {
  const entries = Object.entries(reasons || {});
  if (!entries.length) return null;
  return html`<${Note} kind=${kind} title=${`${title}: ${number(entries.length)}`}>
    <ul class="plain">${entries.slice(0, SHOWN).map(([node, why]) => html`<li><strong dir="auto">${node}</strong> ${why && html`<span dir="auto">${why}</span>`}</li>`)}</ul>
  <//>`;
}

function Names({ title, kind, names }) {
  if (!names || !names.length) return null;
  return html`<${Note} kind=${kind} title=${`${title}: ${number(names.length)}`}><p dir="auto">${names.slice(0, SHOWN).join(", ")}</p><//>`;
}

const ENDED = ["done", "aborted", "superseded"];

/** How far it is, in a sentence. */
function summaryOf({ rollout, waves, nodes, stable, serving }) {
  const params = { number: rollout.wave + 1, of: waves.length, stable, nodes, serving };
  const ended = ENDED.includes(rollout.status);
  if (rollout.wave < 0) return t(ended ? "fleet.never_begun" : "fleet.not_begun", params);
  if (ended) return t("fleet.ended", params);
  return t(rollout.status === "aborting" ? "fleet.going_back" : "fleet.under_way", params);
}

/** What else is to be known of it; that nobody leads stands above all of them. */
function notesOf({ rollout, overtaken }) {
  const found = { "fleet.overtaken": overtaken, "fleet.paused": rollout.status === "paused", "fleet.advances": rollout.advance };
  return Object.keys(found).filter((key) => found[key]).map((key) => t(key));
}

function Rollout({ progress }) {
  const plan = progress.rollout || {};
  const parts = [
    { kind: "ok", n: progress.stable, label: t("fleet.stable", { n: progress.stable }) },
    { kind: "busy", n: Math.max(0, progress.serving - progress.stable), label: t("fleet.on_probation", { n: Math.max(0, progress.serving - progress.stable) }) },
    { kind: "bad", n: Object.keys(progress.failed).length, label: t("fleet.failed_n", { n: Object.keys(progress.failed).length }) },
    { kind: "warn", n: Object.keys(progress.refused).length, label: t("fleet.refused_n", { n: Object.keys(progress.refused).length }) },
  ];
  const status = plan.status || "";
  const title = html`<span dir="auto">${progress.model}</span>: <${Version} name=${plan.from} quiet /> → <${Version} name=${plan.version} />`;
  return html`<${Card} id=${`rollout-${progress.model}`} title=${title} aside=${html`<${Badge} kind=${STATUS_KIND[status] || "info"}>${word("rollout.status", status, "–")}<//>`}>
    <p class="lead">${summaryOf(progress)}</p>
    ${plan.cause && html`<p>${phrase(`rollout.cause.${plan.cause}`)}</p>`}
    <${Said} why=${plan.why} />
    ${plan.reason && html`<p class="quiet" dir="auto">${t("fleet.because", { reason: plan.reason, by: plan.by || "–" })}</p>`}
    ${notesOf(progress).map((note) => html`<${Note} kind="warn" title=${note} />`)}
    <${Bar} parts=${parts} of=${Math.max(progress.nodes, 1)} label=${t("fleet.progress", { stable: progress.stable, of: progress.nodes })} />
    <${Waves} progress=${progress} />
    <${Reasons} title=${t("fleet.failed")} kind="bad" reasons=${progress.failed} />
    <${Reasons} title=${t("fleet.refused")} kind="warn" reasons=${progress.refused} />
    <${Names} title=${t("fleet.away")} kind="warn" names=${progress.away} />
    <${Names} title=${t("fleet.pending")} kind="info" names=${progress.pending} />
    <${Reasons} title=${t("fleet.excused")} kind="info" reasons=${progress.excused} />
    ${progress.evidence > 0 && html`<p class="quiet">${t("fleet.evidence", { n: fixed(progress.evidence, 1) })}</p>`}
  <//>`;
}

/** Of one model: how many nodes serve which version. */
function Served({ model, rows }) {
  const counts = {};
  rows.filter((row) => row.present).forEach((row) => (counts[row.version || ""] = (counts[row.version || ""] || 0) + 1));
  const silent = rows.filter((row) => !row.present).length;
  const sorted = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  return html`<li><strong dir="auto">${model}</strong>
    ${sorted.map(([version, n]) => html`<span class="served">${version ? html`<${Version} name=${version} />` : t("fleet.nothing")} ${t("fleet.on_nodes", { n })}</span>`)}
    ${silent > 0 && html`<${Badge} kind="bad">${t("fleet.silent_n", { n: silent })}<//>`}</li>`;
}

function remarks(row) {
  const found = [];
  if (row.conflict) found.push(t("fleet.conflict"));
  if (row.held) found.push(t("fleet.held", { held: row.held }));
  if (row.why) found.push(row.why);
  if (row.preload_refused) found.push(t("fleet.cant_prepare", { why: row.preload_refused }));
  if (!row.reports) found.push(t("fleet.no_report"));
  return found.join("; ");
}

function NodeRow({ row }) {
  const kind = row.present ? STATE_KIND[row.state] || "busy" : "bad";
  return html`<tr class=${row.present ? "" : "is-silent"}>
    <th scope="row" dir="auto">${row.node}</th>
    <td data-label=${t("fleet.col_model")} dir="auto">${row.model}</td>
    <td data-label=${t("fleet.col_version")}><${Version} name=${row.version} /></td>
    <td data-label=${t("fleet.col_state")}><${Badge} kind=${kind}>${row.present ? word("model.state", row.state, "–") : t("fleet.silent")}<//></td>
    <td data-label=${t("fleet.col_since")}>${row.since ? html`<${Time} at=${row.since} />` : "–"}</td>
    <td data-label=${t("fleet.col_p95")}>${row.latency_ms ? `${fixed(row.latency_ms, 1)} ms` : "–"}</td>
    <td data-label=${t("fleet.col_golden")}>${row.golden >= 0 ? percent(row.golden) : "–"}</td>
    <td data-label=${t("fleet.col_remarks")} dir="auto">${remarks(row) || "–"}</td>
  </tr>`;
}

function Nodes({ answer }) {
  const [wanted, setWanted] = useState("");
  const needle = wanted.trim().toLowerCase();
  const hit = (row) => [row.node, row.model, row.version, ...Object.values(row.labels || {})].some((text) => String(text).toLowerCase().includes(needle));
  const rows = answer.nodes.filter((row) => !needle || hit(row)).sort((a, b) => Number(a.present) - Number(b.present) || (a.node < b.node ? -1 : 1));
  const models = [...new Set(answer.nodes.map((row) => row.model))].sort();
  return html`<${Card} id="fleet-nodes" title=${t("fleet.nodes_title")}>
    <ul class="served-list">${models.map((model) => html`<${Served} key=${model} model=${model} rows=${answer.nodes.filter((row) => row.model === model)} />`)}</ul>
    <${Field} label=${t("fleet.find")} value=${wanted} onInput=${setWanted} type="search" />
    <div class="scroll" tabindex="0" role="region" aria-labelledby="fleet-nodes">
      <table class="nodes"><thead><tr>
        ${["node", "model", "version", "state", "since", "p95", "golden", "remarks"].map((name) => html`<th scope="col">${t(`fleet.col_${name}`)}</th>`)}
      </tr></thead><tbody>${rows.slice(0, SHOWN).map((row) => html`<${NodeRow} key=${`${row.node} ${row.model}`} row=${row} />`)}</tbody></table>
    </div>
    ${rows.length > SHOWN && html`<p class="quiet">${t("fleet.more", { n: rows.length - SHOWN })}</p>`}
    ${answer.idle && answer.idle.length > 0 && html`<p class="quiet">${t("fleet.idle")}: <span dir="auto">${answer.idle.slice(0, SHOWN).join(", ")}</span></p>`}
  <//>`;
}

function Leader({ answer }) {
  const ended = answer.rollouts.every((r) => ENDED.includes((r.rollout || {}).status));
  if (answer.leader) {
    return html`<p class="lead">${answer.coordinating ? t("fleet.we_lead") : t("fleet.leader", { name: answer.leader })}</p>`;
  }
  return html`<${Note} kind=${ended ? "info" : "warn"} title=${t("fleet.no_leader")}>${t("fleet.no_leader_todo")}<//>`;
}

/** The view. */
export default function Fleet() {
  const [answer, error] = usePolled("api/fleet", POLL_MS);
  if (!answer) {
    if (error && error.status === 404) {
      return html`<div class="view"><${Card} id="fleet" title=${t("fleet.title")}><${Note} kind="info" title=${t("fleet.none")}>${error.why} ${error.todo}<//><//></div>`;
    }
    return html`<div class="view">${error ? html`<${Failure} error=${error} />` : html`<p class="quiet pad">${t("app.loading")}</p>`}</div>`;
  }
  const broken = Object.entries(answer.broken || {});
  return html`<div class="view">
    ${error && html`<${Failure} error=${error} />`}
    <${Card} id="fleet" title=${t("fleet.rollouts")}>
      <${Leader} answer=${answer} />
      ${answer.rollouts.length === 0 && html`<p class="quiet">${t("fleet.no_rollouts")}</p>`}
      ${broken.map(([model, why]) => html`<${Note} kind="bad" title=${t("fleet.broken", { model })}>${why}<//>`)}
      <${Details} title=${t("fleet.how")}><p>${t("fleet.how_text")}</p><//>
    <//>
    ${answer.rollouts.map((progress) => html`<${Rollout} key=${progress.model} progress=${progress} />`)}
    <${Nodes} answer=${answer} />
  </div>`;
}
