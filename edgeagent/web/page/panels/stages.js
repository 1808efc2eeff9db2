// SPDX-License-Identifier: AGPL-3.0-or-later
// The way of a version: what is behind it, where it is, what lies ahead.

import { Icon, Said, html } from "../ui.js";
import { bytes, has, number, phrase, seconds, t, word } from "../i18n.js";

/** In the order in which they are gone through. SHADOW only where it is asked for; READY is but a moment. */
const WAY = ["ASPIRED", "FETCHING", "VERIFYING", "PREPARING", "GATING", "WARMING", "SHADOW", "PROBATION", "STABLE"];

function Progress({ done, of, label }) {
  const share = of > 0 ? Math.min(1, done / of) : null;
  return html`<progress class="progress" max="1" value=${share === null ? undefined : share} aria-label=${label}></progress>`;
}

/** What is going on within the stage, in words and as a bar where there is one. */
function Within({ candidate, probation }) {
  if (!candidate) {
    const left = probation.seconds_left;
    return html`<p>${probation.longer ? t("stage.longer") : t("stage.seconds_left", { time: seconds(left) })}</p><${Said} why=${probation.longer && probation.shortfall} />`;
  }
  const { stage, fetch, gate, gate_progress: pictures, trial, waits, shadow } = candidate;
  if (stage === "FETCHING" && fetch) {
    return html`<p class="small">${t("stage.fetch", { file: fetch.file, done: bytes(fetch.bytes), of: bytes(fetch.of) })}</p><${Progress} done=${fetch.bytes} of=${fetch.of} label=${fetch.file} />`;
  }
  if (stage === "GATING" && gate) {
    return html`<p>${t("stage.gate", { gate: word("gate", gate) })}${pictures ? ` · ${number(pictures.done)} / ${number(pictures.of)}` : ""}</p>
      ${pictures && html`<${Progress} done=${pictures.done} of=${pictures.of} label=${word("gate", gate)} />`}`;
  }
  if (stage === "PREPARING" && trial) return html`<p class="small">${t("stage.trial", { trial })}</p>`;
  if (stage === "ASPIRED" && waits) return html`<p>${t("stage.waits")}</p><${Said} why=${waits} />`;
  if (stage === "SHADOW" && shadow) {
    return html`<p>${phrase(`stage.shadow.${shadow.waits_for}`, { at: word("moment", shadow.at) })}${
      typeof shadow.seconds_left === "number" && shadow.waits_for === "frames" ? ` ${t("stage.seconds_left", { time: seconds(shadow.seconds_left) })}` : ""
    }</p><${Said} why=${shadow.waits_for === "frames" && shadow.shortfall} />`;
  }
  return has(`stage.note.${stage}`) ? html`<p class="small">${t(`stage.note.${stage}`)}</p>` : null;
}

/** candidate: a version on its way in, or null for the `probation` of what came in. */
export function Stages({ candidate, probation }) {
  const stage = candidate ? candidate.stage : "PROBATION";
  const spent = (candidate && candidate.seconds) || {};
  const known = WAY.includes(stage);
  const now = WAY.indexOf(stage === "READY" ? "WARMING" : stage);
  const way = WAY.filter((s, i) => {
    if (s === "ASPIRED") return stage === s;
    if (s === "SHADOW") return stage === s || (candidate && candidate.shadow);
    return candidate || i >= now;
  });
  return html`<ol class="stages">
    ${way.map((s) => {
      const at = WAY.indexOf(s);
      const where = at < now ? "done" : at === now ? "now" : "ahead";
      const time = spent[s.toLowerCase()];
      return html`<li key=${s} class=${where} aria-current=${where === "now" ? "step" : undefined} data-stage=${s}>
        ${where === "ahead" ? html`<span class="dot" aria-hidden="true"></span>` : html`<${Icon} name=${where === "done" ? "ok" : stage === "SHADOW" && candidate.shadow && candidate.shadow.waits_for === "approval" ? "wait" : "busy"} />`}
        <div><p class="stage-name"><span>${word("stage", s)}${where !== "now" && html`<span class="unseen"> (${t(`stage.is_${where}`)})</span>`}</span>
          ${typeof time === "number" && html`<span class="quiet small">${seconds(time)}</span>`}</p>
          ${where === "now" && html`<${Within} candidate=${candidate} probation=${probation} />`}</div>
      </li>`;
    })}
    ${!known && stage !== "READY" && html`<li class="now" aria-current="step"><${Icon} name="busy" /><div><p class="stage-name">${word("stage", stage)}</p></div></li>`}
  </ol>`;
}
