# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tests that are coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path


def on_loop(test: Callable[[Path], Coroutine[None, None, None]]) -> Callable[[Path], None]:
    """Run a test as a coroutine, with a folder of its own."""

    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run
