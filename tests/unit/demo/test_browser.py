# SPDX-License-Identifier: AGPL-3.0-or-later
"""When the demo opens a window, and in what."""

from __future__ import annotations

import threading
import webbrowser

import pytest

from edgeagent.demo import browser


@pytest.mark.parametrize(
    ("environ", "platform", "seen"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
        ({"DISPLAY": ":0", "CI": "true"}, "linux", False),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "10.0.0.2 50022 10.0.0.1 22"}, "linux", False),
        ({"SSH_TTY": "/dev/ttys001"}, "darwin", False),
    ],
)
def test_a_window_is_opened_where_it_is_seen(environ: dict[str, str], platform: str, seen: bool) -> None:
    """By who sits before the machine, not over the network, and not by a pipeline."""
    assert browser.has_screen(environ, platform) is seen


def test_a_browser_for_terminals_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take the terminal in which the demo tells its story."""
    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser("w3m"))
    assert browser.find_browser() is None
    firefox = webbrowser.BackgroundBrowser("firefox")
    monkeypatch.setattr(webbrowser, "get", lambda: firefox)
    assert browser.find_browser() is firefox


def test_without_a_browser_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python says so by an exception."""

    def get() -> webbrowser.BaseBrowser:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", get)
    assert browser.find_browser() is None


def test_nobody_waits_for_the_browser() -> None:
    """One that returns only when it is closed holds nothing up."""
    opened, closed = threading.Event(), threading.Event()

    class Slow(webbrowser.GenericBrowser):
        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
            opened.set()
            return closed.wait()

    browser.open_page(Slow("slow"), "http://127.0.0.1:1/")
    assert opened.wait(60)
    closed.set()
