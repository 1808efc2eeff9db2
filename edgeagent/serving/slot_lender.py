# SPDX-License-Identifier: AGPL-3.0-or-later
"""Slots of a ring, lent to a capture worker. The node alone says who may write into which."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from edgeagent.errors import WorkerError
from edgeagent.serving.tap import TAP_FRAMES
from edgeagent.workers import messages
from edgeagent.workers.messages import Captured, Grant
from edgeagent.workers.process import WorkerProcess
from edgeagent.workers.ring import MAX_FRAME_BYTES, Ring

_ring_ids = itertools.count(1)


def ring_slots(streams: int, tapped: int = TAP_FRAMES) -> int:
    """Slots for a live line whose engines infer so many frames side by side, and whose tap lends so many.

    The former and one that waits on each of two engines during a swap, four that wait (see serving/router.py), one
    being written. What is done and waits behind a slow frame takes of those for waiting ones.
    """
    return 2 * (streams + 1) + 5 + tapped


class SlotLender:
    """One ring at a time, and older ones for as long as a frame in them is in use. Lives on the event loop."""

    def __init__(self, slots: int, on_ring_gone: Callable[[int], None]) -> None:
        """on_ring_gone(id): no frame of this ring will come or is in use any more."""
        self._slots = slots
        self._on_ring_gone = on_ring_gone
        self._ring: Ring | None = None
        self._borrower: WorkerProcess | None = None  # a worker that has the ring mapped
        self._granted: set[int] = set()
        self._paused = False

    def lend_to(self, worker: WorkerProcess, width: int, height: int) -> None:
        """Lend a ring in which frames of this size (pixels) fit, and grant its free slots; earlier grants are void.

        To be called when the worker has said that it dropped them: it writes no more until the ring arrives.
        Raises WorkerError for a size that no ring can have, or without memory.
        """
        need = width * height * 3
        if width <= 0 or height <= 0 or need > MAX_FRAME_BYTES:
            why = f"sent a frame of {width}x{height}, at most {MAX_FRAME_BYTES} bytes are taken"
            raise WorkerError("ring", why)
        self.take_back()
        if self._ring and self._ring.slot_bytes < need:
            self.retire()
        try:
            ring = self._ring = self._ring or Ring(next(_ring_ids), self._slots, need)
        except OSError as e:
            raise WorkerError("ring", f"no memory for {self._slots} frames of {width}x{height}: {e}") from e
        worker.send(messages.Ring(ring.id, ring.slots, ring.slot_bytes), [ring.fd])
        self._borrower = worker
        self._grant()

    def pause(self, paused: bool) -> None:
        """While paused, grant no more slots."""
        self._paused = paused
        self._grant()

    def returned(self, m: Captured) -> Ring:
        """The worker has written a frame into a slot, which from now on is the frame's. Returns its ring.

        Raises WorkerError when the slot was not granted, or the frame does not fit into it.
        """
        ring = self._ring
        if ring is None or m.ring != ring.id or m.slot not in self._granted:
            raise WorkerError(
                "ring", f"sent a frame in slot {m.slot} of ring {m.ring}, which it was not granted"
            )
        if not 0 < m.width * m.height * 3 <= ring.slot_bytes:
            raise WorkerError("ring", f"sent a frame of {m.width}x{m.height}, which does not fit its slot")
        self._granted.remove(m.slot)
        return ring

    def freed(self, ring: Ring) -> None:
        """A frame in `ring` has given its slot back."""
        if ring is self._ring:
            self._grant()
        elif ring.free == ring.slots:
            self._close(ring)

    def take_back(self) -> None:
        """Take every grant back; only when the worker is gone, or has said that it dropped them."""
        self._borrower = None
        for slot in self._granted:
            assert self._ring is not None
            self._ring.release(slot)
        self._granted.clear()

    def retire(self) -> None:
        """Lend this ring no more; its memory goes with the last frame in use."""
        ring, self._ring = self._ring, None
        if ring and ring.free == ring.slots:
            self._close(ring)

    def _grant(self) -> None:
        """Lend every free slot, so that a frame never waits for a message."""
        if self._paused or self._borrower is None or self._ring is None:
            return
        while (slot := self._ring.acquire()) is not None:
            self._granted.add(slot)
            self._borrower.send(Grant(self._ring.id, slot))

    def _close(self, ring: Ring) -> None:
        ring.close()
        self._on_ring_gone(ring.id)
