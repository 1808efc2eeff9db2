// SPDX-License-Identifier: AGPL-3.0-or-later
// Two versions side by side: what both saw on the same frames, and the pictures on which they differ.

import { placed } from "../api.js";
import { fixed, number, percent, seconds, t, word } from "../i18n.js";
import { Badge, Card, Dialog, Failure, Figure, Icon, Note, Time, Version, html, useState } from "../ui.js";
import { usePolled } from "./polled.js";

const POLL_MS = 10000;
const COLUMNS = ["agreed", "lost", "gained", "moved", "renamed", "weaker", "stronger"];

/** The watch in which two versions are compared now: {version, against, pairs, ...}, or null. */
function watchOf(model) {
  const shadow = model.candidate && model.candidate.shadow;
  if (shadow) return { ...shadow, version: model.candidate.version, kind: "shadow" };
  const { probation } = model;
  if (probation && probation.against) return { ...probation, version: model.active && model.active.version, kind: "probation" };
  return null;
}

/** How far the evidence has come to where the version is refused. */
function Evidence({ pairs }) {
  if (!(pairs.needed > 0)) return null;
  const share = Math.max(0, Math.min(1, pairs.evidence / pairs.needed));
  const kind = share >= 1 ? "bad" : share >= 0.5 ? "warn" : "ok";
  const text = t("shadow.evidence", { share: percent(share) });
  return html`<div class="evidence"><p><${Badge} kind=${kind}>${text}<//></p>
    <svg class="bar" viewBox="0 0 1000 24" preserveAspectRatio="none" role="img" aria-label=${text}>
      <rect class="bar-ground" x="0" y="0" width="1000" height="24" />
      <rect class=${`bar-part is-${kind}`} x="0" y="0" width=${1000 * share} height="24" />
    </svg></div>`;
}

function Classes({ pairs }) {
  if (!pairs.classes.length) return html`<p class="quiet">${t("shadow.no_objects")}</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t("shadow.by_class")}><table>
    <thead><tr><th scope="col">${t("shadow.class")}</th>
      ${COLUMNS.map((name) => html`<th scope="col" class="number">${t(`shadow.${name}`)}</th>`)}
      <th scope="col" class="number">${t("shadow.score_shift")}</th></tr></thead>
    <tbody>${pairs.classes.map(
      (row) => html`<tr key=${row.name}><th scope="row" dir="auto">${row.name}</th>
        ${COLUMNS.map((name) => html`<td class=${`number ${row[name] > 0 && (name === "lost" || name === "renamed") ? "is-bad" : ""}`}>${number(row[name])}</td>`)}
        <td class="number">${row.score_shift > 0 ? "+" : ""}${fixed(row.score_shift, 3)}</td></tr>`,
    )}</tbody></table></div>`;
}

/** One of the two versions, in figures. */
function Side({ title, version, latency, unanswered, quiet }) {
  return html`<div class="side">
    <h3>${title} <${Version} name=${version} quiet=${quiet} /></h3>
    <dl class="figures">
      <${Figure} label=${t("shadow.p50")} value=${latency && latency.p50_ms ? fixed(latency.p50_ms, 1) : "–"} unit="ms" />
      <${Figure} label=${t("shadow.p95")} value=${latency && latency.p95_ms ? fixed(latency.p95_ms, 1) : "–"} unit="ms" />
      ${unanswered > 0 && html`<${Figure} label=${t("shadow.unanswered")} value=${number(unanswered)} kind="warn" />`}
    </dl>
  </div>`;
}

const sum = (pairs, name) => pairs.classes.reduce((total, row) => total + row[name], 0);

function Watch({ watch }) {
  const { pairs } = watch;
  const wait = [
    watch.waits_for && t(`shadow.waits_for.${watch.waits_for}`),
    typeof watch.seconds_left === "number" && t("shadow.left", { time: seconds(watch.seconds_left) }),
    watch.shortfall,
  ].filter(Boolean);
  return html`<div class="stack">
    <p class="lead">${t(`shadow.is_${watch.kind}`, { version: watch.version, against: watch.against })}</p>
    ${wait.length > 0 && html`<p class="quiet" dir="auto">${wait.join(" · ")}</p>`}
    ${watch.breach && html`<${Note} kind="warn" title=${t("shadow.breach")}>${watch.breach}<//>`}
    ${!pairs
      ? html`<p class="quiet">${t("shadow.no_pairs")}</p>`
      : html`<div class="sides">
            <${Side} title=${t("shadow.before")} version=${watch.against} latency=${pairs.incumbent} unanswered=${pairs.incumbent_unanswered} quiet />
            <${Side} title=${t("shadow.new")} version=${watch.version} latency=${pairs.candidate} unanswered=${pairs.unanswered} />
          </div>
          <dl class="figures">
            <${Figure} label=${t("shadow.frames")} value=${number(pairs.frames)} hint=${t("shadow.with_objects", { n: pairs.with_objects })} />
            <${Figure} label=${t("shadow.objects")} value=${number(pairs.objects)} />
            <${Figure} label=${t("shadow.lost")} value=${number(sum(pairs, "lost"))} kind=${sum(pairs, "lost") ? "warn" : ""} />
            <${Figure} label=${t("shadow.gained")} value=${number(sum(pairs, "gained"))} />
          </dl>
          <${Evidence} pairs=${pairs} />
          <${Classes} pairs=${pairs} />
          <p class="quiet small">${t("shadow.latency_note")}</p>`}
  </div>`;
}

/** What differs on a picture, in words: the node says it as text, or as numbers by name. */
function summaryOf(picture) {
  const { summary } = picture;
  if (!summary) return "";
  if (typeof summary === "string") return summary;
  return Object.entries(summary)
    .filter(([, value]) => value !== null && value !== 0)
    .map(([name, value]) => `${word("shadow", name)}: ${typeof value === "number" ? number(value) : value}`)
    .join(" · ");
}

function Picture({ picture, onOpen }) {
  const title = t("shadow.picture_title", { version: picture.version, against: picture.against || "–", pipeline: picture.pipeline || "–" });
  return html`<li class="difference">
    <button type="button" class="thumb" aria-label=${t("shadow.enlarge", { title })} onClick=${() => onOpen(picture)}>
      <img src=${placed(picture.picture)} alt="" loading="lazy" /></button>
    <p><${Version} name=${picture.version} /> ${t("shadow.beside")} <${Version} name=${picture.against} quiet /></p>
    <p class="quiet small"><span dir="auto">${[picture.pipeline, summaryOf(picture)].filter(Boolean).join(" · ")}</span> · <${Time} at=${picture.time} /></p>
  </li>`;
}

function Pictures({ model, version }) {
  const [answer, error] = usePolled(`api/models/${encodeURIComponent(model)}/disagreements`, POLL_MS);
  const [open, setOpen] = useState(null);
  const [all, setAll] = useState(false);
  if (!answer && error) return error.status === 404 ? html`<p class="quiet">${t("shadow.no_pictures")}</p>` : html`<${Failure} error=${error} />`;
  if (!answer) return html`<p class="quiet">${t("app.loading")}</p>`;
  const ofVersion = answer.pictures.filter((picture) => !version || picture.version === version);
  const shown = all || !ofVersion.length ? answer.pictures : ofVersion;
  return html`<div class="stack">
    ${!shown.length && html`<p class="quiet">${t("shadow.no_pictures")}</p>`}
    ${shown.length > 0 && html`<p class="quiet">${t("shadow.legend")}</p>`}
    <ul class="differences">${shown.map((picture) => html`<${Picture} key=${picture.id} picture=${picture} onOpen=${setOpen} />`)}</ul>
    ${shown.length < answer.pictures.length &&
    html`<button type="button" class="button" onClick=${() => setAll(true)}><span>${t("shadow.show_all", { n: answer.pictures.length })}</span></button>`}
    ${open &&
    html`<${Dialog} title=${`${open.version} / ${open.against || "–"}`} wide onClose=${() => setOpen(null)}>
      <img class="alarm-media" src=${placed(open.picture)} alt=${t("shadow.picture_alt", { version: open.version, against: open.against || "–" })} />
      <p dir="auto">${[open.pipeline, summaryOf(open)].filter(Boolean).join(" · ")} · <${Time} at=${open.time} /></p>
      <p class="quiet">${t("shadow.legend")}</p>
    <//>`}
  </div>`;
}

function Model({ name, model }) {
  const watch = model && watchOf(model);
  return html`<${Card} id=${`pictures-${name}`} title=${html`<span dir="auto">${name}</span>: ${t("shadow.title")}`}
    aside=${html`<a class="button quiet" href="#/"><${Icon} name="back" /><span>${t("nav.lines")}</span></a>`}>
    ${watch ? html`<${Watch} watch=${watch} />` : html`<${Note} kind="info" title=${t("shadow.none")}>${t("shadow.none_hint")}<//>`}
  <//>
  <${Card} id=${`differences-${name}`} title=${t("shadow.pictures")}><${Pictures} model=${name} version=${watch && watch.version} /><//>`;
}

/** The view: of the model in the address (#/pictures/yolo), or of all. */
export default function PicturesView({ state }) {
  if (!state.status) return html`<p class="quiet pad">${t("app.loading")}</p>`;
  const { models } = state.status;
  const wanted = state.route.arg;
  if (wanted && !models[wanted]) {
    return html`<${Note} kind="warn" title=${t("shadow.no_such_model", { model: wanted })}><a href="#/pictures">${t("shadow.all_models")}</a><//>`;
  }
  const names = wanted ? [wanted] : Object.keys(models);
  return html`<div class="view">${names.map((name) => html`<${Model} key=${name} name=${name} model=${models[name]} />`)}</div>`;
}
