// SPDX-License-Identifier: AGPL-3.0-or-later
// An audit record in one sentence, with its symbol and what to do about it. Pure.

import { has, phrase, t } from "./i18n.js";

const KIND = {
  swapped: "ok",
  stable: "ok",
  approved: "ok",
  ready: "ok",
  agrees: "ok",
  rebuilt: "info",
  confirmed: "info",
  cleared: "info",
  superseded: "off",
  reported: "warn",
  drifted: "warn",
  invalid: "warn",
  "not rebuilt": "info",
  rejected: "bad",
  rolled_back: "bad",
  lost: "bad",
};

/** Symbol of a record. */
export const kindOf = (record) => KIND[record.result] || "info";

/** When it was, Unix seconds; null where the record doesn't tell. */
export function whenOf(record) {
  const at = Date.parse(record.when) / 1000;
  return Number.isFinite(at) ? at : null;
}

/** Whether something was refused or taken back. */
export const isRefusal = (record) => ["rejected", "rolled_back", "invalid", "drifted", "reported", "lost"].includes(record.result);

/** What happened, in one sentence. */
export function sentence(record) {
  const params = { model: record.model, from: record.from_version, to: record.to_version, event: record.event, result: record.result };
  const result = String(record.result || "").replace(/ /g, "_");
  const specific = `record.${record.event}.${result}`;
  if (has(specific)) return t(specific, params);
  const general = `record.${result}${result === "swapped" && !record.from_version ? "_first" : ""}`;
  if (has(general)) return t(general, params);
  return t("record.other", params);
}

/** Name of the gate that refused it, "" for none: from what the gates found, or from the reason, which begins so. */
function failedGate(record) {
  const failed = (record.gates || []).find((gate) => gate.passed === false);
  if (failed) return failed.name;
  const named = /^gate ([\w-]+)/.exec(record.why || "");
  return named ? named[1] : "";
}

/** Why it was refused, in one sentence of this page's, by the gate or the stage; "" where only the node's own reason tells. */
export const refusal = (record) => (isRefusal(record) ? phrase(`refusal.gate.${failedGate(record)}`) || phrase(`refusal.stage.${record.stage}`) : "");

/** What to do about a refusal, by the gate that failed or by its kind. "" where there is nothing. */
export function advice(record) {
  if (!isRefusal(record)) return "";
  return phrase(`advice.gate.${failedGate(record)}`) || phrase(`advice.${record.event}.${record.result}`) || phrase(`advice.${record.result}`);
}
