# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/reference/ is what tools/reference.py writes from the code as it is now."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_reference_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration, commands, HTTP (which OpenAPI can describe) and metrics."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    pages = importlib.import_module("reference").pages()
    old = [
        name for name, text in pages.items() if (ROOT / "docs/reference" / name).read_text("utf-8") != text
    ]
    assert not old, "out of date: make reference"
