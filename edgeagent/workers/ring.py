# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frame ring: shared memory that one capture worker writes and engine workers read in place.

The memory is anonymous: it has no name in /dev/shm, so it is gone when the last process that maps it is, however
that process ends. The node alone allocates slots, and never maps the memory itself.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from edgeagent.workers.system_calls import anonymous_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_FRAME_BYTES = 256 << 20
_PAGE = mmap.PAGESIZE


class Ring:
    """The node's side: which slot is free, and which is in use (by a grant, or by a frame; see `pipeline.frame`)."""

    def __init__(self, ring: int, slots: int, slot_bytes: int) -> None:
        self.id = ring
        self.slots = slots
        self.slot_bytes = -(-slot_bytes // _PAGE) * _PAGE
        self.fd = anonymous_memory(f"edgeagent-ring-{ring}", self.slots * self.slot_bytes)
        self._free = list(range(slots))
        self._used: set[int] = set()

    @property
    def free(self) -> int:
        """How many slots nobody uses."""
        return len(self._free)

    def acquire(self) -> int | None:
        """Take a free slot; None when there is none."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._used.add(slot)
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back. Raises ValueError when it is free already."""
        if slot not in self._used:
            raise ValueError(f"slot {slot} of ring {self.id} is free already")
        self._used.remove(slot)
        self._free.append(slot)

    def close(self) -> None:
        """Close the node's descriptor; the memory goes when the workers have unmapped it too. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class RingView:
    """The worker's side: the slots as images. Takes over the descriptor `fd`."""

    def __init__(self, fd: int, slots: int, slot_bytes: int) -> None:
        try:
            self._map = mmap.mmap(fd, slots * slot_bytes)
        finally:
            os.close(fd)
        self._slots = slots
        self._slot_bytes = slot_bytes

    def image(self, slot: int, height: int, width: int) -> NDArray[np.uint8]:
        """The frame in `slot`, H×W×3 BGR uint8, in place. Raises ValueError when it doesn't fit."""
        import numpy as np

        if not 0 <= slot < self._slots or not 0 < height * width * 3 <= self._slot_bytes:
            raise ValueError(
                f"no {width}x{height} frame in slot {slot} of {self._slots} x {self._slot_bytes} bytes"
            )
        flat = np.frombuffer(self._map, np.uint8, height * width * 3, slot * self._slot_bytes)
        return flat.reshape(height, width, 3)

    def close(self) -> None:
        """Unmap, as soon as no image is in use any more."""
        try:
            self._map.close()
        except BufferError:
            # An image still refers to the memory; the interpreter unmaps it with the last of them.
            del self._map
