# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker that writes pictures, without its process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from edgeagent.core.pictures import PictureQuota, picture_stem
from edgeagent.workers import picture_writer
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.tasks.pictures import ArchiveAccess, KeepPictures


class PaperChannel:
    """Says what it is to say, then nothing."""

    def __init__(self, *messages: Any) -> None:
        self._messages: Iterator[Any] = iter(messages)

    def receive(self, timeout_s: float) -> Any:
        return next(self._messages, None)

    def send(self, message: Any) -> None:
        pass


def test_a_folder_that_it_is_told_of_is_kept_within_its_quota(tmp_path: Path) -> None:
    """At once, and without a picture that is to be written."""
    now, old = time.time(), tmp_path / "images"
    old.mkdir()
    for age in (10, 100_000):
        (old / f"{picture_stem(now - age, age)}.jpg").write_bytes(b"picture")
    access = ArchiveAccess(tmp_path, PictureQuota(1 << 20, 3600.0, 100, 0))
    channel = PaperChannel(KeepPictures((access,), 0.0))
    picture_writer.serve(cast("WorkerChannel", channel), KeepPictures((), idle_s=-1.0))
    assert [path.stem[-3:] for path in old.iterdir()] == ["-10"]
