// SPDX-License-Identifier: AGPL-3.0-or-later
// What just happened, at the lower edge and aloud: a swap, a refusal, an alarm, a node that is back.

import { Icon, html, say, useEffect, useState } from "./ui.js";
import { textOf, titleOf } from "./alarm_words.js";
import { t } from "./i18n.js";
import { listen } from "./store.js";
import { sentence } from "./records.js";

const SHOWN_MS = 12000;
const MOST = 3;
let ids = 0;
/** How often each alarm had come when it was told last: its text may change every second, and is no news. */
const told = new Map();
/** Alarms about what the history tells in the same instant, in one sentence. */
const TOLD_BY_HISTORY = ["version_refused", "version_rolled_back"];

/** An event of the store → {kind, text, atOnce}, or null where nothing is to be said. */
function message(kind, data) {
  if (kind === "swap") {
    const text = data.from_version ? "toast.swap" : "toast.first";
    return { kind: "ok", text: t(text, { model: data.model, from: data.from_version, to: data.to_version }) };
  }
  if (kind === "history" && ["rejected", "rolled_back", "drifted", "invalid", "lost"].includes(data.result)) {
    return { kind: "warn", text: sentence(data), atOnce: true };
  }
  if (kind === "alarm" && data.state === "raised" && data.active) {
    if (told.get(data.id) === data.count || TOLD_BY_HISTORY.includes(data.kind)) return null;
    told.set(data.id, data.count);
    return { kind: data.severity === "critical" ? "bad" : "warn", text: t("alarm.told", { title: titleOf(data), text: textOf(data) }), atOnce: true, href: "#/alarms" };
  }
  if (kind === "restarted") return { kind: "info", text: t("toast.restarted") };
  if (kind === "lost") return { kind: "bad", text: t("link.lost"), atOnce: true, onlySaid: true };
  if (kind === "back") return { kind: "ok", text: t("toast.back") };
  return null;
}

export function Toasts() {
  const [shown, setShown] = useState([]);
  const drop = (id) => setShown((now) => now.filter((toast) => toast.id !== id));
  useEffect(
    () =>
      listen((kind, data) => {
        const found = message(kind, data);
        if (!found) return;
        say(found.text, found.atOnce);
        if (found.onlySaid) return;
        const id = ++ids;
        setShown((now) => [...now.filter((toast) => toast.text !== found.text), { ...found, id }].slice(-MOST));
        setTimeout(() => drop(id), SHOWN_MS);
      }),
    [],
  );
  return html`<div class="toasts">
    ${shown.map(
      (toast) => html`<div key=${toast.id} class=${`toast is-${toast.kind}`}><${Icon} name=${toast.kind} />
        ${toast.href ? html`<a href=${toast.href}>${toast.text}</a>` : html`<p>${toast.text}</p>`}
        <button type="button" class="button icon-only quiet" aria-label=${t("toast.dismiss")} onClick=${() => drop(toast.id)}><${Icon} name="no" /></button>
      </div>`,
    )}
  </div>`;
}
