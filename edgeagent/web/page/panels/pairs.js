// SPDX-License-Identifier: AGPL-3.0-or-later
// Two versions on the same frames: what each found, side by side, and how much speaks against the new one.

import { Details, Note, Said, Version, html } from "../ui.js";
import { number, t } from "../i18n.js";

const KINDS = ["agreed", "lost", "gained", "moved", "renamed", "weaker"];
const ALWAYS = 3; // of these; the others where there are any

/** How far the evidence is from what would be a refusal. */
function Evidence({ pairs }) {
  if (!(pairs.needed > 0)) return null;
  const share = Math.max(0, Math.min(1, pairs.evidence / pairs.needed));
  return html`<div class="evidence">
    <p class="row spread"><span>${t("pairs.evidence")}</span><strong>${number(Math.max(0, pairs.evidence), 1)} / ${number(pairs.needed, 1)}</strong></p>
    <meter class="meter" min="0" max="1" low="0.5" high="0.99" optimum="0" value=${share} aria-label=${t("pairs.evidence")}></meter>
    <p class="quiet small">${t("pairs.evidence_hint")}</p>
  </div>`;
}

function Classes({ classes }) {
  return html`<ul class="pair-classes">
    ${classes.map(
      (c) => html`<li key=${c.name}><strong dir="auto">${c.name}</strong>
        <ul>${KINDS.filter((kind, i) => i < ALWAYS || c[kind] > 0).map(
          (kind) => html`<li class=${kind === "lost" && c[kind] > 0 ? "strong" : ""}>${number(c[kind])} <span class="quiet">${t(`pairs.${kind}`)}</span></li>`,
        )}${c.agreed > 0 && html`<li>${signed(c.score_shift)} <span class="quiet">${t("pairs.score_shift")}</span></li>`}</ul></li>`,
    )}
  </ul>`;
}

/** +0.02 */
const signed = (value) => `${value > 0 ? "+" : ""}${number(value, 3)}`;

/** watch: `shadow` or `probation` of the status. version: the new one. */
export function Pairs({ watch, version }) {
  const { pairs, against, breach, shortfall } = watch;
  return html`<div class="pairs">
    ${breach && html`<${Note} kind="warn" title=${t("pairs.breach")}>${breach}<//>`}
    ${!pairs && html`<p class="quiet">${t("pairs.none_yet")}</p>`}
    ${pairs &&
    html`<div class="row versus"><${Version} name=${version} quiet /> <span class="quiet">${t("pairs.beside")}</span> <${Version} name=${against || "–"} quiet />
        <span class="quiet small">${t("pairs.seen", { frames: number(pairs.frames), objects: number(pairs.objects) })}</span></div>
      <${Evidence} pairs=${pairs} />
      ${shortfall && html`<p>${t("pairs.shortfall")}</p><${Said} why=${shortfall} />`}
      ${(pairs.classes || []).length > 0 && html`<${Details} title=${t("pairs.by_class")}><${Classes} classes=${pairs.classes} />
        ${pairs.candidate && html`<p class="quiet small">${t("pairs.times", { new: number(pairs.candidate.p50_ms, 1), old: number(pairs.incumbent.p50_ms, 1) })}</p>`}<//>`}`}
  </div>`;
}
