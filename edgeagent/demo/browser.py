# SPDX-License-Identifier: AGPL-3.0-or-later
"""Shows the node's page to whoever runs the demo, where there is a browser to show it in."""

from __future__ import annotations

import sys
import threading
import webbrowser
from collections.abc import Mapping

_IN_THE_TERMINAL = {"www-browser", "links", "elinks", "lynx", "w3m"}
"""Browsers that would take the terminal away from the demo."""


def has_screen(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a window would be seen: there is a display, the user sits before it, and no CI does."""
    if environ.get("CI") or any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return False
    return platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def find_browser() -> webbrowser.BaseBrowser | None:
    """The browser of this machine, if it has one with windows. The variable BROWSER says which."""
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return None
    return None if getattr(found, "name", "") in _IN_THE_TERMINAL else found


def open_page(browser: webbrowser.BaseBrowser, url: str) -> None:
    """Without waiting: some browsers are slow to start, and some return only when they are closed."""
    threading.Thread(target=browser.open, args=(url,), daemon=True).start()
