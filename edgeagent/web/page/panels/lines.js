// SPDX-License-Identifier: AGPL-3.0-or-later
// The first thing that is seen: each line with its picture, its figures and the version that serves, and beside the
// lines of a model that model.

import { Badge, Boundary, Figure, Icon, Note, Said, Version, html, useMemo } from "../ui.js";
import { Chart } from "../charts.js";
import { Picture } from "../picture.js";
import { fixed, number, phrase, t, word } from "../i18n.js";
import { Model } from "./model.js";
import { hasPicture, pipelineVerdict } from "../verdict.js";

const MINUTE_S = 60;
const EMPTY = { t: [], fps: [], p50_ms: [], p95_ms: [], dropped: [] };

const sum = (values) => values.reduce((total, value) => total + (value || 0), 0);

/** Frames that were lost in the last minute; null where that isn't known. */
function lostLately(series) {
  const last = series.t[series.t.length - 1];
  const from = series.t.findIndex((at) => at > last - MINUTE_S);
  return from < 0 ? null : sum(series.dropped.slice(from));
}

function Tile({ children, chart }) {
  return html`<div class="tile"><dl>${children}</dl>${chart}</div>`;
}

/** Frames a second, latency and drops, each with its last minutes. */
function Figures({ pipeline, now, series, swaps, why }) {
  const s = series || EMPTY;
  const lost = lostLately(s);
  const fps = now && typeof now.fps === "number" ? now.fps : pipeline.fps;
  const p50 = now && typeof now.p50_ms === "number" ? now.p50_ms : (pipeline.latency_ms || {}).p50;
  const p95 = now && now.p95_ms;
  const charts = s.t.length > 1;
  return html`<div class="tiles">
    <${Tile} chart=${charts && html`<${Chart} label=${t("line.fps_long")} times=${s.t} swaps=${swaps} lines=${[{ values: s.fps }]} />`}>
      <${Figure} label=${t("line.fps")} value=${fixed(fps, 1)} hint=${pipeline.width ? `${pipeline.width} × ${pipeline.height}` : null} />
    <//>
    <${Tile} chart=${charts && html`<${Chart} label=${t("line.latency_long")} times=${s.t} swaps=${swaps} lines=${[{ values: s.p50_ms }, { values: s.p95_ms, dashed: true }]} />`}>
      <${Figure} label=${t("line.latency")} value=${fixed(p50, p50 >= 100 ? 0 : 1)} unit="ms" hint=${typeof p95 === "number" ? t("line.p95", { ms: number(p95, 0) }) : null} />
    <//>
    <${Tile} chart=${charts && html`<${Chart} label=${t("line.lost_long")} times=${s.t} swaps=${swaps} lines=${[{ values: s.dropped, bars: true }]} />`}>
      <${Figure} label=${t("line.lost")} kind=${lost ? "warn" : ""} value=${number(lost === null ? pipeline.dropped : lost)}
        hint=${lost ? why && why.length ? t("line.lost_lately", { why: why.map((reason) => word("drop", reason)).join(", ") }) : t("line.lost_minute") : pipeline.dropped ? t("line.lost_since", { n: pipeline.dropped }) : t("line.none_since")} />
    <//>
  </div>`;
}

/** What lies over a picture that isn't live, or null. */
function overPicture(pipeline, state, verdict) {
  if (state.link === "lost") return t("picture.old");
  if (hasPicture(pipeline)) return null;
  return verdict.text;
}

function Line({ name, pipeline, model, state, single }) {
  const verdict = pipelineVerdict(pipeline, model);
  const now = state.figures[name];
  const version = (now && now.version) || (model && model.active && model.active.version);
  const series = state.series.pipelines[name];
  const swaps = useMemo(() => state.swaps.filter((swap) => swap.model === pipeline.model), [state.swaps, pipeline.model]);
  const troubled = Object.entries((pipeline.sinks && pipeline.sinks.errors) || {});
  const generation = `${state.restarts}/${state.link === "lost"}/${hasPicture(pipeline)}`;
  return html`<article class=${`card line ${single ? "single" : "many"}`} aria-label=${t("line.label", { name })}>
    <header class="card-head"><h2 dir="auto">${name}</h2>
      <div class="row"><${Badge} kind=${verdict.kind}>${verdict.text}<//>
        <span class="serves">${t("line.serves")} <${Version} name=${version} /></span></div>
    </header>
    <div class="line-body">
      <${Picture} name=${name} width=${single ? 960 : 640} over=${overPicture(pipeline, state, verdict)} overKind=${state.link === "lost" ? "wait" : verdict.kind}
        generation=${generation} label=${t("picture.label", { name, version: version || "–" })} />
      <${Boundary} name=${t("line.figures")} again=${state.status}><${Figures} pipeline=${pipeline} now=${now} series=${series} swaps=${swaps} why=${state.lostWhy[name]} /><//>
    </div>
    ${verdict.kind === "bad" &&
    html`<${Note} kind="bad" title=${verdict.text}><p>${phrase(`pipeline.todo.${pipeline.state}`)}</p><${Said} why=${pipeline.why} /><//>`}
    ${troubled.map(([sink, why]) => html`<${Note} kind="warn" title=${t("line.sink_failed", { sink, why })}>${t("line.sink_failed_todo")}<//>`)}
  </article>`;
}

/** What concerns the whole node. */
function NodeNotes({ status }) {
  const store = status.config_store || {};
  return html`
    ${status.disk_error && html`<${Note} kind="bad" title=${t("node.disk", { why: status.disk_error })}>${t("node.disk_todo")}<//>`}
    ${status.id_conflict && html`<${Note} kind="bad" title=${t("node.id_conflict", { node: status.node })}>${status.id_conflict}<//>`}
    ${store.connected === false && html`<${Note} kind="warn" title=${t("node.config_store", { why: store.why || "" })}>${t("node.config_store_todo")}<//>`}
  `;
}

export default function Lines({ state }) {
  const { status } = state;
  if (!status) return html`<p class="empty">${state.link === "lost" ? t("link.lost") : t("app.loading")}</p>`;
  const pipelines = Object.entries(status.pipelines || {});
  const models = Object.entries(status.models || {});
  const orphans = pipelines.filter(([, p]) => !(status.models || {})[p.model]);
  return html`<div class="notes"><${NodeNotes} status=${status} /></div>
    ${!pipelines.length && html`<p class="empty"><${Icon} name="cameras" size=${48} /><br />${t("verdict.no_lines")}. <a href="#/cameras">${t("verdict.no_lines_todo")}</a></p>`}
    ${models.map(([name, model]) => {
      const own = pipelines.filter(([, p]) => p.model === name);
      return html`<section key=${name} class="model-row" aria-label=${t("model.label", { model: name })}>
        <div class=${`lines ${own.length > 1 ? "many" : ""}`}>
          ${own.map(([p, pipeline]) => html`<${Boundary} key=${p} name=${p} again=${status}><${Line} name=${p} pipeline=${pipeline} model=${model} state=${state} single=${own.length === 1} /><//>`)}
        </div>
        <${Boundary} name=${name} again=${status}><${Model} name=${name} model=${model} lines=${own.map(([p]) => p)} state=${state} /><//>
      </section>`;
    })}
    ${orphans.length > 0 && html`<div class="lines many">${orphans.map(([p, pipeline]) => html`<${Line} key=${p} name=${p} pipeline=${pipeline} state=${state} />`)}</div>`}`;
}
