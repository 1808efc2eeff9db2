# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures on which two versions of a model differ, as they lie on the disk: which there are, and what is in them.

A thread reads them, one at a time: a disk that hangs holds that one, and whoever asks meanwhile hears of it.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import os
import stat
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from edgeagent.core.model import is_name
from edgeagent.core.pictures import Picture, read_picture
from edgeagent.core.text import cut
from edgeagent.errors import NotFoundError, UnavailableError
from edgeagent.status.part import StatusPart
from edgeagent.workers.jpeg import read_comment
from edgeagent.workers.picture_archive import DRAWN, IMAGES

T = TypeVar("T")
READ_S = 10.0
_MAX_PICTURE_BYTES = 64 << 20
_BETWEEN = "~"  # a version and the rest of an id; no name has it


class DifferenceSummary(StatusPart):
    """Objects that only the version before found, that only the new one found, that both found elsewhere, or under
    another name."""

    lost: int
    gained: int
    moved: int
    renamed: int


class Disagreement(StatusPart):
    """A frame on which two versions differ."""

    id: str
    version: str
    """The one that was tried."""
    against: str
    """Beside which; "" where the picture doesn't say."""
    pipeline: str
    time: float
    """When the frame was captured, Unix seconds."""
    summary: DifferenceSummary | None
    """null where the picture doesn't say"""
    picture: str
    """Where it is, with the boxes of both; relative to where the API begins"""


class DisagreementList(StatusPart):
    """Those of a model, newest first."""

    model: str
    pictures: list[Disagreement]


class KeptDisagreements:
    """Those of a node, below `root`. To be used on the event loop.

    models: that the node has.
    """

    def __init__(self, root: Path, models: Container[str], read_s: float = READ_S) -> None:
        """read_s: how long the disk may take."""
        self._root, self._models, self._read_s = root, models, read_s
        self._at_work = asyncio.Lock()

    async def list(self, model: str, limit: int) -> DisagreementList:
        """The newest `limit`. Raises NotFoundError for a model that isn't here, and UnavailableError."""
        folder = self._folder(model)
        return DisagreementList(model=model, pictures=await self._read(lambda: newest(folder, model, limit)))

    async def picture(self, model: str, picture_id: str, boxes: bool) -> bytes:
        """A JPEG; boxes: with those of both versions. Raises NotFoundError, also for one that is gone by now, and
        UnavailableError."""
        what = f"picture {cut(picture_id, 300)!r}"
        folder = self._folder(model)
        if (path := path_of(picture_id, boxes)) is None:
            raise NotFoundError(what, "no picture has such an id", f"see /api/models/{model}/disagreements")
        try:
            return await self._read(lambda: _read_file(folder / path))
        except FileNotFoundError as e:
            raise NotFoundError(what, "it isn't kept any more") from e

    def _folder(self, model: str) -> Path:
        if not is_name(model) or model not in self._models:
            raise NotFoundError(f"model {cut(model, 128)}", "no pipeline on this node uses it")
        return self._root / model

    async def _read(self, work: Callable[[], T]) -> T:
        """What `work` returns, in a thread, when nobody else's work is done there. A thread that the disk holds keeps
        the others out: each would be held, too."""
        try:
            async with asyncio.timeout(self._read_s):
                await self._at_work.acquire()
                reading = asyncio.ensure_future(asyncio.to_thread(work))
                reading.add_done_callback(self._done)
                return await asyncio.shield(reading)
        except TimeoutError as e:
            why = f"the disk of node.state_dir gave no answer within {self._read_s:g} s"
            raise UnavailableError("pictures of disagreements", why) from e
        except FileNotFoundError:
            raise
        except OSError as e:
            raise UnavailableError("pictures of disagreements", str(e)) from e

    def _done(self, reading: asyncio.Future[T]) -> None:
        self._at_work.release()
        if not reading.cancelled():
            reading.exception()  # whoever asked may have gone


def newest(folder: Path, model: str, limit: int) -> list[Disagreement]:
    """Those in a model's folder, the last `limit` by time. Raises OSError."""
    found = heapq.nlargest(limit, _pictures(folder), key=lambda pair: (pair[1].ts, pair[1].seq))
    return [_disagreement(folder, model, version, picture) for version, picture in found]


def path_of(picture_id: str, boxes: bool) -> str | None:
    """Where a picture is, within its model's folder; None for what is no id. No id leads elsewhere: each part is a
    name."""
    version, sign, stem = picture_id.partition(_BETWEEN)
    picture = read_picture(f"{stem}.jpg", 0)
    if not sign or picture is None or not is_name(version) or not is_name(picture.pipeline) or "/" in stem:
        return None
    return f"{version}/{DRAWN if boxes else IMAGES}/{stem}.jpg"


def _pictures(folder: Path) -> Iterator[tuple[str, Picture]]:
    """Versions and pictures."""
    with suppress(FileNotFoundError), os.scandir(folder) as versions:
        for version in versions:
            with suppress(FileNotFoundError, NotADirectoryError):
                for name in os.listdir(Path(version.path, IMAGES)):
                    if path_of(f"{version.name}{_BETWEEN}{name.removesuffix('.jpg')}", boxes=True) and (
                        picture := read_picture(name, 0)
                    ):
                        yield version.name, picture


def _disagreement(folder: Path, model: str, version: str, picture: Picture) -> Disagreement:
    stem = picture.path.removesuffix(".jpg")
    against, summary = _about(folder / version / DRAWN / picture.path)
    picture_id = f"{version}{_BETWEEN}{stem}"
    return Disagreement(
        id=picture_id,
        version=version,
        against=against,
        pipeline=picture.pipeline,
        time=picture.ts,
        summary=summary,
        picture=f"api/models/{model}/disagreements/{picture_id}.jpg",
    )


def _about(path: Path) -> tuple[str, DifferenceSummary | None]:
    """What a drawn picture says of itself; whoever can write there can write anything."""
    try:
        doc = json.loads(read_comment(path))
        against = doc["against"]
        return (against if is_name(against) else "", DifferenceSummary.model_validate(doc))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", None


def _read_file(path: Path) -> bytes:
    """Raises OSError, also for a link and for what is no file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MAX_PICTURE_BYTES:
            raise FileNotFoundError(str(path))
        return file.read()
