# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is sent after the answer is taken, within bounds."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.web import rest_of_body
from edgeagent.web.rest_of_body import MOST_BYTES, RestOfBody


def test_who_sends_without_end_is_not_heard_to_the_end() -> None:
    """As many bytes as any client may mean to send, and not one more."""

    async def run() -> None:
        rest = RestOfBody()
        waiting = asyncio.create_task(rest.wait())
        rest.take(MOST_BYTES)
        await asyncio.sleep(0)
        assert not waiting.done()
        rest.take(1)
        await waiting

    asyncio.run(run())


def test_who_goes_is_not_waited_for() -> None:
    """Also if it went before."""

    async def run() -> None:
        rest = RestOfBody()
        rest.end()
        await rest.wait()

    asyncio.run(run())


def test_who_stays_is_waited_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little it sends."""
    monkeypatch.setattr(rest_of_body, "MOST_SECONDS", 0.0)
    asyncio.run(RestOfBody().wait())
