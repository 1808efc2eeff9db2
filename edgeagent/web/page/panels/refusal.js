// SPDX-License-Identifier: AGPL-3.0-or-later
// Why something was refused, in one sentence, what to do about it, and the node's own words.

import { Said, html } from "../ui.js";
import { t } from "../i18n.js";
import { advice, refusal } from "../records.js";

/** record: an audit record, or {result, why}. */
export function Refusal({ record }) {
  const why = refusal(record);
  const todo = advice(record);
  return html`<div class="refusal">
    ${why && html`<p>${why}</p>`}
    ${!why && record.why && html`<p>${record.why}</p>`}
    ${todo && html`<p class="todo"><strong class="inline">${t("model.todo")}</strong> ${todo}</p>`}
    <${Said} why=${why && record.why} />
  </div>`;
}
