# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes between the node and the worker that makes pictures for those who look, beside rings and boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from edgeagent.core.text import FreeText


@dataclass(frozen=True)
class MakePreviews:
    """Make pictures until the node is gone, or nothing has been asked for `idle_s` seconds."""

    idle_s: float


@dataclass(frozen=True)
class PreviewForm:
    """A form in which a frame is shown. width: pixels, at most: no picture is enlarged; boxes: with what was found."""

    width: int
    boxes: bool


@dataclass(frozen=True)
class EncodePreview:
    """Make a JPEG of the frame in this slot of the ring that came before, in each form, and write one behind the other
    into the file that comes with this message. What was found came as Detected. Answer: PreviewEncoded, after which
    the frame isn't read any more.

    names: of the classes that were found, by number; version: that found them; ts: of the frame, Unix seconds;
    quality: of JPEG, 1 to 100.
    """

    ticket: int
    slot: int
    height: int
    width: int
    pipeline: str
    version: str
    ts: float
    names: Mapping[str, str]
    forms: tuple[PreviewForm, ...]
    quality: int


@dataclass(frozen=True)
class PreviewEncoded:
    """The pictures stand in the file. lengths: bytes of each, in the order of the forms; none when it failed, and
    why."""

    ticket: int
    lengths: tuple[int, ...]
    why: FreeText = ""


PreviewMessage = MakePreviews | EncodePreview | PreviewEncoded
MESSAGES: tuple[type[PreviewMessage], ...] = get_args(PreviewMessage)
