# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run a function in a forked child that kills itself at its n-th line inside the store package.

For a driver process without threads: `python -m tests.support.killed fetch|publish FOLDER SEED POINTS`. After
each kill the driver checks what is left; it prints how many kills there were, and exits 1 at the first mistake.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from edgeagent import store as store_package
from edgeagent.errors import ConflictError
from edgeagent.store.cache import Cache
from edgeagent.store.fetch import fetch_version
from edgeagent.store.remote import RemoteStore
from tests.support.published import publish_bytes, some_bytes

WEIGHTS = some_bytes(300_000)
_PACKAGE = str(Path(store_package.__file__).parent)


def run_killed(function: Callable[[], object], at_line: int) -> bool:
    """Whether the function was killed; False if it ended before its `at_line`-th line."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return True
        if os.WEXITSTATUS(status):
            raise SystemExit(f"the child failed with {os.WEXITSTATUS(status)}")
        return False
    lines = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        if event == "line":
            lines += 1
            if lines == at_line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    try:
        sys.settrace(trace)
        function()
    except BaseException as e:  # noqa: BLE001 - the child's only way to tell
        sys.stderr.write(f"{type(e).__name__}: {e}\n")
        os._exit(1)
    os._exit(0)


def killed_fetches(folder: Path, kills: random.Random, points: int) -> int:
    """Kill fetches into one cache, each going on from what the one before left."""
    url = str(folder / "store")
    publish_bytes(url, "v1", WEIGHTS, folder)
    count = 0

    def fetch() -> None:
        fetch_version(RemoteStore(url), Cache(folder / "cache"), "yolo", "v1", lambda _: None)

    for _ in range(points):
        killed = run_killed(fetch, kills.randint(1, 360))
        count += killed
        cache = Cache(folder / "cache")
        cached = cache.lookup("yolo", "v1")
        if cached is None and not killed:
            raise SystemExit("a fetch that ended left no version")
        if cached is not None:
            cache.verify(cached)
            if cached.weights.read_bytes() != WEIGHTS:
                raise SystemExit("taken for whole, and isn't")
            cache.evict(0, protected=())
    return count


def killed_publishes(folder: Path, kills: random.Random, points: int) -> int:
    """Kill publishers, each in an empty store; then publish again, as the pipeline's next run does."""
    count = 0
    for point in range(points):
        url = str(folder / f"store{point}")
        killed = run_killed(partial(publish_bytes, url, "v1", WEIGHTS, folder), kills.randint(1, 240))
        count += killed
        visible = Path(url, "yolo/v1/manifest.json").exists()
        try:
            publish_bytes(url, "v1", WEIGHTS, folder)
            if visible or not killed:
                raise SystemExit("published twice")
        except ConflictError:
            if not visible:
                raise
        fetch_version(RemoteStore(url), Cache(folder / f"cache{point}"), "yolo", "v1", lambda _: None)
    return count


if __name__ == "__main__":
    what, where, seed, many = sys.argv[1:]
    run = {"fetch": killed_fetches, "publish": killed_publishes}[what]
    sys.stdout.write(f"{run(Path(where), random.Random(int(seed)), int(many))}\n")
