// SPDX-License-Identifier: AGPL-3.0-or-later
// How a pipeline, a model and the whole node are: a kind (ok, busy, wait, info, warn, bad, off) and words. Pure.

import { t, word } from "./i18n.js";

const PIPELINE_KIND = {
  running: "ok",
  starting: "busy",
  restarting: "busy",
  waiting: "wait",
  ended: "off",
  stopped: "off",
  absent: "bad",
  lost: "bad",
  unreadable: "bad",
  frozen: "bad",
};
const MOST_SAID = 4;
const RANK = ["ok", "off", "wait", "info", "busy", "warn", "bad"];

/** Of one pipeline. `model`: its model's part of the status, where there is one. */
export function pipelineVerdict(pipeline, model) {
  const kind = PIPELINE_KIND[pipeline.state] || "info";
  const text = word("pipeline.state", pipeline.state, "–");
  if (kind === "ok" && model && !model.active) return { kind: "warn", text: t("pipeline.no_model") };
  if (kind === "ok" && model && model.active && model.active.ready === false) return { kind: "warn", text: t("pipeline.engine_restarts") };
  return { kind, text };
}

/** Whether its source gives pictures. */
export const hasPicture = (pipeline) => !["absent", "lost", "unreadable", "stopped"].includes(pipeline.state);

/** Whether somebody has to approve what is on its way. */
export const waitsForApproval = ({ candidate }) => Boolean(candidate && candidate.shadow && candidate.shadow.waits_for === "approval");

/** Of one model. */
export function modelVerdict(model) {
  if (model.failing) return { kind: "bad", text: t("model.state.failing") };
  if (model.candidate) {
    return waitsForApproval(model) ? { kind: "warn", text: t("model.state.waits_for_approval") } : { kind: "busy", text: word("stage", model.candidate.stage) };
  }
  if (model.state === "REJECTED") return { kind: "warn", text: t("model.state.REJECTED") };
  if (model.state === "PROBATION") return { kind: "busy", text: t("model.state.PROBATION") };
  if (!model.active) return { kind: "bad", text: t("model.state.nothing_serves") };
  if (model.active.withdrawn) return { kind: "warn", text: t("model.state.withdrawn") };
  if (model.state === "STABLE") return { kind: "ok", text: t("model.state.STABLE") };
  return { kind: "info", text: word("model.state", model.state, "–") };
}

const worse = (a, b) => (RANK.indexOf(a) >= RANK.indexOf(b) ? a : b);

/** Of the whole node, in one line. */
export function verdict(state) {
  if (state.link === "lost") return { kind: "bad", text: t("verdict.lost") };
  if (!state.status) return { kind: "busy", text: t("verdict.connecting") };
  const pipelines = Object.entries(state.status.pipelines || {});
  const models = state.status.models || {};
  const found = pipelines.map(([name, p]) => ({ name, ...pipelineVerdict(p, models[p.model]) }));
  const of = found.map((line) => line.kind);
  const bad = of.filter((kind) => kind === "bad" || kind === "warn").length;
  const raised = ((state.alarms && state.alarms.alarms) || []).filter((a) => a.state === "raised");
  const alarm = raised.some((a) => a.severity === "critical") ? "bad" : raised.length ? "warn" : "ok";
  if (!pipelines.length) return { kind: "info", text: t("verdict.no_lines"), more: t("verdict.no_lines_todo") };
  const more = [
    ...found.filter((line) => line.kind === "bad" || line.kind === "warn").map((line) => `${line.name}: ${line.text}`),
    raised.length ? t("verdict.alarms", { n: raised.length }) : "",
    ...Object.entries(models)
      .map(([name, model]) => [name, modelVerdict(model)])
      .filter(([, its]) => its.kind !== "ok")
      .map(([name, its]) => `${name}: ${its.text}`),
  ].filter(Boolean).slice(0, MOST_SAID);
  const kind = [alarm, ...of, ...Object.values(models).map((m) => modelVerdict(m).kind)].reduce(worse, "ok");
  if (bad) return { kind: worse(kind, "warn"), text: t("verdict.some_bad", { n: bad, of: of.length }), more: more.join(" · ") };
  const idle = of.filter((k) => k === "off" || k === "wait").length;
  const text = idle === of.length ? t("verdict.idle") : t("verdict.all_well", { n: of.length });
  return { kind, text, more: more.join(" · ") };
}

/** The version that a roll-back would bring: {version, digest}, or null. As core/rollback.py decides it. */
export function rollbackTarget(model) {
  if (!model.active) return null;
  const before = (model.previous || []).filter((ref) => ref.version !== model.active.version);
  return before.length ? before[before.length - 1] : null;
}

/** The version that would be safe at a start: what serves, once it is stable, else the last that was. */
export function lastKnownGood(model) {
  const before = model.previous || [];
  if (model.active && !model.probation) return model.active;
  return before.length ? before[before.length - 1] : null;
}
