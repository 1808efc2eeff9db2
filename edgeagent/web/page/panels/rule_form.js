// SPDX-License-Identifier: AGPL-3.0-or-later
// One alarm rule of a pipeline: what must be seen, where, how long, and what is said then.

import { ruleSays } from "../alarm_words.js";
import { t } from "../i18n.js";
import { Button, Details, Field, html } from "../ui.js";
import { CheckField, NumberField, SelectField, WordsField, mistakeAt, valueAt, withValue } from "./form_pieces.js";
import { RegionEditor } from "./region_editor.js";

const DEFAULTS = { within_seconds: 60, absent_seconds: 30 };

/** A rule that is right as it is, but for its name. */
export const newRule = (names) => {
  let n = 1;
  while (names.includes(`rule-${n}`)) n += 1;
  return { name: `rule-${n}`, when: "present", severity: "warning" };
};

/** Fields that belong to another kind of rule would be mistakes. */
function withWhen(rule, when) {
  const { within_seconds: within, absent_seconds: absent, ...rest } = rule;
  if (when === "count") return { ...rest, when, within_seconds: within || DEFAULTS.within_seconds };
  if (when === "absent") return { ...rest, when, absent_seconds: absent || DEFAULTS.absent_seconds };
  return { ...rest, when };
}

/** A rule in one sentence. */
export function ruleInWords(rule) {
  const classes = (rule.classes || []).join(", ");
  const when = rule.when || "present";
  const { at_least: frames = 1, of = 1 } = rule.frames || {};
  const seconds = when === "count" ? rule.within_seconds : rule.absent_seconds;
  const words = ruleSays(when, { classes, objects: Number(rule.objects) || 1, seconds });
  return of > 1 ? `${words} ${t("rule.frames", { frames, of })}` : words;
}

export function RuleForm({ rule, path, fields, known, snapshot, onChange, onRemove }) {
  const error = (name) => mistakeAt(fields, `${path}.${name}`);
  const set = (where, value) => onChange(withValue(rule, where, value));
  const number = (where, label, fallback, hint) => html`<${NumberField} label=${t(label)} value=${valueAt(rule, where)} fallback=${fallback} hint=${hint && t(hint)}
    error=${error(where.join("."))} onChange=${(value) => set(where, value)} />`;
  const when = rule.when || "present";
  return html`<li class="rule-editor">
    <header><p class="lead" dir="auto">${ruleInWords(rule)}</p><${Button} icon="no" onClick=${onRemove}>${t("rule.remove")}<//></header>
    <div class="form-grid">
      <${Field} label=${t("rule.name")} value=${rule.name || ""} error=${error("name")} onInput=${(text) => set(["name"], text)} maxlength="128" />
      <${SelectField} label=${t("rule.when")} value=${when} error=${error("when")} onChange=${(value) => onChange(withWhen(rule, value))}
        options=${["present", "count", "absent"].map((kind) => [kind, t(`rule.when_${kind}`)])} />
      <${SelectField} label=${t("rule.severity")} value=${rule.severity || "warning"} error=${error("severity")} onChange=${(value) => set(["severity"], value)}
        options=${["info", "warning", "critical"].map((kind) => [kind, t(`alarm.severity.${kind}`)])} />
      <${WordsField} label=${t("rule.classes")} words=${rule.classes} known=${known} hint=${t("rule.classes_hint")} error=${error("classes")} onChange=${(value) => set(["classes"], value)} />
      ${number(["confidence"], "rule.confidence", 0, "rule.confidence_hint")}
      ${number(["objects"], "rule.objects", 1)}
      ${when === "count" && number(["within_seconds"], "rule.within_seconds")}
      ${when === "absent" && number(["absent_seconds"], "rule.absent_seconds")}
    </div>
    <div class="form-grid wide">
      <${Field} label=${t("rule.text")} hint=${t("rule.text_hint")} value=${rule.text || ""} error=${error("text")} onInput=${(text) => set(["text"], text)} maxlength="300" />
      <${Field} label=${t("rule.todo")} hint=${t("rule.todo_hint")} value=${rule.todo || ""} error=${error("todo")} onInput=${(text) => set(["todo"], text)} maxlength="300" />
    </div>
    <${RegionEditor} label=${t("rule.region")} points=${rule.region || null} src=${snapshot} error=${error("region")} onChange=${(points) => set(["region"], points || undefined)} />
    <${Details} title=${t("rule.more")} open=${["min_size", "frames", "on_delay_seconds", "off_delay_seconds", "cool_down_seconds", "clip"].some(error)}>
      <div class="form-grid">
        ${number(["min_size"], "rule.min_size", 0, "rule.min_size_hint")}
        ${number(["frames", "at_least"], "rule.at_least", 1, "rule.at_least_hint")}
        ${number(["frames", "of"], "rule.of", 1)}
        ${number(["on_delay_seconds"], "rule.on_delay", 0, "rule.on_delay_hint")}
        ${number(["off_delay_seconds"], "rule.off_delay", 2, "rule.off_delay_hint")}
        ${number(["cool_down_seconds"], "rule.cool_down", 60, "rule.cool_down_hint")}
      </div>
      <${CheckField} label=${t("rule.clip")} hint=${t("rule.clip_hint")} value=${Boolean(rule.clip)} error=${error("clip")} onChange=${(yes) => set(["clip"], yes ? {} : undefined)} />
    <//>
  </li>`;
}
