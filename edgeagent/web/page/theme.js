// SPDX-License-Identifier: AGPL-3.0-or-later
// Light or dark: as the device says, or as it was chosen here.

import { keep, kept } from "./i18n.js";

const STORED = "edgeagent.theme";
export const THEMES = ["auto", "light", "dark"];
const BY_DEVICE = "(prefers-color-scheme: dark)";

export const currentTheme = () => (THEMES.includes(kept(STORED)) ? kept(STORED) : "auto");

/** Have dark.css count as the choice says. */
export function applyTheme(theme = currentTheme()) {
  document.getElementById("dark").media = { auto: BY_DEVICE, light: "not all", dark: "all" }[theme];
  document.documentElement.style.colorScheme = theme === "auto" ? "" : theme;
  window.dispatchEvent(new Event("theme"));
}

/** The next of the three, kept on this device. */
export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(currentTheme()) + 1) % THEMES.length];
  keep(STORED, next);
  applyTheme(next);
  return next;
}

/** Call `reader` when colours change. Returns what ends that. */
export function onTheme(reader) {
  const query = window.matchMedia(BY_DEVICE);
  window.addEventListener("theme", reader);
  if (query.addEventListener) query.addEventListener("change", reader);
  return () => {
    window.removeEventListener("theme", reader);
    if (query.removeEventListener) query.removeEventListener("change", reader);
  };
}
