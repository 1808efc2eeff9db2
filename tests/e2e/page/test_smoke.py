# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page of a real node in a real browser, once through: the rest is in the other files, marked `soak`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.browser import serious_axe_faults
from tests.support.page_line import PageLine


def test_page_loads(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    """It answers, without a fault in its scripts or one that axe calls serious."""
    with PageLine(tmp_path / "node") as node:
        node.publish_finding("v1")
        node.promote("v1")
        node.start("v1")
        page = open_page(node.url)
        assert "edgeagent" in page.title()
        assert serious_axe_faults(page) == []
