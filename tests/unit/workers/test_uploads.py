# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which files of a folder are pictures to be looked at: each once, and none that is half written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeagent.workers.source import SourceError
from edgeagent.workers.tasks.capture import TakenPictures
from edgeagent.workers.uploads import PATIENCE_S, QUIET_S, Upload, UploadFolder, Uploads


def upload(name: str, changed: int = 1, size: int = 100, inode: int | None = None) -> Upload:
    """A file that was written when it was changed."""
    return Upload(name, inode or hash(name), size, changed, changed)


def whole(file: Upload) -> bool:
    """Its end is there."""
    return True


def names(found: list[Upload]) -> list[str]:
    """Of what is to be taken."""
    return [file.name for file in found]


def test_a_file_is_taken_once_it_is_quiet() -> None:
    """Seen, seen again unchanged, taken; and never again."""
    uploads, files = Uploads(), [upload("a.jpg")]
    assert uploads.found(files, 0.0, whole) == []
    assert uploads.found(files, QUIET_S - 0.1, whole) == []
    assert names(uploads.found(files, QUIET_S, whole)) == ["a.jpg"]
    assert uploads.found(files, 100.0, whole) == []


def test_a_file_that_grows_waits() -> None:
    """As long as it does."""
    uploads = Uploads()
    for second in range(20):
        assert uploads.found([upload("a.jpg", second, 100 * second)], second, whole) == []
    last = [upload("a.jpg", 19, 1900)]
    assert names(uploads.found(last, 19 + QUIET_S, whole)) == ["a.jpg"]


def test_a_file_whose_end_is_missing_waits_longer() -> None:
    """An upload that stands still; in the end it is taken, and told to be broken."""
    uploads, files = Uploads(), [upload("a.jpg")]
    assert uploads.found(files, 0.0, lambda file: False) == []
    assert uploads.found(files, PATIENCE_S - 1, lambda file: False) == []
    assert names(uploads.found(files, PATIENCE_S, lambda file: False)) == ["a.jpg"]


def test_files_come_in_the_order_in_which_they_were_finished() -> None:
    """And those of one moment in the order of their names, 2 before 10."""
    uploads = Uploads()
    files = [upload("10.jpg", 5), upload("2.jpg", 5), upload("z.jpg", 1)]
    uploads.found(files, 0.0, whole)
    assert names(uploads.found(files, QUIET_S, whole)) == ["z.jpg", "2.jpg", "10.jpg"]


def test_what_is_written_again_is_another_picture_and_what_is_renamed_is_not() -> None:
    """A camera that always writes the same file; a script that marks what it has seen."""
    uploads = Uploads()
    first = [upload("a.jpg", 1, inode=7)]
    uploads.found(first, 0.0, whole)
    assert names(uploads.found(first, 2.0, whole)) == ["a.jpg"]
    renamed = [Upload("done a.jpg", 7, 100, 1, 3)]
    assert [uploads.found(renamed, now, whole) for now in (4.0, 9.0)] == [[], []]
    again = [upload("a.jpg", 10, inode=7)]
    uploads.found(again, 10.0, whole)
    assert names(uploads.found(again, 12.0, whole)) == ["a.jpg"]


def test_what_was_taken_before_a_restart_is_not_taken_again() -> None:
    """The next worker goes on with the others, also of the same moment or an older one, and whatever was deleted."""
    files = [upload(f"{n}.jpg", n // 4) for n in range(12)]
    uploads = Uploads(
        TakenPictures(1, tuple(file.content for file in files if file.name in ("5.jpg", "8.jpg")))
    )
    uploads.found(files, 0.0, whole)
    assert names(uploads.found(files[2:], QUIET_S, whole)) == [f"{n}.jpg" for n in (4, 6, 7, 9, 10, 11)]


def test_a_share_that_is_not_mounted_for_a_while_brings_nothing_again() -> None:
    """An empty folder stands in its place."""
    uploads, files = Uploads(), [upload("a.jpg")]
    uploads.found(files, 0.0, whole)
    assert names(uploads.found(files, 2.0, whole)) == ["a.jpg"]
    assert [uploads.found(there, now, whole) for there, now in (([], 3.0), (files, 4.0), (files, 9.0))] == [
        []
    ] * 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time of the monotonic clock, to be set."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    yield now
    monkeypatch.undo()


def drain(folder: UploadFolder, clock: list[float], count: int) -> int:
    """Look at so many pictures at most. Returns how many there were."""
    taken = 0
    for _ in range(8):
        while taken < count and folder.grab():
            folder.retrieve(None)
            taken += 1
        clock[0] += QUIET_S
    return taken


def test_a_folder_that_goes_away_and_comes_back_brings_the_rest(tmp_path: Path, clock: list[float]) -> None:
    """Renamed after two of five pictures: gone, and when it is back the three others, each once."""
    there, away = tmp_path / "parts", tmp_path / "away"
    there.mkdir()
    for n in range(5):
        cv2.imwrite(str(there / f"{n}.png"), np.zeros((8, 8, 3), np.uint8))
    uploads = Uploads()
    assert drain(UploadFolder(there, uploads), clock, 0) == 0
    folder = UploadFolder(there, uploads)
    assert drain(folder, clock, 2) == 2
    os.rename(there, away)
    with pytest.raises(SourceError, match="gone"):
        folder.grab()
    with pytest.raises(SourceError):
        UploadFolder(there, uploads)
    os.rename(away, there)
    assert drain(UploadFolder(there, uploads), clock, 9) == 3
    assert drain(UploadFolder(there, uploads), clock, 9) == 0
