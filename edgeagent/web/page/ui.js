// SPDX-License-Identifier: AGPL-3.0-or-later
// The pieces that every panel is made of.

import { Component, html, render, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ago, clock, kept, keep, phrase, t } from "./i18n.js";
import { nodeNow } from "./store.js";

export { Component, html, useEffect, useLayoutEffect, useRef, useState };
export { useMemo } from "./vendor/preact-htm.js";

// ---- symbols: a shape of its own for each state, so that no colour is needed to tell them apart

const SHAPES = {
  ok: ["M12 2a10 10 0 1 0 0 20a10 10 0 0 0 0-20z", "M7.5 12.5l3 3 6-6.5"],
  busy: ["", "M12 3a9 9 0 1 1-9 9"],
  wait: ["M12 2a10 10 0 1 0 0 20a10 10 0 0 0 0-20z", "M12 7v5.500l3.500 2"],
  info: ["M5 3h14a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2h-14a2 2 0 0 1-2-2v-14a2 2 0 0 1 2-2z", "M12 11v6M12 7v.01"],
  warn: ["M12 2.500L23 21.500H1z", "M12 9v6M12 18.200v.01"],
  bad: ["M8 2h8l6 6v8l-6 6h-8l-6-6v-8z", "M8.500 8.500l7 7M15.500 8.500l-7 7"],
  off: ["M12 2a10 10 0 1 0 0 20a10 10 0 0 0 0-20z", "M7.500 12h9"],
};
const LINES = {
  lines: "M4 8V5a1 1 0 0 1 1-1h3M16 4h3a1 1 0 0 1 1 1v3M20 16v3a1 1 0 0 1-1 1h-3M8 20H5a1 1 0 0 1-1-1v-3M8 12.500l3 3 5.500-6.500",
  alarms: "M6 17V11a6 6 0 0 1 12 0v6l1.500 2h-15zM10 21.500h4M12 3v2",
  cameras: "M4 7h3l2-3h6l2 3h3a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1zM12 9.500a3.500 3.500 0 1 0 0 7a3.500 3.500 0 0 0 0-7z",
  fleet: "M4 5h6v6H4zM14 5h6v6h-6zM4 15h6v5H4zM14 15h6v5h-6z",
  history: "M4 12a8 8 0 1 1 2.500 5.800M4 12l-2-2.500M4 12l2.500-2M12 7.500V12l3.500 2",
  up: "M12 20V5M5.500 11L12 4.500 18.500 11",
  back: "M9 6L4 11l5 5M4.500 11H15a5 5 0 0 1 0 10h-3",
  yes: "M4.500 13l5 5L20 6.500",
  no: "M6 6l12 12M18 6L6 18",
  sun: "M12 7.500a4.500 4.500 0 1 0 0 9a4.500 4.500 0 0 0 0-9zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.400 1.400M17.600 17.600L19 19M5 19l1.400-1.400M17.600 6.400L19 5",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z",
  auto: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  more: "M6 9.500l6 6 6-6",
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4",
  play: "M7 4.500v15l12-7.500z",
};

/** A picture of a state (ok, busy, wait, info, warn, bad, off) or of a thing. Beside words, so hidden from readers. */
export function Icon({ name, size = 24 }) {
  const shape = SHAPES[name];
  const attributes = { width: size, height: size, viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" };
  if (!shape) {
    return html`<svg class="icon" ...${attributes}><path class="stroke" d=${LINES[name] || LINES.more} /></svg>`;
  }
  return html`<svg class=${`icon is-${name}`} ...${attributes}>
    ${shape[0] && html`<path class="fill" d=${shape[0]} />`}<path class="mark" d=${shape[1]} />
  </svg>`;
}

/** A state in words with its symbol. kind: ok, busy, wait, info, warn, bad, off. */
export function Badge({ kind = "info", children }) {
  return html`<span class=${`badge is-${kind}`}><${Icon} name=${kind} size=${20} /><span>${children}</span></span>`;
}

const LONG = 14; // characters of a version from which on it is written smaller
/** A version, as a name tag. */
export function Version({ name, quiet = false }) {
  const long = String(name || "").length > LONG ? " long" : "";
  return html`<span class=${`version${quiet ? " quiet" : ""}${long}`} dir="auto">${name || "–"}</span>`;
}

/** A surface with a heading. */
export function Card({ title, aside, level = 2, class: kind = "", children, id }) {
  const Heading = `h${level}`;
  return html`<section class=${`card ${kind}`} aria-labelledby=${title && id ? id : undefined}>
    ${title && html`<header class="card-head"><${Heading} id=${id}>${title}</${Heading}>${aside}</header>`}
    ${children}
  </section>`;
}

/** A sentence that explains, or warns, with its symbol. kind as of a Badge. */
export function Note({ kind = "info", title, children }) {
  return html`<div class=${`note is-${kind}`}>
    <${Icon} name=${kind} />
    <div>${title && html`<strong>${title}</strong>`}${children && html`<div class="note-text">${children}</div>`}</div>
  </div>`;
}

let ids = 0;
/** An id of its own for an element. */
export function useId() {
  const ref = useRef("");
  if (!ref.current) ref.current = `id${++ids}`;
  return ref.current;
}

/** A button. reason: why it can't be used now, in words that everybody sees; saidBy: the id of what says so for several
 *  at once; busy: it is at work. */
export function Button({ kind = "", icon, reason, saidBy, busy = false, onClick, children, ...rest }) {
  const id = useId();
  const off = Boolean(reason) || Boolean(saidBy) || busy;
  return html`<span class="button-box">
    <button
      type="button"
      class=${`button ${kind}`}
      aria-disabled=${off ? "true" : undefined}
      aria-describedby=${reason ? id : saidBy || undefined}
      aria-busy=${busy ? "true" : undefined}
      onClick=${(event) => (off ? event.preventDefault() : onClick && onClick(event))}
      ...${rest}
    >
      ${icon && html`<${Icon} name=${busy ? "busy" : icon} />`}<span>${children}</span>
    </button>
    ${reason && html`<span class="reason" id=${id}>${reason}</span>`}
  </span>`;
}

/** A time of the node's (Unix seconds): how long ago, with the clock time beside. */
export function Time({ at, plain = false }) {
  if (typeof at !== "number" || !Number.isFinite(at)) return html`<span>–</span>`;
  const date = new Date(at * 1000);
  return html`<time datetime=${date.toISOString()} title=${date.toLocaleString()}>${plain ? clock(at) : ago(at, nodeNow())}</time>`;
}

/** Something to look at on demand. */
export function Details({ title, open = false, children }) {
  return html`<details class="details" open=${open}><summary><${Icon} name="more" /><span>${title}</span></summary>
    <div class="details-body">${children}</div></details>`;
}

/** A figure to read from two metres. */
export function Figure({ label, value, unit, kind = "", hint }) {
  return html`<div class=${`figure ${kind && `is-${kind}`}`}>
    <dt>${kind === "warn" || kind === "bad" ? html`<${Icon} name=${kind} size=${18} />` : null}${label}</dt>
    <dd><span class="value">${value}</span>${unit && html` <span class="unit">${unit}</span>`}${hint && html`<span class="hint">${hint}</span>`}</dd>
  </div>`;
}

/** A line of text, or several, with its label. */
export function Field({ label, hint, value, onInput, rows = 0, error, ...rest }) {
  const id = useId();
  const shared = {
    id,
    value,
    onInput: (event) => onInput(event.target.value),
    "aria-describedby": hint || error ? `${id}-hint` : undefined,
    "aria-invalid": error ? "true" : undefined,
    ...rest,
  };
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${rows ? html`<textarea rows=${rows} ...${shared}></textarea>` : html`<input type="text" ...${shared} />`}
    ${(hint || error) && html`<p id=${`${id}-hint`} class=${error ? "field-error" : "field-hint"}>${error || hint}</p>`}
  </div>`;
}

/** What the node says in its own words, beneath a sentence of this page's. */
export const Said = ({ why }) => (why ? html`<p class="quiet small" dir="auto">${why}</p>` : null);

/** An error: what its status means, and what the node says: what, why and what to do. */
export function Failure({ error }) {
  if (!error) return null;
  const why = error.why || error.message || String(error);
  const said = error.what ? `${error.what}: ${why}` : why;
  const title = phrase(`error.${error.status}`);
  return html`<div role="alert"><${Note} kind="bad" title=${title || said}>${title && html`<p dir="auto">${said}</p>`}${error.todo && html`<p dir="auto">${error.todo}</p>`}</${Note}></div>`;
}

// ---- dialogs

const FOCUSABLE = "button, [href], input, select, textarea, summary, [tabindex]:not([tabindex='-1'])";

/** A question over the page. Keeps the focus in itself; Escape and the button beside close it. */
export function Dialog({ title, onClose, children, wide = false }) {
  const box = useRef(null);
  const id = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    const app = document.getElementById("app");
    app.setAttribute("inert", "");
    app.setAttribute("aria-hidden", "true");
    const first = box.current.querySelector("[data-first]") || box.current;
    first.focus();
    return () => {
      app.removeAttribute("inert");
      app.removeAttribute("aria-hidden");
      if (before && before.focus) before.focus();
    };
  }, []);
  function onKeyDown(event) {
    if (event.key === "Escape") onClose();
    if (event.key !== "Tab") return;
    const stops = [...box.current.querySelectorAll(FOCUSABLE)].filter((el) => !el.disabled && el.offsetParent !== null);
    if (!stops.length) return;
    const edge = event.shiftKey ? stops[0] : stops[stops.length - 1];
    if (document.activeElement === edge || document.activeElement === box.current) {
      event.preventDefault();
      (event.shiftKey ? stops[stops.length - 1] : stops[0]).focus();
    }
  }
  return html`<${Portal}><div class="backdrop" onKeyDown=${onKeyDown}>
    <div class=${`dialog ${wide ? "wide" : ""}`} role="dialog" aria-modal="true" aria-labelledby=${id} tabindex="-1" ref=${box}>
      <header class="card-head"><h2 id=${id}>${title}</h2>
        <button type="button" class="button icon-only quiet" aria-label=${t("dialog.close")} onClick=${onClose}><${Icon} name="no" /></button>
      </header>
      ${children}
    </div>
  </div></${Portal}>`;
}

/** Children in the overlay instead of here, so that the page beneath can be made inert. */
function Portal({ children }) {
  const host = useRef(null);
  if (!host.current) host.current = document.createElement("div");
  useLayoutEffect(() => {
    document.getElementById("overlay").appendChild(host.current);
    return () => {
      render(null, host.current);
      host.current.remove();
    };
  }, []);
  useLayoutEffect(() => render(html`<${Boundary}>${children}</${Boundary}>`, host.current));
  return null;
}

const NAME = "edgeagent.by";
/** The name under which things are asked for, kept on this device. */
export function useName() {
  const [name, setName] = useState(kept(NAME) || "");
  return [name, (value) => (keep(NAME, value), setName(value))];
}

/** Says in one sentence what will be done, and does it on a second press. act({by}): a promise; its error is shown. */
export function Confirm({ title, what, verb, icon, kind = "primary", reason, act, onClose, children, withName = true }) {
  const [by, setBy] = useName();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  async function go() {
    setBusy(true);
    setError(null);
    try {
      await act({ by: by.trim() });
      onClose();
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  }
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p class="what" aria-live="polite">${what}</p>
    ${children}
    ${withName && html`<${Field} label=${t("dialog.by")} hint=${t("dialog.by_hint")} value=${by} onInput=${setBy} maxlength="100" autocomplete="name" />`}
    <${Failure} error=${error} />
    <div class="dialog-actions">
      <button type="button" class="button" data-first onClick=${onClose}><span>${t("dialog.cancel")}</span></button>
      <${Button} kind=${kind} icon=${icon} reason=${error && error.status === 409 ? t("dialog.moved_on") : reason} busy=${busy} onClick=${go}>${verb}</${Button}>
    </div>
  </${Dialog}>`;
}

// ---- what must not happen

/** What fails beneath shows as words, and costs nothing else of the page. name: what failed, for the operator. */
export class Boundary extends Component {
  constructor() {
    super();
    this.state = { error: null };
  }
  static getDerivedStateFromError(error) {
    return { error };
  }
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error });
  }
  componentWillReceiveProps(next) {
    if (this.state.error && next.again !== this.props.again) this.setState({ error: null });
  }
  render() {
    if (!this.state.error) return this.props.children;
    const what = this.props.name || t("app.this_part");
    return html`<div role="alert"><${Note} kind="bad" title=${t("app.part_failed", { what })}>
      <p>${t("app.part_failed_todo")}</p><p class="mono">${String(this.state.error)}</p>
      <button type="button" class="button" onClick=${() => this.setState({ error: null })}><span>${t("app.try_again")}</span></button>
    </${Note}></div>`;
  }
}

// ---- said aloud

/** Say something to whoever uses a screen reader. at once: it interrupts. */
export function say(text, atOnce = false) {
  const box = document.getElementById(atOnce ? "said-at-once" : "said-politely");
  box.textContent = "";
  setTimeout(() => (box.textContent = text), 50);
}
