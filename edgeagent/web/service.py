# SPDX-License-Identifier: AGPL-3.0-or-later
"""Has the API answer as soon as it can: a port that is taken, or a token file that can't be read, stops no line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from edgeagent.errors import EdgeAgentError
from edgeagent.util.backoff import Backoff
from edgeagent.web.server import ApiServer

RETRY_S, RETRY_MAX_S = 0.5, 10.0
_log = structlog.get_logger(__name__)


class ApiService:
    """The API of a node, tried again until it answers.

    error: why it doesn't answer, "" when it does. Without what guards it (the token), it isn't served at all.
    """

    def __init__(self, build: Callable[[], ApiServer]) -> None:
        """build: a server as the configuration says; called at each try, in a thread, for it may wait for a disk or a
        name server. Raises EdgeAgentError or OSError."""
        self.error = "not started yet"
        self._build = build
        self._server: ApiServer | None = None

    @property
    def url(self) -> str | None:
        """Where it can be reached; None while it can't."""
        return self._server.url if self._server else None

    async def start(self) -> bool:
        """Try once; says whether it answers now."""
        try:
            server = await asyncio.to_thread(self._build)
            await server.start()
        except (EdgeAgentError, OSError) as e:
            if str(e) != self.error:
                _log.error("api.unavailable", why=str(e), note="frames are served without it; tried again")
            self.error = str(e)
            return False
        self._server, self.error = server, ""
        _log.info("api.started", url=server.url)
        return True

    async def keep_trying(self) -> None:
        """Until it answers, then nothing more."""
        backoff = Backoff(RETRY_S, RETRY_MAX_S, jitter=0.0)
        while not self._server:
            await asyncio.sleep(backoff.next_s())
            await self.start()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Stop listening; see `ApiServer.stop`. Idempotent."""
        if self._server:
            await self._server.stop()
