// SPDX-License-Identifier: AGPL-3.0-or-later
// The top of the page: which node this is, how it is in one line, and what the person in front of it may set.

import { Icon, html, useEffect, useState } from "./ui.js";
import { LANGUAGES, chooseLanguage, clock, currentLanguage, t } from "./i18n.js";
import { nodeNow } from "./store.js";
import { currentTheme, nextTheme } from "./theme.js";
import { verdict } from "./verdict.js";

/** The node's own time: where it differs from the tablet's, the node's is what its records have. */
function Clock() {
  const [now, setNow] = useState(nodeNow());
  useEffect(() => {
    const timer = setInterval(() => setNow(nodeNow()), 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<span class="clock" title=${t("header.node_time")}>${clock(now, false)}</span>`;
}

function ThemeSwitch() {
  const [theme, setTheme] = useState(currentTheme());
  const label = t("header.theme", { theme: t(`theme.${theme}`) });
  const icon = { auto: "auto", light: "sun", dark: "moon" }[theme];
  return html`<button type="button" class="button icon-only quiet" aria-label=${label} title=${label} onClick=${() => setTheme(nextTheme())}>
    <${Icon} name=${icon} /></button>`;
}

function LanguageSwitch() {
  async function choose(event) {
    await chooseLanguage(event.target.value);
    window.dispatchEvent(new Event("language"));
  }
  return html`<select class="select" aria-label=${t("header.language")} value=${currentLanguage()} onChange=${choose}>
    ${Object.entries(LANGUAGES).map(([tag, name]) => html`<option value=${tag} lang=${tag}>${name}</option>`)}
  </select>`;
}

export function Header({ state }) {
  const { kind, text, more } = verdict(state);
  return html`<header class="top">
    <div class="brand"><img src="page/icon.svg" width="36" height="36" alt="edgeagent" />
      <div><h1 dir="auto">${(state.status && state.status.node) || "edgeagent"}</h1></div></div>
    <p class=${`verdict is-${kind}`}><${Icon} name=${kind} size=${28} /><span><strong>${text}</strong>${more && html`<span class="verdict-more">${more}</span>`}</span></p>
    <div class="tools"><${Clock} /><${LanguageSwitch} /><${ThemeSwitch} /></div>
  </header>`;
}
