// SPDX-License-Identifier: AGPL-3.0-or-later
// Settings of a model that stay when its version changes: confidence for each class, IoU, region, minimum size.

import { address, path, put } from "../api.js";
import { t } from "../i18n.js";
import { Button, Card, Failure, Field, Note, html, useEffect, useName, useRef, useState } from "../ui.js";
import { NumberField, mistakeAt, mistakesOf, withValue } from "./form_pieces.js";
import { RegionEditor } from "./region_editor.js";

/** In the place of the settings in the list of mistakes. */
const PREFIX = /^(body\.)?(models\.[^.[]+|models\[[^\]]+\]|settings)(\.|$)/;

/** Confidence by class: those that are known, and those that are set. */
function Confidences({ confidence, known, onChange, fields }) {
  const [more, setMore] = useState("");
  const names = [...new Set([...known, ...Object.keys(confidence)])];
  const add = () => more.trim() && (onChange({ ...confidence, [more.trim()]: 0.5 }), setMore(""));
  return html`<fieldset><legend>${t("model.confidence")}</legend><p class="field-hint">${t("model.confidence_hint")}</p>
    <div class="form-grid">${names.map(
      (name) => html`<${NumberField} key=${name} label=${name} value=${confidence[name]} error=${mistakeAt(fields, `confidence.${name}`)}
        onChange=${(value) => onChange(withValue(confidence, [name], value))} />`,
    )}</div>
    <div class="row"><${Field} label=${t("model.other_class")} value=${more} onInput=${setMore} maxlength="128" />
      <${Button} reason=${more.trim() ? "" : t("model.other_class_first")} onClick=${add}>${t("model.add_class")}<//></div>
  </fieldset>`;
}

/** The form. settings: as configured; pipeline: one that the model looks at, for a picture; onDone(changed or null). */
export function ModelForm({ name, settings, revision, known, pipeline, onDone }) {
  const [draft, setDraft] = useState(settings || {});
  const [by] = useName();
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const top = useRef(null);
  useEffect(() => top.current.focus(), []);
  const set = (key, value) => setDraft((now) => withValue(now, [key], value));
  const { fields, rest } = mistakesOf(error && error.status === 422 ? error : null, PREFIX);
  async function save() {
    setBusy(true);
    setError(null);
    try {
      onDone(await put(path("api/models", name, "settings"), { settings: draft, if_revision: revision, by }));
    } catch (e) {
      setError(e);
      setBusy(false);
      top.current.focus();
    }
  }
  const src = pipeline ? address(`${path("api/pipelines", pipeline, "snapshot.jpg")}?width=1280&boxes=false`) : "";
  return html`<div ref=${top} tabindex="-1" id="model-form"><${Card} id="model-form-title" title=${t("model.settings_of", { name })}>
    ${error &&
    (Object.keys(fields).length
      ? html`<div role="alert"><${Note} kind="bad" title=${t("form.mistakes", { n: Object.keys(fields).length + rest.length })}>${rest.join(" ")} ${t("form.nothing_changed")}<//></div>`
      : html`<${Failure} error=${error} />`)}
    <p>${t("model.settings_hint")}</p>
    <${Confidences} confidence=${draft.confidence || {}} known=${known} fields=${fields} onChange=${(value) => set("confidence", Object.keys(value).length ? value : undefined)} />
    <div class="form-grid">
      <${NumberField} label=${t("camera.iou")} hint=${t("model.iou_hint")} value=${draft.iou} error=${mistakeAt(fields, "iou")} onChange=${(value) => set("iou", value)} />
      <${NumberField} label=${t("rule.min_size")} hint=${t("rule.min_size_hint")} value=${draft.min_size} error=${mistakeAt(fields, "min_size")} onChange=${(value) => set("min_size", value)} />
    </div>
    <${RegionEditor} label=${t("model.region")} points=${draft.region || null} src=${src} error=${mistakeAt(fields, "region")} onChange=${(points) => set("region", points || undefined)} />
    <p class="what">${t("model.settings_what")}</p>
    <div class="dialog-actions">
      <button type="button" class="button" onClick=${() => onDone(null)}><span>${t("dialog.cancel")}</span></button>
      <${Button} kind="primary" icon="yes" busy=${busy} onClick=${save}>${t("camera.save")}<//>
    </div>
  <//></div>`;
}
