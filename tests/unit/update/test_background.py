# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tasks that nobody waits for: their errors are heard, and none outlives its owner."""

from __future__ import annotations

import asyncio

from edgeagent.update.background import BackgroundTasks


def test_an_error_is_heard_and_a_cancelled_task_is_none() -> None:
    """Each by whoever started it; the others go on."""

    async def scenario() -> None:
        tasks, heard = BackgroundTasks(model="yolo"), list[BaseException]()

        async def wrong() -> None:
            raise ValueError("no")

        async def waits() -> None:
            await asyncio.Event().wait()

        tasks.start(wrong(), heard.append)
        waiting = tasks.start(waits(), heard.append)
        while not heard:
            await asyncio.sleep(0)
        assert [str(e) for e in heard] == ["no"]
        tasks.cancel()
        await tasks.ended()
        assert waiting.cancelled()
        assert len(heard) == 1
        await tasks.ended()

    asyncio.run(scenario())
