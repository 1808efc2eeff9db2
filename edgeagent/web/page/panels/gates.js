// SPDX-License-Identifier: AGPL-3.0-or-later
// What the gates found, each figure with what it is held against.

import { Details, Icon, html } from "../ui.js";
import { number, phrase, t, word } from "../i18n.js";

/** A figure as it came: a number by the language's rules, anything else as text. */
const shown = (value) => (typeof value === "number" ? number(value, Math.abs(value) < 1 ? 4 : 2) : value === null || value === undefined ? "" : String(value));

/** `recall.bottle` → found of bottle; a figure that this page doesn't know keeps its name. */
function nameOf(figure) {
  const [kind, ...rest] = figure.split(".");
  return rest.length && word("figure", kind) !== kind ? `${word("figure", kind)} ${rest.join(".")}` : word("figure", figure);
}

function Figures({ gate }) {
  const figures = Object.entries(gate.figures || {});
  const limits = gate.limits || {};
  const alone = Object.keys(limits).filter((name) => !(name in (gate.figures || {})));
  if (!figures.length && !alone.length) return html`<p class="quiet small">${t("gate.no_figures")}</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t("gate.figures_of", { gate: word("gate", gate.name) })}><table class="gate-figures">
    <thead><tr><th scope="col">${t("gate.figure")}</th><th scope="col" class="number">${t("gate.found")}</th><th scope="col" class="number">${t("gate.limit")}</th></tr></thead>
    <tbody>
      ${figures.map(([name, value]) => html`<tr><th scope="row">${nameOf(name)}</th><td class="number">${shown(value)}</td><td class="number quiet">${shown(limits[name])}</td></tr>`)}
      ${alone.map((name) => html`<tr><th scope="row">${nameOf(name)}</th><td></td><td class="number quiet">${shown(limits[name])}</td></tr>`)}
    </tbody>
  </table></div>`;
}

/** gates: [{name, passed, figures, limits, reasons}]. A gate that failed is open. */
export function Gates({ gates }) {
  return html`<ul class="gates">
    ${gates.map(
      (gate) => html`<li key=${gate.name} data-gate=${gate.name} data-passed=${String(gate.passed)}>
        <${Details} open=${gate.passed === false} title=${html`<span class="gate-name"><${Icon} name=${gate.passed ? "ok" : "bad"} size=${22} /> ${word("gate", gate.name)} <span class=${gate.passed ? "unseen" : "quiet small"}>${t(gate.passed ? "gate.passed" : "gate.failed")}</span></span>`}>
          ${gate.passed === false && html`<p class="gate-reason">${phrase(`refusal.gate.${gate.name}`)}</p>`}
          ${(gate.reasons || []).map((reason) => html`<p class="quiet small">${reason}</p>`)}
          <${Figures} gate=${gate} />
        <//>
      </li>`,
    )}
  </ul>`;
}
