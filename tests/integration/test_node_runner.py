# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node for tests, on a machine where it can't start, and gone when it should answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.errors import UnavailableError
from edgeagent.testing import NodeRunner


def test_a_node_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The end of its log is in the error, and no process stays."""
    with NodeRunner(tmp_path, {"engine": {"backend": "magic"}}) as node:
        with pytest.raises(UnavailableError, match=r"it ended with 2: .*engine\.backend"):
            node.start()
        assert node.process is not None
        assert node.process.poll() == 2


def test_a_node_that_is_gone_says_so(tmp_path: Path) -> None:
    """Not only that nobody listens there any more; and it can be started again."""
    with NodeRunner(tmp_path) as node:
        node.add_pipeline("line-1", "yolo", {"url": "synthetic://conveyor"})
        node.start()
        assert node.status()["pipelines"].keys() == {"line-1"}
        assert not node.is_ready()
        with pytest.raises(UnavailableError, match="404"):
            node.get("/nowhere")
        node.kill()
        with pytest.raises(UnavailableError, match="it ended with -9"):
            node.status()
        assert node.start().stop() == 0
