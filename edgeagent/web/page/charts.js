// SPDX-License-Identifier: AGPL-3.0-or-later
// One figure over the last minutes, small, with the swaps on its time axis: an SVG, so that the browser has it follow
// the size, the density and the colours of the screen. Across, everything is a share of what is shown, in per cent.

import { html } from "./ui.js";
import { clock, number, t } from "./i18n.js";

const LEAST_SPAN_S = 120;
const STEPS_S = [60, 120, 180, 300, 600]; // between two labels of the time axis
const MOST_TIMES = 4;
const EDGE = 6; // per cent: a label so near to an edge would be cut
const TOP = 6; // of the drawing, pixels; so are the next three
const HIGH = 60;
const LABEL_AT = 84;
const SWAP_AT = 17;
const WIDE = 1000; // of the drawing, in its own units, as is its height
const TALL = 100;
const LETTER = 2.6; // per cent of the width that a letter of a swap takes at most
const MOST_LETTERS = 10;
const ROUND = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];

/** The top of the scale: somewhat above `most`, and twice something round, which is written at its middle. */
function topOf(most) {
  const half = Math.max(most * 1.1, 1) / 2;
  const ten = 10 ** Math.floor(Math.log10(half));
  return 2 * ten * (ROUND.find((n) => n * ten >= half) || 10);
}

/** From and to when it is shown, and where a time lies in that: 0 to 1. */
function span(times) {
  const to = times[times.length - 1];
  const from = Math.min(times[0], to - LEAST_SPAN_S);
  return { from, to, at: (time) => (time - from) / (to - from) };
}

const round = (value) => Math.round(value * 10) / 10;

/** A line over what is known, with a gap where nothing is; or a bar for each that is more than nothing. */
function pathOf({ values, bars }, times, at, top) {
  let pen = "M";
  return values.reduce((path, value, i) => {
    if (value === null || (bars && !value)) {
      pen = "M";
      return path;
    }
    const [x, y] = [round(WIDE * at(times[i])), round(TALL * (1 - value / top))];
    const next = bars ? `M${x} ${TALL}V${y}` : `${pen}${x} ${y}`;
    pen = "L";
    return path + next;
  }, "");
}

function Times({ from, to, at }) {
  const step = STEPS_S.find((s) => (to - from) / s <= MOST_TIMES) || STEPS_S[STEPS_S.length - 1];
  const first = Math.ceil(from / step) * step;
  const shown = Array.from({ length: Math.max(0, Math.floor((to - first) / step) + 1) }, (_, i) => first + i * step);
  return shown
    .map((time) => [time, 100 * at(time)])
    .filter(([, x]) => x >= EDGE && x <= 100 - EDGE)
    .map(([time, x]) => html`<text class="chart-label" x=${`${round(x)}%`} y=${LABEL_AT} text-anchor="middle">${clock(time, false)}</text>`);
}

/** Swaps as dashed lines with the version that came in beside them, where it has room. */
function Swaps({ swaps, from, to, at }) {
  let free = 100; // per cent: right of this a later swap stands
  return [...swaps]
    .reverse()
    .filter((swap) => swap.t >= from && swap.t <= to)
    .map((swap) => {
      const x = round(100 * at(swap.t));
      const label = String(swap.to_version || "").slice(0, MOST_LETTERS);
      const wide = label.length * LETTER + 2;
      const isRight = x + wide < free;
      const fits = isRight || x - wide > 0;
      free = isRight ? x : x - wide;
      return html`<line class="chart-swap" x1=${`${x}%`} x2=${`${x}%`} y1=${TOP} y2=${TOP + HIGH} />
        ${fits && html`<text class="chart-version" x=${`${x}%`} dx=${isRight ? 4 : -4} y=${SWAP_AT} text-anchor=${isRight ? "start" : "end"}>${label}</text>`}`;
    });
}

/** What a chart shows, in words. */
function inWords(label, times, lines, swaps) {
  const known = lines[0].values.filter((value) => value !== null);
  if (!known.length) return t("chart.empty", { label });
  const said = t("chart.words", {
    label,
    minutes: Math.max(1, Math.round((times[times.length - 1] - times[0]) / 60)),
    least: number(Math.min(...known), 1),
    most: number(Math.max(...known), 1),
  });
  const seen = swaps.filter((swap) => swap.t >= times[0]).slice(-3);
  return [said, ...seen.map((swap) => t("chart.swap", { time: clock(swap.t), version: swap.to_version }))].join(" ");
}

/** times: Unix seconds; lines: [{values, dashed, bars}], null where nothing is known. */
export function Chart({ label, times, lines, swaps }) {
  const shown = span(times);
  const top = topOf(Math.max(0, ...lines.flatMap((line) => line.values)));
  const kind = (line, i) => `chart-line ${line.bars ? "bars" : i ? "second" : ""} ${line.dashed ? "dashed" : ""}`;
  return html`<div class="chart" role="img" aria-label=${inWords(label, times, lines, swaps)}>
    <div class="chart-scale" aria-hidden="true">${[top, top / 2, 0].map((value) => html`<span>${number(value, 1)}</span>`)}</div>
    <svg class="chart-plot" aria-hidden="true">
      ${[0, 0.5, 1].map((part) => html`<line class="chart-grid" x1="0" x2="100%" y1=${TOP + part * HIGH} y2=${TOP + part * HIGH} />`)}
      <svg y=${TOP} width="100%" height=${HIGH} viewBox=${`0 0 ${WIDE} ${TALL}`} preserveAspectRatio="none">
        ${lines.map((line, i) => html`<path class=${kind(line, i)} d=${pathOf(line, times, shown.at, top)} />`)}
      </svg>
      <${Swaps} swaps=${swaps} ...${shown} />
      <${Times} ...${shown} />
    </svg>
  </div>`;
}
