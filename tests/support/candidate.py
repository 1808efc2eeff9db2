# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process that takes the lead when it can: `python -m tests.support.candidate URL TTL`, which does what it reads.

`lead`: waits until it leads, and says `leads`. `write`: writes what the leader may, and says what came of it: with what
it had to demand when it last led, as one does that was suspended between deciding and writing.
"""

from __future__ import annotations

import asyncio
import sys

from edgeagent.fleet.lead import Lead
from edgeagent.intent.url import open_store
from edgeagent.observe.logs import setup_logging

LED = "/models/yolo/rollout"


async def follow_commands(url: str, ttl_s: float) -> None:
    """Until they end."""
    store = open_store(url)
    lead = Lead(store, ttl_s=ttl_s)
    running = asyncio.create_task(lead.run())
    demanded = None
    while command := await asyncio.to_thread(sys.stdin.readline):
        if command == "lead\n":
            while not (demanded := lead.expected):
                await asyncio.sleep(0.02)
            print("leads", flush=True)  # noqa: T201  (what it is for)
        else:
            assert demanded
            outcome = store.compare_and_set([demanded], {LED: b"by the other"})
            print(outcome.value, flush=True)  # noqa: T201  (what it is for)
    running.cancel()


if __name__ == "__main__":
    setup_logging("warning", "json")  # to stderr
    asyncio.run(follow_commands(sys.argv[1], float(sys.argv[2])))
