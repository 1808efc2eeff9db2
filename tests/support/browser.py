# SPDX-License-Identifier: AGPL-3.0-or-later
"""Headless Chromium for the tests of the page, and what is looked at on each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench import browser
from bench.browser import DESKTOP as DESKTOP

PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 120_000
"""How long something on the page is waited for; it bounds a hang."""
SERIOUS = ("serious", "critical")


@contextmanager
def headless_chromium() -> Iterator[Any]:
    """As `bench.browser` has it. Skips the test where there is none."""
    if browser.find_chromium() is None:
        pytest.skip("no Chromium on this machine: `make browser` installs it")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is in the extra `dev`")
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with browser.headless_chromium() as made:
        yield made


class Faults:
    """What goes wrong on a page unseen: exceptions in its scripts, errors on its console."""

    def __init__(self, page: Any) -> None:
        """page: playwright.sync_api.Page."""
        self.seen: list[str] = []
        page.on("pageerror", lambda error: self.seen.append(f"exception: {error}"))
        page.on("console", self._on_console)

    def _on_console(self, message: Any) -> None:
        # What couldn't be fetched (a node that is away, a 409) is for the page to say, and no fault of it.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.seen.append(f"console: {message.text} at {message.location}")


def serious_axe_faults(page: Any) -> list[str]:
    """What axe calls serious or critical on the page as it is, a line for each: the rule, and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is in the extra `dev`")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {fault['help']}: {node['target']} {node['html'][:200]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]
