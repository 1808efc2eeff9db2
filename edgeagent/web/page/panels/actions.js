// SPDX-License-Identifier: AGPL-3.0-or-later
// What a person can ask for: promote, approve, refuse, roll back. Each says beforehand what it will do.

import { Button, Confirm, Field, html, useState } from "../ui.js";
import { path, post } from "../api.js";
import { t } from "../i18n.js";
import { rereadStatus } from "../store.js";
import { rollbackTarget } from "../verdict.js";
import { Promote } from "./promote.js";

const MOST = 1000; // characters of a reason

/** Ask the model for something, and see what came of it. */
async function ask(model, verb, body) {
  const outcome = await post(path("api/models", model, verb), body);
  rereadStatus().catch(() => {});
  return outcome;
}

function RollBack({ name, model, lines, target, onClose }) {
  // What was on the screen when the question was asked: whoever presses twice goes back once.
  const [asked] = useState({ epoch: model.active.epoch, from: model.active.version, to: target.version, warm: model.standby && model.standby.version === target.version });
  const what = t(asked.warm ? "rollback.what_warm" : "rollback.what_cold", { from: asked.from, to: asked.to, lines: lines.join(", ") || name });
  return html`<${Confirm} title=${t("rollback.title", { to: asked.to })} what=${what} verb=${t("rollback.verb", { to: asked.to })} icon="back" kind="danger" onClose=${onClose}
    act=${({ by }) => ask(name, "rollback", { by, if_epoch: asked.epoch })}>
    <p class="quiet">${t("rollback.hold")}</p><//>`;
}

function Approve({ name, candidate, against, onClose }) {
  const { at, waits_for: waits } = candidate.shadow;
  const what = t(at === "now" ? "approve.what_now" : "approve.what_later", { version: candidate.version, against, at: t(`moment.${at}`) });
  return html`<${Confirm} title=${t("approve.title", { version: candidate.version })} what=${what} verb=${t("approve.verb", { version: candidate.version })} icon="yes" onClose=${onClose}
    act=${({ by }) => ask(name, "approve", { by, version: candidate.version, if_digest: candidate.digest || "" })}>
    ${waits === "frames" && html`<p class="quiet">${t("approve.early", { why: candidate.shadow.shortfall || "" })}</p>`}<//>`;
}

function Refuse({ name, candidate, against, onClose }) {
  const [reason, setReason] = useState("");
  return html`<${Confirm} title=${t("refuse.title", { version: candidate.version })} what=${t("refuse.what", { version: candidate.version, against })} verb=${t("refuse.verb", { version: candidate.version })}
    icon="no" kind="danger" reason=${reason.trim() ? null : t("refuse.needs_reason")} onClose=${onClose}
    act=${({ by }) => ask(name, "refuse", { by, reason: reason.trim(), version: candidate.version, if_digest: candidate.digest || "" })}>
    <${Field} label=${t("refuse.reason")} value=${reason} onInput=${setReason} rows=${2} maxlength=${MOST} /><//>`;
}

export function Actions({ name, model, lines, state }) {
  const [open, setOpen] = useState(null); // {verb, ...what was shown when it was pressed}
  const target = rollbackTarget(model);
  const { candidate, active } = model;
  const inShadow = candidate && candidate.stage === "SHADOW" && candidate.shadow;
  const away = state.link === "lost" ? t("why.away") : null;
  const noApproval = away || (inShadow && candidate.shadow.approved_by ? t("why.approved", { by: candidate.shadow.approved_by }) : null);
  const noRollback = away || (!active ? t("why.nothing_serves") : !target ? t("why.none_before") : null);
  const against = active ? active.version : "–";
  const onClose = () => setOpen(null);
  return html`<div class="actions" data-model=${name}>
    ${inShadow &&
    html`<${Button} kind="primary" icon="yes" reason=${noApproval} data-verb="approve" onClick=${() => setOpen({ verb: "approve", candidate })}>${t("approve.button", { version: candidate.version })}<//>
      <${Button} icon="no" reason=${away} data-verb="refuse" onClick=${() => setOpen({ verb: "refuse", candidate })}>${t("refuse.button", { version: candidate.version })}<//>`}
    <${Button} kind=${inShadow ? "" : "primary"} icon="up" reason=${away} data-verb="promote" onClick=${() => setOpen({ verb: "promote" })}>${t("promote.button")}<//>
    <${Button} icon="back" reason=${noRollback} data-verb="rollback" onClick=${() => setOpen({ verb: "rollback", target })}>${target ? t("rollback.button_to", { to: target.version }) : t("rollback.button")}<//>
    ${open && open.verb === "rollback" && active && html`<${RollBack} name=${name} model=${model} lines=${lines} target=${open.target} onClose=${onClose} />`}
    ${open && open.verb === "approve" && html`<${Approve} name=${name} candidate=${open.candidate} against=${against} onClose=${onClose} />`}
    ${open && open.verb === "refuse" && html`<${Refuse} name=${name} candidate=${open.candidate} against=${against} onClose=${onClose} />`}
    ${open && open.verb === "promote" && html`<${Promote} name=${name} model=${model} ask=${ask} onClose=${onClose} />`}
  </div>`;
}
