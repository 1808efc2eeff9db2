// SPDX-License-Identifier: AGPL-3.0-or-later
// The fields that forms over the configuration are made of. Values are those of the configuration; what can't be
// understood here stays as it was typed, so that the node says what is wrong with it.

import { t } from "../i18n.js";
import { html, useId, useState } from "../ui.js";

/** A copy of `doc` with the value at `path` (list of keys) replaced; undefined takes it away. */
export function withValue(doc, [key, ...rest], value) {
  const copy = Array.isArray(doc) ? [...doc] : { ...doc };
  const next = rest.length ? withValue(copy[key] === undefined || copy[key] === null ? {} : copy[key], rest, value) : value;
  if (next === undefined && !Array.isArray(copy)) delete copy[key];
  else copy[key] = next;
  return copy;
}

export const valueAt = (doc, path) => path.reduce((at, key) => (at === undefined || at === null ? undefined : at[key]), doc);

/** What stands beneath a field. */
function Under({ id, hint, error }) {
  if (!hint && !error) return null;
  return html`<p id=${id} class=${error ? "field-error" : "field-hint"}>${error || hint}</p>`;
}

const told = (id, hint, error) => ({ "aria-describedby": hint || error ? `${id}-hint` : undefined, "aria-invalid": error ? "true" : undefined });

/** A number; empty for none. `fallback` is what counts then. */
export function NumberField({ label, value, onChange, fallback, hint, error }) {
  const id = useId();
  const [typed, setTyped] = useState(null);
  const shown = typed !== null ? typed : value === undefined || value === null ? "" : String(value);
  function onInput(event) {
    const text = event.target.value;
    setTyped(text);
    const number = Number(text.trim().replace(",", "."));
    onChange(text.trim() === "" ? undefined : Number.isFinite(number) ? number : text);
  }
  return html`<div class="field"><label for=${id}>${label}</label>
    <input id=${id} type="text" inputmode="decimal" autocomplete="off" value=${shown} onInput=${onInput} onBlur=${() => setTyped(null)}
      placeholder=${fallback === undefined ? "" : String(fallback)} ...${told(id, hint, error)} />
    <${Under} id=${`${id}-hint`} hint=${hint} error=${error} /></div>`;
}

/** One of several. options: [[value, text], ...]; values may be null. */
export function SelectField({ label, value, options, onChange, hint, error }) {
  const id = useId();
  const at = options.findIndex(([option]) => option === value);
  return html`<div class="field"><label for=${id}>${label}</label>
    <select id=${id} value=${String(at < 0 ? 0 : at)} onChange=${(event) => onChange(options[Number(event.target.value)][0])} ...${told(id, hint, error)}>
      ${options.map(([, text], i) => html`<option value=${String(i)}>${text}</option>`)}</select>
    <${Under} id=${`${id}-hint`} hint=${hint} error=${error} /></div>`;
}

/** Yes or no. */
export function CheckField({ label, value, onChange, hint, error }) {
  const id = useId();
  return html`<div class="field"><label class="choice"><input type="checkbox" checked=${Boolean(value)}
      onChange=${(event) => onChange(event.target.checked)} ...${told(id, hint, error)} /><span>${label}</span></label>
    <${Under} id=${`${id}-hint`} hint=${hint} error=${error} /></div>`;
}

/** Text with suggestions. */
export function SuggestField({ label, value, suggestions, onInput, hint, error, ...rest }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${label}</label>
    <input id=${id} type="text" autocomplete="off" spellcheck=${false} list=${`${id}-list`} value=${value || ""} onInput=${(event) => onInput(event.target.value)}
      ...${told(id, hint, error)} ...${rest} />
    <datalist id=${`${id}-list`}>${suggestions.map((text) => html`<option value=${text} />`)}</datalist>
    <${Under} id=${`${id}-hint`} hint=${hint} error=${error} /></div>`;
}

/** Words with commas between them; empty for none. known: to be pressed instead of typed. */
export function WordsField({ label, words, known, onChange, hint, error }) {
  const id = useId();
  const [typed, setTyped] = useState(null);
  const list = words || [];
  const shown = typed !== null ? typed : list.join(", ");
  const split = (text) => text.split(/[,，;；]/).map((word) => word.trim()).filter(Boolean);
  const toggle = (word) => onChange(list.includes(word) ? list.filter((w) => w !== word) : [...list, word]);
  return html`<div class="field"><label for=${id}>${label}</label>
    <input id=${id} type="text" autocomplete="off" value=${shown} onBlur=${() => setTyped(null)}
      onInput=${(event) => (setTyped(event.target.value), onChange(split(event.target.value)))} ...${told(id, hint, error)} />
    ${known.length > 0 &&
    html`<div class="chips" role="group" aria-label=${label}>${known.map(
      (word) => html`<button type="button" class="button chip" dir="auto" aria-pressed=${list.includes(word) ? "true" : "false"} onClick=${() => toggle(word)}>${word}</button>`,
    )}</div>`}
    <${Under} id=${`${id}-hint`} hint=${hint} error=${error} /></div>`;
}

/** Plain values as JSON, for what has no fields of its own. */
export function JsonField({ label, value, onChange, hint, error, rows = 6 }) {
  const id = useId();
  const [typed, setTyped] = useState(null);
  const [broken, setBroken] = useState("");
  const shown = typed !== null ? typed : JSON.stringify(value === undefined ? [] : value, null, 2);
  function onInput(event) {
    setTyped(event.target.value);
    try {
      onChange(JSON.parse(event.target.value));
      setBroken("");
    } catch (e) {
      setBroken(t("form.no_json", { why: e.message }));
      onChange(event.target.value);
    }
  }
  return html`<div class="field"><label for=${id}>${label}</label>
    <textarea id=${id} class="mono" rows=${rows} spellcheck=${false} value=${shown} onInput=${onInput} ...${told(id, hint, broken || error)}></textarea>
    <${Under} id=${`${id}-hint`} hint=${hint} error=${broken || error} /></div>`;
}

/** Mistakes that the node found, by the field that they belong to, and those that belong to none:
 *  "pipelines[0].source.url: is empty; allowed: …" → {fields: {"source.url": "is empty; …"}, rest: []}. */
export function mistakesOf(error, prefix) {
  const found = { fields: {}, rest: [] };
  if (!error || !error.why) return found;
  const lines = error.problems.length ? error.problems : [error.why];
  lines.forEach((line) => {
    const [, where, what] = /^([^\s:]+): ([^]*)$/.exec(line) || [null, "", line];
    const field = where.replace(prefix, "");
    if (where && field !== where) found.fields[field] = found.fields[field] ? `${found.fields[field]} ${what}` : what;
    else found.rest.push(line);
  });
  return found;
}

/** The mistake at a field or below it. */
export function mistakeAt(fields, path) {
  if (fields[path]) return fields[path];
  const below = Object.keys(fields).find((key) => key.startsWith(`${path}.`) || key.startsWith(`${path}[`));
  return below ? `${below.slice(path.length).replace(/^\./, "")}: ${fields[below]}` : "";
}
