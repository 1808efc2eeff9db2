// SPDX-License-Identifier: AGPL-3.0-or-later
// What happened, newest first: each in one sentence, what to do about a refusal, and the receipt on demand.

import { Boundary, Button, Details, Failure, Icon, Note, html, useState } from "../ui.js";
import { get } from "../api.js";
import { bytes, clock, currentLanguage, number, seconds, t, word } from "../i18n.js";
import { Gates } from "./gates.js";
import { Pairs } from "./pairs.js";
import { Refusal } from "./refusal.js";
import { isRefusal, kindOf, sentence, whenOf } from "../records.js";

const FILTERS = { all: () => true, refusals: isRefusal, swaps: (r) => ["swapped", "rolled_back", "stable"].includes(r.result) };
const PAGE = 40;

/** `Sunday, 29 November` */
function dayOf(record) {
  const at = whenOf(record);
  if (at === null) return "";
  return new Date(at * 1000).toLocaleDateString(currentLanguage(), { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

function Facts({ facts }) {
  const dropped = Object.entries(facts.dropped || {}).filter(([, n]) => n > 0);
  return html`
    <dt>${t("receipt.frames")}</dt><dd>${number(facts.frames)}</dd>
    <dt>${t("receipt.lost")}</dt><dd>${number(facts.lost)}${dropped.length > 0 && ` (${dropped.map(([reason, n]) => `${word("drop", reason)} ${number(n)}`).join(", ")})`}</dd>
    ${typeof facts.longest_gap_ms === "number" && html`<dt>${t("receipt.gap")}</dt><dd>${number(facts.longest_gap_ms, 0)} ms</dd>`}
    <dt>${t("receipt.took")}</dt><dd>${seconds(facts.seconds)}</dd>
    ${facts.memory_after > 0 && html`<dt>${t("receipt.memory")}</dt><dd>${bytes(facts.memory_before)} → ${bytes(facts.memory_after)}</dd>`}
  `;
}

/** All that the record has, for the engineer. */
function Receipt({ record }) {
  const stages = Object.entries(record.stages || {});
  const texts = [
    ["receipt.event", `${record.event} · ${record.result}`],
    ["receipt.source", record.source_url],
    ["receipt.digest", record.digest],
    ["receipt.moment", record.moment],
    ["receipt.epoch", record.epoch ? number(record.epoch) : ""],
    ["receipt.seq", record.seq ? number(record.seq) : ""],
    ["receipt.hash", record.hash],
  ].filter(([, text]) => text);
  return html`<dl class="receipt">
      ${texts.map(([key, text]) => html`<dt>${t(key)}</dt><dd class="mono">${text}</dd>`)}
      ${record.facts && html`<${Facts} facts=${record.facts} />`}
      ${stages.length > 0 && html`<dt>${t("receipt.stages")}</dt><dd>${stages.map(([stage, s]) => `${word("stage", stage.toUpperCase())} ${seconds(s)}`).join(" · ")}</dd>`}
    </dl>
    ${Object.entries(record.watches || {}).map(([watch, pairs]) => pairs && html`<h4>${word("stage", watch.toUpperCase())}</h4><${Pairs} watch=${{ pairs, against: record.from_version }} version=${record.to_version} />`)}
    ${(record.gates || []).length > 0 && html`<h4>${t("receipt.gates")}</h4><${Gates} gates=${record.gates} />`}`;
}

function Entry({ record }) {
  const at = whenOf(record);
  return html`<li data-result=${record.result} data-event=${record.event}>
    <time datetime=${record.when}>${at === null ? record.when : clock(at)}</time>
    <div><p class="record-head"><${Icon} name=${kindOf(record)} /> <span>${sentence(record)}${record.count > 1 && html` <span class="quiet small">${t("history.times", { n: record.count })}</span>`}</span></p>
      <div class="record-body">
        <${Refusal} record=${record} />
        ${record.who && html`<p class="quiet small">${t("history.by", { who: record.who })}</p>`}
        <${Details} title=${t("history.receipt")}><${Boundary} name=${t("history.receipt")}><${Receipt} record=${record} /><//><//>
      </div></div>
  </li>`;
}

/** Whether the records are those that were written. */
function Check() {
  const [found, setFound] = useState(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  async function check() {
    setBusy(true);
    setError(null);
    try {
      setFound(await get("api/history/check"));
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  }
  const logs = found ? Object.entries(found.logs || {}) : [];
  const records = logs.reduce((sum, [, log]) => sum + (log.records || 0), 0);
  const broken = logs.filter(([, log]) => log.broken);
  return html`<div class="check"><${Button} icon="yes" busy=${busy} onClick=${check}>${t("history.check")}<//>
    <div role="status">${found && (found.intact
      ? html`<${Note} kind="ok" title=${t("history.intact", { n: records })} />`
      : html`<${Note} kind="bad" title=${t("history.broken")}>${broken.map(([file, log]) => html`<p>${file}: ${log.broken.why}</p>`)}<p>${t("history.broken_todo")}</p><//>`)}</div>
    <${Failure} error=${error} /></div>`;
}

export default function History({ state }) {
  const [filter, setFilter] = useState("all");
  const [most, setMost] = useState(PAGE);
  const all = state.history;
  if (!all) return html`<p class="empty">${t("app.loading")}</p>`;
  const wanted = all.filter(FILTERS[filter]);
  const shown = wanted.slice(0, most);
  let day = null;
  return html`<section class="card" aria-labelledby="history-title">
    <header class="card-head"><h2 id="history-title">${t("nav.history")}</h2><${Check} /></header>
    <div class="filters" role="group" aria-label=${t("history.filter")}>
      ${Object.keys(FILTERS).map((name) => html`<button type="button" class="button" aria-pressed=${String(filter === name)} onClick=${() => (setFilter(name), setMost(PAGE))}>
        <span>${t(`history.filter.${name}`)} <span class="quiet">${number(all.filter(FILTERS[name]).length)}</span></span></button>`)}
    </div>
    ${!shown.length && html`<p class="empty">${t("history.none")}</p>`}
    <ol class="records">
      ${shown.map((record) => {
        const its = dayOf(record);
        const head = its !== day ? ((day = its), html`<li class="day-item"><h3 class="day">${its}</h3></li>`) : null;
        return html`${head}<${Entry} key=${record.hash || `${record.when}${record.event}${record.to_version}`} record=${record} />`;
      })}
    </ol>
    ${wanted.length > most && html`<p class="pad"><${Button} icon="more" onClick=${() => setMost(most + PAGE)}>${t("history.more")}<//></p>`}
  </section>`;
}
