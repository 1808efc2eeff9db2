# SPDX-License-Identifier: AGPL-3.0-or-later
"""The handle on a worker, with real processes."""

from __future__ import annotations

import asyncio
import os

import psutil  # type: ignore[import-untyped]
import pytest

from edgeagent.workers.process import WorkerProcess

MODULE = "edgeagent.workers.capture"


def test_a_worker_that_cannot_be_told_its_settings_leaves_nothing_behind() -> None:
    """Settings that fit no message: the process, its pipes and their readers are gone again."""

    async def run() -> None:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ValueError, match="limit"):
            WorkerProcess("capture", MODULE, {"url": "x" * (1 << 20)}, lambda message: None, lambda how: None)
        assert len(os.listdir("/proc/self/fd")) == before
        assert not [p for p in psutil.Process().children() if MODULE in " ".join(p.cmdline())]

    asyncio.run(run())
