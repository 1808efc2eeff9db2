# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker that makes pictures for those who look: a frame, scaled, drawn on, as JPEG.

Its task is MakePreviews. Each EncodePreview comes after the ring in which the frame stands and the boxes that were
found on it, with a file for the pictures, and is answered with PreviewEncoded when the frame isn't needed any more. It
ends when nobody has looked for a while: its memory is that of OpenCV.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeagent.workers.bootstrap import lower_priority_of_all, worker_main
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.messages import Detected, Heartbeat, Ring
from edgeagent.workers.ring import RingView
from edgeagent.workers.tasks.preview import EncodePreview, MakePreviews, PreviewEncoded

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image

_HEARTBEAT_S = 1.0
FIRST_S = 60.0
"""How long the first order is waited for: somebody looks at a line whose model is still being loaded."""


def serve(channel: WorkerChannel, task: MakePreviews) -> None:
    """Make what is asked for, until the node is gone or there is nothing to do."""
    with suppress(OSError):  # denied, as the node has been told
        lower_priority_of_all(os.getpid())
    view: RingView | None = None
    boxes, turn, ends_at = b"", 0, time.monotonic() + max(FIRST_S, task.idle_s)
    channel.send(Heartbeat(turn))
    while True:
        message = channel.receive(_HEARTBEAT_S)
        match message:
            case None:
                if time.monotonic() > ends_at:
                    return
                turn += 1
                channel.send(Heartbeat(turn))
            case Ring(_, slots, slot_bytes):
                view = RingView(channel.fds.popleft(), slots, slot_bytes)
            case Detected():
                boxes = message.boxes
            case EncodePreview() if view:
                answer = _encode(message, view, boxes, channel.fds.popleft())
                view.close()
                view, ends_at = None, time.monotonic() + task.idle_s
                channel.send(answer)
            case _:
                raise SystemExit(f"a worker that makes previews has no use for {message!r}")


def _encode(order: EncodePreview, view: RingView, boxes: bytes, fd: int) -> PreviewEncoded:
    """What was written into the file `fd`, which is closed."""
    try:
        pictures = make_pictures(view.image(order.slot, order.height, order.width), order, boxes)
        at = 0
        for picture in pictures:
            at += os.pwrite(fd, picture, at)
        return PreviewEncoded(order.ticket, tuple(len(picture) for picture in pictures))
    except (OSError, ValueError) as e:
        return PreviewEncoded(order.ticket, (), str(e))
    finally:
        os.close(fd)


def make_pictures(image: Image, order: EncodePreview, boxes: bytes) -> list[bytes]:
    """A JPEG in each form. boxes: six little-endian float32 each, as in Detected. Raises ValueError."""
    from edgeagent.workers.jpeg import encode_jpeg
    from edgeagent.workers.overlay import draw_findings, findings_of, scaled

    found = findings_of(order, boxes)
    pictures = []
    for form in order.forms:
        picture = scaled(image, form.width)
        if form.boxes:
            draw_findings(picture, found, picture.shape[1] / order.width)
        pictures.append(encode_jpeg(picture, order.quality))
    return pictures


if __name__ == "__main__":
    worker_main(serve, MakePreviews)
