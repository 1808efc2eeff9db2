// SPDX-License-Identifier: AGPL-3.0-or-later
// One pipeline of the configuration: its camera, its model, its alarm rules. The node says what is wrong, at the field.

import { address, path, put } from "../api.js";
import { t } from "../i18n.js";
import { Button, Card, Details, Failure, Field, Note, html, useEffect, useMemo, useName, useRef, useState } from "../ui.js";
import { CheckField, JsonField, NumberField, SelectField, SuggestField, mistakeAt, mistakesOf, valueAt, withValue } from "./form_pieces.js";
import { RuleForm, newRule } from "./rule_form.js";

/** A pipeline as it begins. */
export const newPipeline = (models) => ({ name: "", model: models[0] || "", source: { url: "" }, sinks: [] });

/** How the node names this pipeline in the list of mistakes: `pipelines[3].`, or `body.pipeline.` of the request. */
const prefixOf = (place) => new RegExp(`^(body\\.)?(pipelines\\[${place}\\]|pipeline)(\\.|$)`);

function Source({ draft, set, error }) {
  const url = valueAt(draft, ["source", "url"]) || "";
  const isFile = !/^(rtsps?|https?|synthetic):/.test(url) && !url.startsWith("/dev/");
  const number = (name, fallback) => html`<${NumberField} label=${t(`camera.${name}`)} hint=${t(`camera.${name}_hint`)} fallback=${fallback}
    value=${valueAt(draft, ["source", name])} error=${error(`source.${name}`)} onChange=${(value) => set(["source", name], value)} />`;
  const check = (name, fallback = false) => {
    const value = valueAt(draft, ["source", name]);
    return html`<${CheckField} label=${t(`camera.${name}`)} hint=${t(`camera.${name}_hint`)} value=${value === undefined ? fallback : value}
      error=${error(`source.${name}`)} onChange=${(yes) => set(["source", name], yes)} />`;
  };
  const live = valueAt(draft, ["source", "live"]);
  const advanced = ["stall_seconds", "max_age_seconds", "trust_timestamps", "live"].some((name) => error(`source.${name}`));
  return html`<${Field} label=${t("camera.url")} hint=${t("camera.url_hint")} value=${url} error=${error("source.url") || error("source")}
      onInput=${(text) => set(["source", "url"], text)} spellcheck=${false} autocomplete="off" />
    ${isFile && url && html`<div class="form-grid">${number("fps")}${check("loop")}${check("watch")}</div>`}
    <${Details} title=${t("camera.more")} open=${advanced}>
      <div class="form-grid">
        <${SelectField} label=${t("camera.live")} hint=${t("camera.live_hint")} value=${live === undefined ? null : live} error=${error("source.live")}
          options=${[[null, t("camera.live_auto")], [true, t("camera.live_yes")], [false, t("camera.live_no")]]} onChange=${(value) => set(["source", "live"], value)} />
        ${number("stall_seconds", 10)}${number("max_age_seconds", 2)}
        ${check("trust_timestamps", true)}
      </div>
    <//>`;
}

function Rules({ draft, set, fields, known, snapshot }) {
  const rules = draft.alarms || [];
  const change = (i, rule) => set(["alarms"], rules.map((other, j) => (j === i ? rule : other)));
  return html`<section class="form-section" aria-label=${t("camera.rules")}><h3>${t("camera.rules")}</h3>
    <p class="field-hint">${t("camera.rules_hint")}</p>
    <ul>${rules.map(
      (rule, i) => html`<${RuleForm} key=${i} rule=${rule} path=${`alarms[${i}]`} fields=${fields} known=${known} snapshot=${snapshot}
        onChange=${(next) => change(i, next)} onRemove=${() => set(["alarms"], rules.filter((_, j) => j !== i))} />`,
    )}</ul>
    <p><button type="button" class="button" onClick=${() => set(["alarms"], [...rules, newRule(rules.map((rule) => rule.name))])}><span>${t("rule.add")}</span></button></p>
  </section>`;
}

/** The form. pipeline: as configured, or null for a new one; place: in the list of pipelines; onDone(changed or null). */
export function CameraForm({ pipeline, place, revision, models, classes, onDone }) {
  const [draft, setDraft] = useState(pipeline || newPipeline(models));
  const [by] = useName();
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const top = useRef(null);
  const isNew = !pipeline;
  const set = (where, value) => setDraft((now) => withValue(now, where, value));
  const mistakes = mistakesOf(error && error.status === 422 ? error : null, prefixOf(place));
  const at = (name) => mistakeAt(mistakes.fields, name);
  const snapshot = useMemo(() => (isNew ? "" : address(`${path("api/pipelines", pipeline.name, "snapshot.jpg")}?width=1280&boxes=false`)), []);
  useEffect(() => {
    top.current.focus();
    top.current.scrollIntoView({ block: "start" });
  }, []);
  async function save() {
    setBusy(true);
    setError(null);
    try {
      onDone(await put(path("api/pipelines", draft.name || "-"), { pipeline: draft, if_revision: revision, by }));
    } catch (e) {
      setError(e);
      setBusy(false);
      top.current.focus();
      top.current.scrollIntoView({ block: "start" });
    }
  }
  const title = isNew ? t("camera.new") : t("camera.change", { name: pipeline.name });
  const missing = !draft.name.trim() ? t("camera.needs_name") : !valueAt(draft, ["source", "url"]) ? t("camera.needs_url") : "";
  return html`<div ref=${top} tabindex="-1" id="camera-form"><${Card} id="camera-form-title" title=${title}>
    ${error &&
    (error.status === 422 && Object.keys(mistakes.fields).length
      ? html`<div role="alert"><${Note} kind="bad" title=${t("form.mistakes", { n: Object.keys(mistakes.fields).length + mistakes.rest.length })}>
          ${mistakes.rest.length > 0 && html`<ul class="plain">${mistakes.rest.map((line) => html`<li>${line}</li>`)}</ul>`}
          ${t("form.nothing_changed")}<//></div>`
      : error.status === 409
        ? html`<div role="alert"><${Note} kind="bad" title=${t("form.conflict")}>${error.why} ${t("form.conflict_todo")}<//></div>`
        : html`<${Failure} error=${error} />`)}
    <div class="form-grid">
      <${Field} label=${t("camera.name")} hint=${isNew ? t("camera.name_hint") : t("camera.name_fixed")} value=${draft.name} error=${at("name")} readonly=${!isNew}
        onInput=${(text) => set(["name"], text)} maxlength="128" autocomplete="off" />
      <${SuggestField} label=${t("camera.model")} hint=${t("camera.model_hint")} value=${draft.model} suggestions=${models} error=${at("model")} onInput=${(text) => set(["model"], text)} />
    </div>
    <${Source} draft=${draft} set=${set} error=${at} />
    <div class="form-grid">
      <${NumberField} label=${t("camera.confidence")} hint=${t("camera.confidence_hint")} fallback=${0.25} value=${draft.confidence} error=${at("confidence")} onChange=${(value) => set(["confidence"], value)} />
      <${NumberField} label=${t("camera.iou")} hint=${t("camera.iou_hint")} fallback=${0.45} value=${draft.iou} error=${at("iou")} onChange=${(value) => set(["iou"], value)} />
    </div>
    <${Rules} draft=${draft} set=${set} fields=${mistakes.fields} known=${classes[draft.model] || []} snapshot=${snapshot} />
    <${Details} title=${t("camera.sinks")} open=${Boolean(at("sinks"))}>
      <${JsonField} label=${t("camera.sinks_json")} hint=${t("camera.sinks_hint")} value=${draft.sinks} error=${at("sinks")} onChange=${(value) => set(["sinks"], value)} />
    <//>
    <p class="what">${isNew ? t("camera.add_what") : t("camera.change_what")}</p>
    <div class="dialog-actions">
      <button type="button" class="button" onClick=${() => onDone(null)}><span>${t("dialog.cancel")}</span></button>
      <${Button} kind="primary" icon="yes" busy=${busy} reason=${missing} onClick=${save}>${isNew ? t("camera.add") : t("camera.save")}<//>
    </div>
  <//></div>`;
}
