# SPDX-License-Identifier: AGPL-3.0-or-later
"""A connection whose client sends more than was asked for, without a socket."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.web import server
from edgeagent.web.server import ApiServer, _Connection


class Transport:
    """Of a client that is there, or has gone."""

    def __init__(self, gone: bool) -> None:
        self._gone = gone

    def is_closing(self) -> bool:
        return self._gone

    def resume_reading(self) -> None:
        pass


def a_connection(gone: bool) -> _Connection:
    """Whose request came whole, and is being answered."""
    api = ApiServer(cast(Any, lambda scope, receive, send: None), "127.0.0.1", 0)
    made = _Connection(api, "10.0.0.7", api._server.config, api._server.server_state)
    made.transport = cast(Any, Transport(gone))
    made.flow = cast(Any, SimpleNamespace(resume_reading=lambda: None, write_paused=False))
    made.cycle = cast(Any, SimpleNamespace(response_complete=False, more_body=False))
    return made


def test_what_sends_on_after_its_answer_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is at work for nobody: whoever needs its place has it."""
    monkeypatch.setattr(server, "GRACE_S", -1.0)

    async def run() -> None:
        connection = a_connection(gone=False)
        assert not connection.waits
        dropping = asyncio.create_task(connection.drop_rest())
        await asyncio.sleep(0)
        assert connection.waits
        assert not dropping.done()
        assert connection._rest
        connection._rest.end()
        await dropping

    asyncio.run(run())


def test_nobody_waits_for_the_rest_of_who_has_gone() -> None:
    """Nothing would end that before its time."""

    async def run() -> None:
        dropping = asyncio.create_task(a_connection(gone=True).drop_rest())
        await asyncio.sleep(0)
        assert dropping.done()

    asyncio.run(run())
