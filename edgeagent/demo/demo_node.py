# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's node, and the folder in which it keeps everything."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO

from edgeagent.cli.client import ask
from edgeagent.errors import UnavailableError
from edgeagent.testing import MODEL, PIPELINE, NodeRunner

SEED = 7
OPERATOR = "demo"
GOLDEN = "golden"
"""The folder of the golden pictures, within the demo's."""
_MIN_RECALL = 0.15
"""v1 is to serve too, which was never shown the tiny defects."""
_DROP = 0.8
"""So few golden pictures show no smaller drop of recall by themselves; a site has more of them."""
_MARKER = ".edgeagent-demo"


def take_folder(wanted: Path) -> tuple[Path, IO[str]]:
    """Make `wanted` an empty folder of the demo's own, or a temporary one where that can't be.

    A folder that the demo did not make, or in which another demo runs, is left alone. Returns the folder and the
    open file whose lock keeps others out.
    """
    try:
        folder = wanted
        lock = _lock(folder)
    except OSError:
        try:
            folder = Path(tempfile.mkdtemp(prefix="edgeagent-demo-"))
            lock = _lock(folder)
        except OSError as e:
            raise UnavailableError(f"folder {wanted}", f"can't be used, nor a temporary one: {e}") from e
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _MARKER:
            entry.unlink()
    return folder.resolve(), lock


def _lock(folder: Path) -> IO[str]:
    if folder.exists() and not (folder / _MARKER).is_file() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not the demo's own")
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / _MARKER).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise
    return lock


class DemoNode(NodeRunner):
    """The demo's node, on one live line. It is stopped as an operator stops it."""

    def __init__(self, folder: Path, *, fps: int, port: int | None, probation_s: float) -> None:
        """fps: of the line. port: of the API; None takes a free one. probation_s: how long a new version is watched,
        seconds."""
        super().__init__(
            folder,
            {
                "node": {"id": "demo"},
                "engine": {"device": "cpu", "threads": 1},
                # What is fastest is confirmed after the demo's end.
                "update": {
                    "probation": {"seconds": probation_s},
                    "settle_seconds": 3600,
                    "golden": {MODEL: str(folder / GOLDEN)},
                    "gates": {"golden": {"min_recall": _MIN_RECALL, "drop": _DROP}},
                },
                "api": {"port": port or 0},
            },
        )
        source = {"url": f"synthetic://conveyor?seed={SEED}&fps={fps}", "live": True}
        self.add_pipeline(PIPELINE, MODEL, source, max_mb=10_000)

    def __exit__(self, *exception: object) -> None:
        if self.process:
            self.stop()
        super().__exit__(*exception)

    def roll_back(self) -> tuple[float, float]:
        """What `edgeagent rollback` does. Returns when it was asked (Unix seconds) and how long the answer took
        (milliseconds). Raises EdgeAgentError."""
        asked = time.time()
        ask(self.url, f"/api/models/{MODEL}/rollback", None, {"by": OPERATOR})
        return asked, (time.time() - asked) * 1000
