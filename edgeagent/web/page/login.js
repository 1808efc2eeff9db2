// SPDX-License-Identifier: AGPL-3.0-or-later
// The login form: in the reader's language, with the node's reason when it refuses, and back to where one was.
// Without this script the form works, too: it is sent as it is, and comes back with #wrong.

import { address } from "./api.js";
import { loadLanguage, t } from "./i18n.js";
import { applyTheme } from "./theme.js";

const form = document.getElementById("form");
const field = document.getElementById("token");
const said = document.getElementById("wrong");

function show(text) {
  said.classList.add("is-shown");
  said.firstElementChild.textContent = text;
  field.setAttribute("aria-invalid", "true");
  field.focus();
  field.select();
}

/** What the answer says against it; a proxy's answer may be no JSON. */
async function reason(response) {
  if (response.status === 401) return t("login.wrong_token");
  try {
    const { error } = await response.json();
    return [error.why, error.todo].filter(Boolean).join(": ");
  } catch (e) {
    return t("api.odd_answer", { status: response.status });
  }
}

async function send(event) {
  event.preventDefault();
  form.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(address("login"), {
      method: "POST",
      credentials: "same-origin",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token: field.value }),
    });
    if (!response.ok) return show(await reason(response));
    const back = location.hash.startsWith("#/") ? location.hash : "";
    return location.replace(address("./") + back);
  } catch (e) {
    return show(t("login.no_answer"));
  } finally {
    form.removeAttribute("aria-busy");
  }
}

async function begin() {
  applyTheme();
  form.addEventListener("submit", send);
  await loadLanguage();
  document.title = t("login.title");
  document.querySelectorAll("[data-text]").forEach((element) => (element.textContent = t(element.dataset.text)));
  if (navigator.cookieEnabled === false) show(t("login.no_cookies"));
}

begin().catch((error) => console.error(error));
