// SPDX-License-Identifier: AGPL-3.0-or-later
// Choose a version from the model store, with its tags and figures, and bring it in on this node.

import { Confirm, Failure, Field, Icon, Time, Version, html, useEffect, useState } from "../ui.js";
import { get, path } from "../api.js";
import { number, t, word } from "../i18n.js";
import { refusal } from "../records.js";

const MOST_FIGURES = 4;

/** Why a version can't be chosen, or null. */
function against(release, model) {
  if (model.active && model.active.version === release.version) return t("promote.serves");
  if (release.withdrawn) return t("promote.withdrawn", { why: release.withdrawn.reason || "", by: release.withdrawn.by || "–" });
  if (release.error) return t("promote.broken", { why: release.error });
  return null;
}

function Release({ release, model, chosen, onChoose }) {
  const off = against(release, model);
  const refused = (model.rejected || []).find((r) => r.version === release.version);
  const metrics = Object.entries(release.metrics || {}).slice(0, MOST_FIGURES);
  const created = Date.parse(release.created) / 1000;
  return html`<label class=${`release ${off ? "off" : ""} ${chosen ? "chosen" : ""}`}>
    <input type="radio" name="version" value=${release.version} checked=${chosen} disabled=${Boolean(off)} onChange=${() => onChoose(release.version)} />
    <span class="release-text">
      <span class="row"><${Version} name=${release.version} quiet=${!chosen} />${(release.tags || []).map((tag) => html`<span class="tag">@${tag}</span>`)}
        ${Number.isFinite(created) && html`<span class="quiet small"><${Time} at=${created} /></span>`}</span>
      ${release.note && html`<span dir="auto">${release.note}</span>`}
      ${metrics.length > 0 && html`<span class="release-figures">${metrics.map(([name, value]) => html`<span><span class="quiet">${word("figure", name)}</span> <strong>${typeof value === "number" ? number(value, 3) : String(value)}</strong></span>`)}</span>`}
      ${off && html`<span class="release-why"><${Icon} name=${release.error ? "bad" : "info"} size=${18} /> ${off}</span>`}
      ${!off && refused && html`<span class="release-why"><${Icon} name="warn" size=${18} /> ${t("promote.refused_before", { why: refusal({ ...refused, result: "rejected" }) || refused.why })}</span>`}
    </span>
  </label>`;
}

export function Promote({ name, model, ask, onClose }) {
  const [found, setFound] = useState(null); // {versions, error}, null while it is asked
  const [version, setVersion] = useState("");
  const [reason, setReason] = useState("");
  useEffect(() => {
    get(path("api/models", name, "versions")).then(setFound, (error) => setFound({ versions: [], error }));
  }, [name]);
  const versions = [...((found && found.versions) || [])].reverse();
  const wanted = version.trim();
  const params = { version: wanted, from: model.active ? model.active.version : "–" };
  const what = wanted ? t(model.active ? "promote.what" : "promote.what_first", params) : t("promote.choose");
  return html`<${Confirm} title=${t("promote.title", { model: name })} what=${what} verb=${wanted ? t("promote.verb", params) : t("promote.verb_none")} icon="up"
    reason=${wanted ? null : t("promote.choose_first")} onClose=${onClose} act=${({ by }) => ask(name, "promote", { version: wanted, by, reason: reason.trim() })}>
    ${!found && html`<p class="quiet pad">${t("promote.asking")}</p>`}
    ${found && found.error && html`<${Failure} error=${found.error} />`}
    ${versions.length > 0 && html`<fieldset class="releases"><legend class="unseen">${t("promote.legend")}</legend>
      ${versions.map((release) => html`<${Release} key=${release.version} release=${release} model=${model} chosen=${release.version === version} onChoose=${setVersion} />`)}</fieldset>`}
    ${found && !versions.length && html`${!found.error && html`<p class="quiet pad">${t("promote.none")}</p>`}<${Field} label=${t("promote.by_name")} value=${version} onInput=${setVersion} maxlength="128" />`}
    <${Field} label=${t("promote.reason")} value=${reason} onInput=${setReason} maxlength="1000" />
  <//>`;
}
