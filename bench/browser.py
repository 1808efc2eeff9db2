# SPDX-License-Identifier: AGPL-3.0-or-later
"""Headless Chromium: the distribution's, driven by Playwright (the extra `dev`; `make browser` installs Chromium)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # it may run as root in a container, and opens only what we serve ourselves
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # a container's may be small
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",  # what moves makes screenshots differ
)
DESKTOP = {"width": 1440, "height": 900}


def find_chromium() -> str | None:
    """Where it is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def headless_chromium() -> Iterator[Any]:
    """A browser (playwright.sync_api.Browser), which is closed at the end. Raises ImportError, LookupError.

    Playwright keeps an event loop in this thread as long as it lives: leave this before anything that wants its own.
    """
    from playwright.sync_api import sync_playwright

    if (path := find_chromium()) is None:
        raise LookupError("no Chromium on this machine: `make browser` installs it")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
