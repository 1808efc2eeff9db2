// SPDX-License-Identifier: AGPL-3.0-or-later
// The cameras of this node: add, change, remove one while the others go on; and the settings of the models.

import { address, del, path } from "../api.js";
import { t } from "../i18n.js";
import { rereadStatus } from "../store.js";
import { Badge, Button, Card, Confirm, Failure, Icon, Note, Version, html, say, useState } from "../ui.js";
import { hasPicture, pipelineVerdict } from "../verdict.js";
import { CameraForm } from "./camera_form.js";
import { ModelForm } from "./model_form.js";
import { usePolled } from "./polled.js";
import { ruleInWords } from "./rule_form.js";

const POLL_MS = 15000;

/** Class names of each model, as far as the node tells them. */
function classesOf(state, config, told) {
  const found = { ...told };
  Object.entries((state.status && state.status.models) || {}).forEach(([name]) => {
    const names = (told && told[name]) || [];
    const set = Object.keys((((config.models || {})[name] || {}).confidence) || {});
    const ruled = (config.pipelines || []).filter((p) => p.model === name).flatMap((p) => (p.alarms || []).flatMap((rule) => rule.classes || []));
    found[name] = [...new Set([...names, ...set, ...ruled])];
  });
  return found;
}

function Picture({ name, shown, seconds }) {
  const [failed, setFailed] = useState(false);
  if (!shown || failed) return html`<div class="camera-picture empty"><${Icon} name="cameras" size=${40} /></div>`;
  const src = address(`${path("api/pipelines", name, "snapshot.jpg")}?width=320&boxes=true&t=${seconds}`);
  return html`<div class="camera-picture"><img src=${src} alt=${t("camera.picture_of", { name })} onError=${() => setFailed(true)} /></div>`;
}

function Camera({ pipeline, status, model, onEdit, onRemove, loaded, off }) {
  const found = status ? pipelineVerdict(status, model) : { kind: "off", text: t("camera.not_running") };
  const source = (pipeline.source && pipeline.source.url) || "";
  const rules = pipeline.alarms || [];
  return html`<li data-camera=${pipeline.name}>
    <${Picture} key=${loaded} name=${pipeline.name} shown=${status && hasPicture(status)} seconds=${loaded} />
    <div class="camera-about">
      <h3 dir="auto">${pipeline.name}</h3>
      <p><${Badge} kind=${found.kind}>${found.text}<//></p>
      ${status && status.why && found.kind === "bad" && html`<p dir="auto">${status.why}</p>`}
      <p class="mono" dir="ltr">${source}</p>
      <p>${t("camera.model")}: <span dir="auto">${pipeline.model}</span> ${model && model.active && html`<${Version} name=${model.active.version} />`}</p>
      ${rules.length > 0 && html`<ul class="plain quiet">${rules.map((rule) => html`<li dir="auto">${rule.name}: ${ruleInWords(rule)}</li>`)}</ul>`}
    </div>
    <div class="actions">
      <${Button} data-verb="change" saidBy=${off} onClick=${onEdit}>${t("camera.edit")}<//>
      <${Button} data-verb="remove" icon="no" saidBy=${off} onClick=${onRemove}>${t("camera.remove")}<//>
    </div>
  </li>`;
}

function Remove({ name, revision, onDone, onClose }) {
  const act = async ({ by }) => {
    await del(`${path("api/pipelines", name)}?if_revision=${encodeURIComponent(revision)}&by=${encodeURIComponent(by)}`);
    onDone(name);
  };
  return html`<${Confirm} title=${t("camera.remove_title", { name })} what=${t("camera.remove_what", { name })} verb=${t("camera.remove")} kind="danger" icon="no"
    act=${act} onClose=${onClose} />`;
}

function Models({ config, status, onEdit, off }) {
  const names = [...new Set(config.pipelines.map((p) => p.model))].sort();
  if (!names.length) return null;
  return html`<${Card} id="model-settings" title=${t("model.settings")}>
    <p class="quiet">${t("model.settings_hint")}</p>
    <ul class="camera-list">${names.map((name) => {
      const model = status && status.models[name];
      const settings = (config.models || {})[name];
      const set = settings ? Object.keys(settings).filter((key) => settings[key] !== null && settings[key] !== undefined) : [];
      return html`<li key=${name} data-model=${name}><div class="camera-about"><h3 dir="auto">${name} ${model && model.active && html`<${Version} name=${model.active.version} />`}</h3>
        <p class="quiet">${set.length ? set.map((key) => t(`model.has_${key}`)).join(", ") : t("model.has_none")}</p></div>
        <div class="actions"><${Button} saidBy=${off} onClick=${() => onEdit(name)}>${t("model.edit")}<//></div></li>`;
    })}</ul>
  <//>`;
}

/** Why nothing can be changed here now, "" where it can. */
function whyOff(state, answer) {
  if (state.link === "lost") return t("why.away");
  if (answer.error) return answer.error;
  if (answer.overridden && answer.overridden.length) return t("camera.off_overridden", { names: answer.overridden.join(", ") });
  if (answer.may_change !== false) return "";
  return answer.path ? t("camera.off_allow") : t("camera.off_file");
}

/** The view. */
export default function Cameras({ state }) {
  const [answer, error, again] = usePolled("api/config", POLL_MS);
  const [editing, setEditing] = useState(null); // {camera: name or null} or {model: name}
  const [removing, setRemoving] = useState("");
  const [done, setDone] = useState("");
  const [loaded, setLoaded] = useState(0);
  if (!answer) return error ? html`<${Failure} error=${error} />` : html`<p class="quiet pad">${t("app.loading")}</p>`;
  const config = { pipelines: [], ...answer.config };
  const { status } = state;
  const models = [...new Set([...config.pipelines.map((p) => p.model), ...Object.keys((status && status.models) || {})])].sort();
  const classes = classesOf(state, config, answer.classes);
  function onDone(text) {
    setEditing(null);
    setRemoving("");
    setDone(text);
    if (text) say(text);
    again();
    setLoaded(loaded + 1);
    rereadStatus().catch(() => {});
  }
  if (editing && "model" in editing) {
    const of = config.pipelines.find((p) => p.model === editing.model);
    return html`<${ModelForm} name=${editing.model} settings=${(config.models || {})[editing.model]} revision=${answer.revision} known=${classes[editing.model] || []}
      pipeline=${of && of.name} onDone=${(changed) => onDone(changed ? t("model.saved", { name: editing.model }) : "")} />`;
  }
  if (editing) {
    const found = config.pipelines.findIndex((p) => p.name === editing.camera);
    const place = found < 0 ? config.pipelines.length : found;
    return html`<${CameraForm} pipeline=${config.pipelines[place] || null} place=${place} revision=${answer.revision} models=${models} classes=${classes}
      onDone=${(changed) => onDone(changed ? t("camera.saved") : "")} />`;
  }
  const off = whyOff(state, answer);
  const saidBy = off ? "cameras-off" : "";
  return html`<div class="view">
    ${off && html`<div id=${saidBy}><${Note} kind="info" title=${t("camera.off")}>${off}<//></div>`}
    ${error && html`<${Failure} error=${error} />`}
    ${done && html`<${Note} kind="ok" title=${done}>${answer.path ? t("camera.written_to", { path: answer.path }) : ""}<//>`}
    <${Card} id="cameras" title=${t("camera.title")} aside=${html`<${Button} kind="primary" saidBy=${saidBy} onClick=${() => (setDone(""), setEditing({ camera: null }))}>${t("camera.add_button")}<//>`}>
      <p class="quiet">${t("camera.about")}</p>
      ${!config.pipelines.length && html`<p class="empty">${t("camera.none")}</p>`}
      <ul class="camera-list">${config.pipelines.map((pipeline) => {
        const own = status && status.pipelines[pipeline.name];
        return html`<${Camera} key=${pipeline.name} pipeline=${pipeline} status=${own} model=${status && status.models[pipeline.model]} loaded=${loaded} off=${saidBy}
          onEdit=${() => (setDone(""), setEditing({ camera: pipeline.name }))} onRemove=${() => setRemoving(pipeline.name)} />`;
      })}</ul>
    <//>
    <${Models} config=${config} status=${status} off=${saidBy} onEdit=${(name) => (setDone(""), setEditing({ model: name }))} />
    ${removing && html`<${Remove} name=${removing} revision=${answer.revision} onDone=${(name) => onDone(t("camera.removed", { name }))} onClose=${() => setRemoving("")} />`}
  </div>`;
}
