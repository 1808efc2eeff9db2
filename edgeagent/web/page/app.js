// SPDX-License-Identifier: AGPL-3.0-or-later
// The shell: header, navigation, the panel of the address (#/alarms), what is said aloud. Panels are modules of their
// own, loaded when they are first looked at: one that fails shows as words and leaves the rest as it is.

import { render } from "./vendor/preact-htm.js";
import { Boundary, Icon, html, say, useEffect, useLayoutEffect, useRef, useState } from "./ui.js";
import { AlarmBanner } from "./alarm_words.js";
import { Header } from "./header.js";
import { Toasts } from "./toasts.js";
import { loadLanguage, t } from "./i18n.js";
import { getState, set, start, subscribe } from "./store.js";
import { applyTheme } from "./theme.js";

/** Route → [text of the tab, icon, module]. A tab whose `shown` is false isn't there. */
const PANELS = {
  "": { title: "nav.lines", icon: "lines", load: () => import("./panels/lines.js") },
  alarms: { title: "nav.alarms", icon: "alarms", load: () => import("./panels/alarms.js") },
  cameras: { title: "nav.cameras", icon: "cameras", load: () => import("./panels/cameras.js") },
  fleet: { title: "nav.fleet", icon: "fleet", load: () => import("./panels/fleet.js") },
  history: { title: "nav.history", icon: "history", load: () => import("./panels/history.js") },
  pictures: { title: "nav.pictures", icon: "photo", load: () => import("./panels/pictures.js"), tab: false },
};

/** `#/alarms/17` → {name: "alarms", arg: "17"} */
function route() {
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  let arg = rest.join("/");
  try {
    arg = decodeURIComponent(arg);
  } catch (e) {
    // A link that was cut: it is shown as it is.
  }
  return { name: PANELS[name] ? name : "", arg };
}

function useStore() {
  const [state, setState] = useState(getState());
  useLayoutEffect(() => subscribe(setState), []);
  return state;
}

/** A panel, once its module is there. */
function Panel({ name, state }) {
  const [loaded, setLoaded] = useState({});
  const { load, title } = PANELS[name];
  useEffect(() => {
    let current = true;
    if (loaded.name === name && !loaded.error) return undefined;
    load().then(
      (module) => current && setLoaded({ name, component: module.default }),
      (error) => current && setLoaded({ name, error }),
    );
    return () => (current = false);
  }, [name, loaded.attempt]);
  if (loaded.name !== name) return html`<p class="quiet pad">${t("app.loading")}</p>`;
  const Shown = loaded.error
    ? () => {
        throw loaded.error;
      }
    : loaded.component;
  return html`<${Boundary} key=${name} name=${t(title)} again=${state.status}><${Shown} state=${state} /><//>`;
}

function Navigation({ current, state }) {
  const raised = ((state.alarms && state.alarms.alarms) || []).filter((alarm) => alarm.state === "raised").length;
  return html`<nav class="tabs" aria-label=${t("nav.label")}>
    ${Object.entries(PANELS)
      .filter(([, panel]) => panel.tab !== false)
      .map(
        ([name, panel]) => html`<a href=${`#/${name}`} class="tab" aria-current=${current === name ? "page" : undefined}>
          <${Icon} name=${panel.icon} /><span>${t(panel.title)}</span>
          ${name === "alarms" && raised > 0 && html`<span class="count" aria-hidden="true">${raised}</span><span class="unseen">${t("nav.raised", { n: raised })}</span>`}
        </a>`,
      )}
  </nav>`;
}

/** Without an answer for long, or with one in another way than usual: says so over everything else. */
function Connection({ state }) {
  const { link, linkError } = state;
  if (link === "lost") {
    return html`<div class="banner is-bad" role="status"><${Icon} name="bad" />
      <p><strong>${t("link.lost")}</strong> ${linkError && linkError.why && html`<span>${linkError.why}.</span>`} ${t("link.lost_todo")}</p></div>`;
  }
  if (link === "polling") {
    return html`<div class="banner is-warn" role="status"><${Icon} name="warn" /><p>${t("link.polling")}</p></div>`;
  }
  return null;
}

function App() {
  const state = useStore();
  const main = useRef(null);
  const shown = useRef(null);
  const { name } = state.route;
  useEffect(() => {
    document.title = [t(PANELS[name].title), state.status && state.status.node, "edgeagent"].filter(Boolean).join(" · ");
    if (shown.current !== null && shown.current !== name) {
      main.current.focus();
      window.scrollTo(0, 0);
    }
    shown.current = name;
  }, [name, state.status && state.status.node]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>${t("app.skip")}</a>
    <${Boundary} name=${t("app.header")} again=${state.status}><${Header} state=${state} /><//>
    <${Navigation} current=${name} state=${state} />
    <${Connection} state=${state} />
    ${name !== "alarms" && html`<${Boundary} name=${t("nav.alarms")} again=${state.alarms}><${AlarmBanner} state=${state} /><//>`}
    <main id="main" tabindex="-1" ref=${main} class=${state.link === "lost" ? "is-old" : ""}>
      <${Panel} name=${name} state=${state} />
    </main>
    <${Boundary} name=${t("app.messages")} again=${state.status}><${Toasts} /><//>
  `;
}

/** Draw everything anew, in another language. */
export function redraw() {
  render(html`<${App} key=${Date.now()} />`, document.getElementById("app"));
}

async function begin() {
  applyTheme();
  await loadLanguage();
  set({ route: route() });
  window.addEventListener("hashchange", () => set({ route: route() }));
  window.addEventListener("language", redraw);
  document.getElementById("app").textContent = "";
  redraw();
  start();
}

begin().catch((error) => {
  console.error(error);
  document.getElementById("app").textContent = `edgeagent: ${error}`;
  say(String(error), true);
});
