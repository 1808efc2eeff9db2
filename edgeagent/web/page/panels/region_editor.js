// SPDX-License-Identifier: AGPL-3.0-or-later
// A region of the picture, drawn on a snapshot: by finger or mouse, by keyboard, or as numbers.

import { t } from "../i18n.js";
import { Button, Details, Note, html, say, useEffect, useId, useLayoutEffect, useRef, useState } from "../ui.js";
import { LEAST, MOST, START, faultOf, inside, moved, withPoint, withPointAfter, without } from "./polygon.js";

const STEP = 0.01;
const BIG_STEP = 0.05;
const RING_PX = 14;
const REACH_PX = 26; // of a gloved finger
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const percent = (value) => Math.round(value * 1000) / 10;

/** The size of the picture, once it is there; 16:9 until then. */
function usePicture(src) {
  const [size, setSize] = useState({ width: 640, height: 360, there: false });
  useEffect(() => {
    if (!src) return undefined;
    const image = new Image();
    let current = true;
    image.onload = () => current && setSize({ width: image.naturalWidth, height: image.naturalHeight, there: true });
    image.src = src;
    return () => (current = false);
  }, [src]);
  return size;
}

/** Pixels of the picture for one of the screen: what is touched keeps its size, however small the picture is shown. */
function useScale(surface, width, shown) {
  const [scale, setScale] = useState(1);
  useLayoutEffect(() => {
    if (!surface.current) return undefined;
    const measure = () => setScale(width / (surface.current.getBoundingClientRect().width || width));
    measure();
    window.addEventListener("resize", measure);
    return () => window.removeEventListener("resize", measure);
  }, [width, shown]);
  return scale;
}

function Handle({ index, point, size, radius, chosen, onChoose, onMove, onRemove, surface }) {
  const dragged = useRef(false);
  const [x, y] = [point[0] * size.width, point[1] * size.height];
  const at = (event) => {
    const box = surface.current.getBoundingClientRect();
    onMove(index, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  function onKeyDown(event) {
    const step = KEYS[event.key];
    if (step) {
      event.preventDefault();
      const by = event.shiftKey ? BIG_STEP : STEP;
      onMove(index, point[0] + step[0] * by, point[1] + step[1] * by);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      onRemove(index);
    }
  }
  return html`<g class=${`handle ${chosen ? "is-chosen" : ""}`} role="button" tabindex="0" data-point=${index + 1}
    aria-label=${t("region.point", { point: index + 1, x: percent(point[0]), y: percent(point[1]) })}
    onFocus=${() => onChoose(index)}
    onKeyDown=${onKeyDown}
    onClick=${(event) => event.stopPropagation()}
    onPointerDown=${(event) => {
      event.stopPropagation();
      dragged.current = true;
      onChoose(index);
      event.currentTarget.setPointerCapture(event.pointerId);
    }}
    onPointerMove=${(event) => dragged.current && at(event)}
    onPointerUp=${() => (dragged.current = false)}
    onPointerCancel=${() => (dragged.current = false)}>
    <circle class="handle-reach" cx=${x} cy=${y} r=${(radius * REACH_PX) / RING_PX} />
    <circle class="handle-ring" cx=${x} cy=${y} r=${radius} />
    <text class="handle-number" x=${x} y=${y} dy="0.35em" font-size=${radius * 1.2}>${index + 1}</text>
  </g>`;
}

/** Each point as two numbers, in per cent. */
function Numbers({ points, onChange }) {
  const changed = (i, axis, text) => {
    const value = Number(String(text).replace(",", ".")) / 100;
    if (!Number.isFinite(value)) return;
    onChange(points.map((point, j) => (j === i ? (axis ? [point[0], value] : [value, point[1]]) : point)));
  };
  return html`<table class="points"><thead><tr><th scope="col">${t("region.number")}</th><th scope="col">${t("region.x")}</th><th scope="col">${t("region.y")}</th></tr></thead>
    <tbody>${points.map(
      (point, i) => html`<tr key=${i}><th scope="row">${i + 1}</th>
        ${[0, 1].map(
          (axis) => html`<td><input type="number" step="0.1" value=${percent(point[axis])} onChange=${(event) => changed(i, axis, event.target.value)}
            aria-label=${t(axis ? "region.y_of" : "region.x_of", { point: i + 1 })} /></td>`,
        )}</tr>`,
    )}</tbody></table>`;
}

/** points: the polygon, or null for the whole picture; onChange(points or null); src: address of a snapshot, "" for
 *  none; error: what the node says is wrong with it. */
export function RegionEditor({ label, points, onChange, src, error }) {
  const surface = useRef(null);
  const size = usePicture(src);
  const [chosen, setChosen] = useState(0);
  const id = useId();
  const polygon = points || [];
  const fault = points && faultOf(points);
  const radius = RING_PX * useScale(surface, size.width, Boolean(points));
  const change = (next, choose = chosen) => {
    setChosen(Math.max(0, Math.min(choose, next.length - 1)));
    onChange(next);
    const wrong = faultOf(next);
    if (wrong && next.length >= LEAST) say(t(...wrong));
  };
  const onMove = (index, x, y) => change(moved(polygon, index, inside(x), inside(y)), index);
  const onRemove = (index) => polygon.length > 1 && change(without(polygon, index), index);
  function onSurface(event) {
    if (!points || polygon.length >= MOST) return;
    const box = surface.current.getBoundingClientRect();
    const [next, at] = withPoint(polygon, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    change(next, at);
  }
  const path = polygon.map(([x, y]) => `${x * size.width},${y * size.height}`).join(" ");
  const wrong = fault ? t(...fault) : error;
  return html`<fieldset class="region" aria-describedby=${`${id}-how`}>
    <legend>${label}</legend>
    <div class="actions">
      <button type="button" class="button" aria-pressed=${points ? "false" : "true"} onClick=${() => onChange(null)}><span>${t("region.whole")}</span></button>
      <button type="button" class="button" aria-pressed=${points ? "true" : "false"} onClick=${() => points || change(START, 0)}><span>${t("region.part")}</span></button>
    </div>
    ${points &&
    html`<p class="field-hint" id=${`${id}-how`}>${t("region.how")}</p>
      <svg class="region-picture" ref=${surface} viewBox=${`0 0 ${size.width} ${size.height}`} onClick=${onSurface} role="group" aria-label=${label}>
        <rect class="region-ground" x="0" y="0" width=${size.width} height=${size.height} />
        ${src && html`<image href=${src} x="0" y="0" width=${size.width} height=${size.height} />`}
        <polygon class=${`region-shape ${wrong ? "is-bad" : ""}`} points=${path} />
        ${polygon.map(
          (point, i) => html`<${Handle} key=${i} index=${i} point=${point} size=${size} radius=${radius} chosen=${i === chosen}
            onChoose=${setChosen} onMove=${onMove} onRemove=${onRemove} surface=${surface} />`,
        )}
      </svg>
      ${!size.there && html`<p class="field-hint">${t("region.no_picture")}</p>`}
      <div class="actions">
        <${Button} reason=${polygon.length >= MOST ? t("region.too_many", { n: polygon.length, most: MOST }) : ""}
          onClick=${() => change(withPointAfter(polygon, chosen), chosen + 1)}>${t("region.add")}<//>
        <${Button} reason=${polygon.length <= LEAST ? t("region.least", { least: LEAST }) : ""} onClick=${() => onRemove(chosen)}>${t("region.remove", { point: chosen + 1 })}<//>
        <${Button} onClick=${() => change(START, 0)}>${t("region.anew")}<//>
      </div>
      <${Details} title=${t("region.numbers")}><${Numbers} points=${polygon} onChange=${(next) => change(next)} /><//>`}
    ${wrong && html`<${Note} kind="bad" title=${wrong} />`}
  </fieldset>`;
}
