// SPDX-License-Identifier: AGPL-3.0-or-later
// One figure over the last minutes, small, with the swaps on its time axis. uPlot draws it; it is loaded when the
// first chart is shown.

import { Button, html, useEffect, useLayoutEffect, useRef, useState } from "./ui.js";
import { clock, number, t } from "./i18n.js";
import { onTheme } from "./theme.js";

const HEIGHT = 88;
const LEAST_SPAN_S = 120;
const STEPS_S = [15, 30, 60, 120, 180, 300, 600]; // between two labels of the time axis
const EDGE = 0.1; // of the time shown: a label so near to the right edge would be cut
const LABEL_PX = 11;

let library = ""; // uPlot: loading, there or failed; one for all charts
function become(state) {
  library = state;
  window.dispatchEvent(new Event("charts"));
}

/** Ask for uPlot, unless it is there or was asked for. By an element, not by import(): where that failed once, many
 *  browsers give the same failure until the page is loaded anew. */
function load() {
  if (library === "loading" || library === "there") return;
  become("loading");
  const script = document.createElement("script");
  script.src = new URL("./vendor/uplot.js", import.meta.url).href;
  const done = () => {
    script.remove();
    become(window.uPlot ? "there" : "failed");
  };
  script.onload = done;
  script.onerror = done;
  document.head.appendChild(script);
}

function useLibrary() {
  const [state, setState] = useState(library);
  useEffect(() => {
    const look = () => setState(library);
    window.addEventListener("charts", look);
    load();
    look();
    return () => window.removeEventListener("charts", look);
  }, []);
  return state;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Swaps as dashed lines with the name of the version that came in, within what is shown. */
function drawSwaps(u, swaps) {
  const { ctx } = u;
  const ratio = window.devicePixelRatio || 1;
  const { left, top, width, height } = u.bbox;
  ctx.save();
  ctx.strokeStyle = colour("--text");
  ctx.fillStyle = colour("--text");
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  ctx.font = `600 ${LABEL_PX * ratio}px ${colour("--mono")}`;
  let free = left + width;
  [...swaps].reverse().forEach((swap) => {
    const x = Math.round(u.valToPos(swap.t, "x", true));
    if (x < left || x > left + width) return;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    ctx.lineWidth = 1.5 * ratio;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    const label = String(swap.to_version || "").slice(0, 10);
    const wide = ctx.measureText(label).width;
    const at = x + 4 * ratio + wide < free ? x + 4 * ratio : x - 4 * ratio - wide;
    if (at < left) return;
    ctx.fillText(label, at, top + LABEL_PX * ratio);
    free = Math.min(x, at);
  });
  ctx.restore();
}

/** Labels of the time axis. */
function timesOf(u, splits) {
  const { min, max } = u.scales.x;
  return splits.map((at) => (at > max - EDGE * (max - min) ? "" : clock(at, false)));
}

function axes() {
  const font = `12px ${colour("--sans")}`;
  const shared = { stroke: colour("--soft"), font, ticks: { show: false } };
  const grid = { stroke: colour("--line"), width: 1 };
  return [
    { ...shared, grid: { show: false }, size: 22, space: 80, incrs: STEPS_S, values: timesOf },
    { ...shared, grid, size: 40, space: 30, gap: 5, values: (u, splits) => splits.map((value) => number(value, 1)) },
  ];
}

/** As many as there are lines: [{values, dashed, bars}]. */
function options(lines, width, getSwaps) {
  const top = (u, least, most) => [0, Math.max(1, (most || 0) * 1.2)];
  return {
    width,
    height: HEIGHT,
    padding: [6, 6, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    select: { show: false },
    scales: { x: { time: true, range: (u, from, to) => [Math.min(from, to - LEAST_SPAN_S), to] }, y: { range: top } },
    axes: axes(),
    series: [
      {},
      ...lines.map((line, i) => ({
        stroke: colour(line.bars ? "--warn" : i ? "--chart-2" : "--chart-1"),
        fill: line.bars ? colour("--warn") : undefined,
        width: 2,
        dash: line.dashed ? [5, 4] : undefined,
        points: { show: false },
        spanGaps: false,
        paths: line.bars ? window.uPlot.paths.bars({ size: [1, 8, 2] }) : undefined,
      })),
    ],
    hooks: { draw: [(u) => drawSwaps(u, getSwaps())] },
  };
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

/** The drawing, as wide as there is room. */
function Plot({ times, lines, swaps }) {
  const box = useRef(null);
  const plot = useRef(null);
  const latest = useRef({});
  latest.current = { times, lines, swaps };

  function draw() {
    if (plot.current) plot.current.destroy();
    plot.current = null;
    const width = box.current && box.current.clientWidth;
    if (!width) return;
    const { times: at, lines: shown } = latest.current;
    const data = [at, ...shown.map((line) => line.values)];
    plot.current = new window.uPlot(options(shown, width, () => latest.current.swaps), data, box.current);
  }
  useEffect(() => {
    draw();
    const ends = [onTheme(draw), () => plot.current && plot.current.destroy()];
    const resized = () => {
      const width = box.current && box.current.clientWidth;
      if (!plot.current) draw();
      else if (width && width !== plot.current.width) plot.current.setSize({ width, height: HEIGHT });
    };
    if (window.ResizeObserver) {
      const observer = new ResizeObserver(resized);
      observer.observe(box.current);
      ends.push(() => observer.disconnect());
    }
    return () => ends.forEach((end) => end());
  }, [lines.length]);
  useLayoutEffect(() => {
    if (plot.current) plot.current.setData([times, ...lines.map((line) => line.values)]);
  }, [times, swaps]);
  return html`<div class="chart-box" ref=${box}></div>`;
}

/** times: Unix seconds; lines: [{values, dashed, bars}], null where nothing is known. Of the same height before it is
 *  drawn, and where it can't be. */
export function Chart({ label, times, lines, swaps }) {
  const state = useLibrary();
  const words = inWords(label, times, lines, swaps);
  if (state === "failed") {
    return html`<div class="chart failed"><p class="small">${t("chart.failed")}<span class="unseen"> ${words}</span></p>
      <${Button} onClick=${load}>${t("app.try_again")}<//></div>`;
  }
  return html`<div class="chart" role="img" aria-label=${words}>
    ${state === "there" && html`<${Plot} times=${times} lines=${lines} swaps=${swaps} />`}
  </div>`;
}
