# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page of a real node in a real browser, once through: the rest is in the other files, marked `soak`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeagent.testing import wait_for
from tests.support.browser import serious_axe_faults
from tests.support.page_line import PageLine


def test_frames_are_seen_and_a_version_is_promoted_and_swapped_in(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    """A person opens the page, sees the line, promotes v2 and sees it serve, without a frame lost."""
    from playwright.sync_api import expect

    with PageLine(tmp_path / "node") as node:
        node.publish_finding("v1")
        node.publish_finding("v2", cls=1)
        node.promote("v1")
        node.start("v1")
        page = open_page(node.url)
        line = page.get_by_role("article", name="Line line-1")
        expect(line.get_by_text("Running")).to_be_visible()
        expect(line.locator("figure img.unshown")).to_have_count(0)
        picture = line.locator("figure img")
        wait_for(lambda: picture.evaluate("image => image.naturalWidth") >= 320, "a picture of the line")
        model = page.get_by_role("complementary", name="Model yolo")
        expect(model.locator(".serving-version").first).to_contain_text("v1")
        assert serious_axe_faults(page) == []

        model.get_by_role("button", name="Promote a version").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("radio", name=re.compile("v2")).check()
        expect(dialog.locator(".what")).to_contain_text("v2 is fetched, checked and swapped in")
        dialog.get_by_label("Your name").fill("Ada <b>")
        assert serious_axe_faults(page) == []
        dialog.get_by_role("button", name="Promote v2").click()
        expect(dialog).to_have_count(0)
        expect(model.locator(".serving-version").first).to_contain_text("v2")
        expect(line.locator(".serves")).to_contain_text("v2")
        node.wait_served("v2")
        assert node.wait_history("swapped", "v2")["who"].startswith("Ada <b>")
        node.look_at_log()
