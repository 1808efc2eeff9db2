# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API comes when it can; until then it is said why not, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.errors import EdgeAgentError, UnavailableError, UsageError
from edgeagent.web import service
from edgeagent.web.server import ApiServer
from edgeagent.web.service import ApiService


class PaperServer:
    """Stands for ApiServer."""

    url = "http://127.0.0.1:8080"

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.stopped = False

    async def start(self) -> None:
        """Answer from now on, or say why not."""
        if self.error:
            raise self.error

    async def stop(self) -> None:
        """No more."""
        self.stopped = True


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a back-off."""
    monkeypatch.setattr(service, "RETRY_S", 0.0)


def tries(*errors: Exception | None) -> Callable[[], ApiServer]:
    """What building gives at each try: UsageError when it is built, anything else when it starts."""
    left = list(errors)

    def build() -> Any:
        error = left.pop(0)
        if isinstance(error, UsageError):
            raise error
        return PaperServer(error)

    return cast("Callable[[], ApiServer]", build)


TAKEN = UnavailableError("api at 127.0.0.1 port 8080", "the port is taken", "stop what listens there")
NO_TOKEN = UsageError("secret file /t", "No such file or directory")


@pytest.mark.parametrize("error", [TAKEN, NO_TOKEN, OSError(24, "Too many open files")])
def test_it_is_tried_again_until_it_answers(error: EdgeAgentError) -> None:
    """Whatever is in its way; what stays the same is said once."""

    async def live() -> None:
        api = ApiService(tries(error, error, None))
        with capture_logs() as logs:
            assert not await api.start()
            assert (api.url, api.error) == (None, str(error))
            trying = asyncio.create_task(api.keep_trying())
            while api.url is None:
                await asyncio.sleep(0)
        assert (api.url, api.error) == ("http://127.0.0.1:8080", "")
        assert [log["event"] for log in logs] == ["api.unavailable", "api.started"]
        trying.cancel()
        await api.stop()

    asyncio.run(live())


def test_the_event_loop_does_not_wait_for_it_to_be_built() -> None:
    """Reading files, asking a name server and building the API take their time, at each try."""
    builders: list[int] = []

    def build() -> ApiServer:
        builders.append(threading.get_ident())
        return cast("ApiServer", PaperServer(None))

    asyncio.run(ApiService(build).start())
    assert builders != [threading.get_ident()]


def test_one_that_never_came_is_stopped_like_any_other() -> None:
    """There is nothing to stop."""

    async def live() -> None:
        api = ApiService(tries(TAKEN))
        await api.start()
        await api.stop()

    asyncio.run(live())
