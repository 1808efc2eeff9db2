# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the node and its workers say to each other: small messages, one a datagram.

The frame path uses fixed structs, which stand here; tasks, reports and answers (`workers.tasks`) are JSON. Nothing is
ever unpickled. A message is encoded as one byte of kind, then its body.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from edgeagent.util.codec import from_json, to_json

if TYPE_CHECKING:  # each process imports those of its own kind, when the first comes
    from edgeagent.workers.tasks.capture import CaptureMessage
    from edgeagent.workers.tasks.clips import ClipMessage
    from edgeagent.workers.tasks.engine import EngineMessage
    from edgeagent.workers.tasks.pictures import PictureMessage
    from edgeagent.workers.tasks.prepare import PrepareMessage
    from edgeagent.workers.tasks.preview import PreviewMessage

    TaskMessage: TypeAlias = (
        CaptureMessage | ClipMessage | EngineMessage | PictureMessage | PrepareMessage | PreviewMessage
    )

MAX_MESSAGE_BYTES = 192 * 1024
"""Gates get two contracts, each with class names of up to 64 KiB (`MAX_NAMES_BYTES`), and the paths of a version."""


class Ring(NamedTuple):
    """Node → worker: map this ring; its memfd travels with the message. Sizes in bytes."""

    ring: int
    slots: int
    slot_bytes: int


class UnmapRing(NamedTuple):
    """Node → worker: unmap this ring; no later message names it."""

    ring: int


class Grant(NamedTuple):
    """Node → capture worker: you may write one frame into this slot."""

    ring: int
    slot: int


class Captured(NamedTuple):
    """Capture worker → node: a frame stands in the slot that was granted.

    position: index of the frame in its source, from 0; where to go on after a restart.
    skipped: frames taken from the source since the last message that had no slot, or couldn't be read.
    ts: Unix seconds, mono: monotonic seconds, both when the frame was captured.
    """

    ring: int
    slot: int
    position: int
    skipped: int
    width: int
    height: int
    ts: float
    mono: float


class Infer(NamedTuple):
    """Node → engine worker: detect on the frame in this slot; answer with the same ticket."""

    ticket: int
    ring: int
    slot: int
    width: int
    height: int
    confidence: float
    iou: float


class Detected(NamedTuple):
    """Engine worker → node: the detections of one frame; node → preview worker: to be drawn. Times in milliseconds.

    boxes: N × (x1, y1, x2, y2, confidence, class) as little-endian float32, pixels of the captured frame.
    """

    ticket: int
    pre_ms: float
    infer_ms: float
    post_ms: float
    boxes: bytes


class Heartbeat(NamedTuple):
    """Worker → node: my main loop turns, and there is nothing else to say. `turn` grows by one each time."""

    turn: int


FrameMessage = Ring | UnmapRing | Grant | Captured | Infer | Detected | Heartbeat
Message: TypeAlias = "FrameMessage | TaskMessage"

_FIXED: dict[int, tuple[type[Any], Struct]] = {
    1: (Ring, Struct("<III")),
    2: (UnmapRing, Struct("<I")),
    3: (Grant, Struct("<II")),
    4: (Captured, Struct("<IIQIIIdd")),
    5: (Infer, Struct("<QIIIIff")),
    6: (Heartbeat, Struct("<Q")),
}
_KIND_OF: dict[type[Any], tuple[int, Struct]] = {cls: (kind, fmt) for kind, (cls, fmt) in _FIXED.items()}
_DETECTED = 7
_NAMED = {
    8: "edgeagent.workers.tasks.capture",
    9: "edgeagent.workers.tasks.engine",
    10: "edgeagent.workers.tasks.prepare",
    11: "edgeagent.workers.tasks.pictures",
    12: "edgeagent.workers.tasks.preview",
    13: "edgeagent.workers.tasks.clips",
}
_KIND_OF_MODULE = {module: kind for kind, module in _NAMED.items()}
_DETECTED_HEAD = Struct("<Qfff")
BOX_STRUCT = Struct("<6f")


def encode(message: Message) -> bytes:
    """The datagram for `message`. Raises ValueError when it is larger than MAX_MESSAGE_BYTES, or has no JSON form."""
    kind_of = type(message)
    if isinstance(message, Detected):
        data = bytes((_DETECTED,)) + _DETECTED_HEAD.pack(*message[:4]) + message.boxes
    elif kind_of in _KIND_OF:
        kind, fmt = _KIND_OF[kind_of]
        data = bytes((kind,)) + fmt.pack(*cast("tuple[Any, ...]", message))
    else:
        body = json.dumps([kind_of.__name__, to_json(message)]).encode()
        data = bytes((_KIND_OF_MODULE[kind_of.__module__],)) + body
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {len(data)} bytes, the limit is {MAX_MESSAGE_BYTES}")
    return data


def decode(data: bytes) -> Message:
    """The message in a datagram. Raises ValueError for anything that `encode` doesn't make."""
    if not data:
        raise ValueError("empty message")
    kind, body = data[0], memoryview(data)[1:]
    try:
        if kind in _FIXED:
            cls, fmt = _FIXED[kind]
            message: Message = cls(*fmt.unpack(body))
            return message
        if kind == _DETECTED:
            boxes = bytes(body[_DETECTED_HEAD.size :])
            if len(boxes) % BOX_STRUCT.size:
                raise ValueError("boxes cut short")
            ticket, pre_ms, infer_ms, post_ms = _DETECTED_HEAD.unpack_from(body)
            return Detected(ticket, pre_ms, infer_ms, post_ms, boxes)
        if kind in _NAMED:
            name, fields = json.loads(bytes(body))
            named: Message = from_json(_messages(_NAMED[kind])[name], fields)
            return named
    except (ValueError, TypeError, KeyError, RecursionError, StructError) as e:
        raise ValueError(f"malformed message of kind {kind}: {e}") from e
    raise ValueError(f"unknown message kind {kind}")


@cache
def _messages(module: str) -> dict[str, type[Any]]:
    """The messages that a module lists, by name."""
    return {cls.__name__: cls for cls in import_module(module).MESSAGES}
