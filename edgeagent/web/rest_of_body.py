# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a client still sends after it was answered that its body is too large."""

from __future__ import annotations

import asyncio
from contextlib import suppress

MOST_BYTES = 64 << 20
MOST_SECONDS = 30.0


class RestOfBody:
    """Taken and dropped until the client goes, as far as the bounds let: most clients read no answer before they have
    sent all, and closing the connection on what they send would take the answer away from them."""

    def __init__(self) -> None:
        self._left = MOST_BYTES
        self._over = asyncio.Event()

    def take(self, size: int) -> None:
        """So many bytes of it came."""
        self._left -= size
        if self._left < 0:
            self.end()

    def end(self) -> None:
        """Nothing more is waited for."""
        self._over.set()

    async def wait(self) -> None:
        """Until it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MOST_SECONDS):
                await self._over.wait()
