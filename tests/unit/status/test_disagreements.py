# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of disagreements as the API shows them: which, in what order, and that no id leads elsewhere."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from edgeagent.core.pictures import picture_stem
from edgeagent.errors import NotFoundError, UnavailableError
from edgeagent.status.disagreements import KeptDisagreements, newest, path_of
from edgeagent.workers.jpeg import with_comment

JPEG = b"\xff\xd8\xff\xd9"
ABOUT = json.dumps({"against": "v1", "lost": 2, "gained": 0, "moved": 1, "renamed": 0})


def keep(root: Path, version: str, ts: float, about: str | None = ABOUT) -> str:
    """A picture of this version; its name without suffix."""
    stem = picture_stem(ts, 7, "line-1", 3)
    for kind in ("images", "drawn"):
        folder = root / "yolo" / version / kind
        folder.mkdir(parents=True, exist_ok=True)
        drawn = with_comment(JPEG, about) if about and kind == "drawn" else JPEG
        (folder / f"{stem}.jpg").write_bytes(drawn)
    return stem


def test_the_newest_come_first_over_all_versions(tmp_path: Path) -> None:
    """With what each says of itself; as many as are asked for."""
    for version, ts in (("v2", 1000.0), ("v3", 3000.0), ("v2", 2000.0)):
        keep(tmp_path, version, ts)
    (tmp_path / "yolo" / "v2" / "images" / "notes.txt").write_text("")
    (tmp_path / "yolo" / "data.yaml").write_text("")
    found = newest(tmp_path / "yolo", "yolo", 2)
    assert [(d.version, d.time) for d in found] == [("v3", 3000.0), ("v2", 2000.0)]
    first = found[0]
    assert (first.against, first.pipeline) == ("v1", "line-1")
    assert first.summary is not None
    assert (first.summary.lost, first.summary.moved) == (2, 1)
    assert first.picture == f"api/models/yolo/disagreements/{first.id}.jpg"
    assert newest(tmp_path / "other", "other", 2) == []


@pytest.mark.parametrize("about", [None, "", "no json", '{"against": "../v1"}', '["against"]', "{}"])
def test_one_that_says_nothing_of_itself_is_shown_all_the_same(tmp_path: Path, about: str | None) -> None:
    """Such as one of an earlier release, or one that somebody wrote."""
    keep(tmp_path, "v2", 1000.0, about)
    (found,) = newest(tmp_path / "yolo", "yolo", 2)
    assert (found.against, found.summary) == ("", None)


@pytest.mark.parametrize(
    "picture",
    [
        "",
        "..",
        "v2",
        "~",
        "../v2~20261128T233405.123Z-7-line-1-d3",
        "v2~../images/20261128T233405.123Z-7-line-1-d3",
        "v2~20261128T233405.123Z-7-../../x-d3",
        "v2~20261128T233405.123Z-7",
        "v2~20261128T233405.123Z-7-line-1-d3/../x",
        "v2~20261128T233405.123Z-7-line-1-d3\n",
        "/v2~20261128T233405.123Z-7-line-1-d3",
    ],
)
def test_what_is_no_id_leads_nowhere(picture: str) -> None:
    """Each part of a path is a name."""
    assert path_of(picture, boxes=True) is None


def test_a_picture_with_boxes_and_without(tmp_path: Path) -> None:
    """One that is gone, a link and an unknown model are not found."""
    stem = keep(tmp_path, "v2", 1000.0)
    drawn = tmp_path / "yolo" / "v2" / "drawn"
    linked = picture_stem(2000.0, 7, "line-1", 3)
    (drawn / f"{linked}.jpg").symlink_to("/etc/passwd")

    async def run() -> None:
        kept = KeptDisagreements(tmp_path, {"yolo"})
        assert await kept.picture("yolo", f"v2~{stem}", boxes=False) == JPEG
        assert await kept.picture("yolo", f"v2~{stem}", boxes=True) == with_comment(JPEG, ABOUT)
        for model, picture in (("yolo", f"v3~{stem}"), ("other", f"v2~{stem}"), ("..", "x")):
            with pytest.raises(NotFoundError):
                await kept.picture(model, picture, boxes=True)
        with pytest.raises(UnavailableError):
            await kept.picture("yolo", f"v2~{linked}", boxes=True)

    asyncio.run(run())


def test_a_disk_that_hangs_holds_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks meanwhile is told, and when it answers again all is well."""
    goes_on, begun = threading.Event(), []

    def hangs(*_args: object) -> list[object]:
        begun.append(1)
        goes_on.wait()
        return []

    monkeypatch.setattr("edgeagent.status.disagreements.newest", hangs)

    async def run() -> None:
        kept = KeptDisagreements(tmp_path, {"yolo"}, read_s=0.05)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                await kept.list("yolo", 10)
        assert len(begun) == 1
        goes_on.set()
        while kept._at_work.locked():
            await asyncio.sleep(0)
        assert (await kept.list("yolo", 10)).pictures == []

    asyncio.run(run())
