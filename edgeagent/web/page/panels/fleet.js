// SPDX-License-Identifier: AGPL-3.0-or-later
// Not there yet.

import { Note, html } from "../ui.js";
import { t } from "../i18n.js";

export default function Soon() {
  return html`<${Note} kind="info">${t("app.not_yet")}<//>`;
}
