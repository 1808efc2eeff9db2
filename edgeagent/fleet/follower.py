# SPDX-License-Identifier: AGPL-3.0-or-later
"""This node in roll-outs: when it may begin, whether one has nobody who leads it, and what is to be known of that.

A node begins only when one read of the config store shows the roll-out as the node knows it, and the coordinator that
leads it: a document that nobody watches over any more moves nothing. It asks until it is so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog

from edgeagent.core.following import ORPHANED_AFTER_S, Followed, Part, Standing, lacks_leader
from edgeagent.core.rollout import BEGINS, COORDINATOR_KEY, rollout_key
from edgeagent.core.state import State
from edgeagent.errors import EdgeAgentError
from edgeagent.intent.port import Expected, KeyValueStore, Outcome
from edgeagent.util.backoff import Backoff

_log = structlog.get_logger(__name__)

ASK_AGAIN_S = (0.5, 10.0)
"""Limits of the delay after the first and after many answers that it may not begin (seconds)."""
NO_LEADER = "no coordinator leads it"
UNSEEN = "what this node does can't be written where the coordinator reads it"
UNKNOWN_LEADER = "it isn't known whether a coordinator leads it"


class Follower:
    """Follows the roll-outs of the models of a node (`intent.watcher.Rollouts`). On the event loop's thread."""

    def __init__(
        self,
        node: str,
        labels: Mapping[str, str],
        state_of: Callable[[str], State],
        store: KeyValueStore,
    ) -> None:
        self.decide: Callable[[str], None] = lambda model: None
        self.is_seen: Callable[[str], bool] = lambda model: True
        """Whether the fleet is told what this node does with a model: without that, nobody watches over it."""
        self.followed: dict[str, Followed] = {}
        """What was seen last, by model; none of a model as long as its key is unread."""
        self._node = node
        self._labels = labels
        self._state_of = state_of
        self._store = store
        self._granted: dict[str, str] = {}
        self._asks: dict[str, tuple[Sequence[Expected], asyncio.Task[None]]] = {}
        self._waits: dict[str, str] = {}
        self._alone_since: dict[
            str, tuple[str, float]
        ] = {}  # the roll-out without a coordinator, and since when
        self._orphans: dict[str, str] = {}  # those of which that was said

    def standing(self, model: str) -> Standing:
        """See Rollouts.standing."""
        state = self._state_of(model)
        held = state.override is not None
        granted = self._granted.get(model, "")
        return Standing(model, self._node, self._labels, state.directive, held, granted)

    def saw(self, model: str, followed: Followed) -> None:
        """See Rollouts.saw: ask whether it may begin, if that is what it waits for."""
        self.followed[model] = followed
        expected: Sequence[Expected] = ()
        seen = followed.seen if followed.part is Part.WAITS and not followed.pin else None
        if seen and seen.rollout.status in BEGINS and followed.leader:
            roll_out = Expected(rollout_key(model), revision=seen.revision)
            expected = (roll_out, Expected(COORDINATOR_KEY, created=followed.leader))
        asked = self._asks.get(model)
        if asked and asked[0] == expected:
            return
        if asked:
            self._asks.pop(model)[1].cancel()
            self._waits.pop(model, None)
        if expected:
            self._asks[model] = expected, asyncio.create_task(self._ask(model, expected))

    def waits(self, model: str) -> str:
        """Why the node doesn't begin yet."""
        followed = self.followed.get(model)
        if followed and followed.seen and followed.seen.rollout.status not in BEGINS:
            return f"it is {followed.seen.rollout.status}"
        if followed and not followed.leader:
            return UNKNOWN_LEADER if followed.leader is None else NO_LEADER
        return self._waits.get(model, "")

    def is_orphaned(self, model: str) -> bool:
        """Whether the roll-out has had no coordinator for so long that it was said."""
        return model in self._orphans

    def look(self, now: float, connected: bool) -> None:
        """To be called about once a second (monotonic seconds). connected: what the config store said last still holds;
        without that, nobody knows whether there is a coordinator."""
        for model in list(self.followed):
            self.decide(model)
            followed = self.followed[model]
            id = followed.seen.rollout.id if followed.seen and lacks_leader(followed) else ""
            if not id:
                self._alone_since.pop(model, None)
                if orphan := self._orphans.pop(model, ""):
                    _log.info("rollout.not_orphaned", model=model, rollout=orphan)
            elif connected:
                known, since = self._alone_since.setdefault(model, (id, now))
                if known != id:
                    self._alone_since[model] = id, now
                elif now - since >= ORPHANED_AFTER_S and self._orphans.get(model) != id:
                    self._orphans[model] = id
                    _log.error("rollout.orphaned", model=model, rollout=id, why=NO_LEADER)

    async def forget(self, model: str) -> None:
        """Follow no roll-out of this model any more: no pipeline of the node uses it."""
        for known in (self.followed, self._granted, self._waits, self._alone_since, self._orphans):
            known.pop(model, None)
        if asked := self._asks.pop(model, None):
            asked[1].cancel()
            with suppress(asyncio.CancelledError):
                await asked[1]

    async def close(self) -> None:
        """Ask no more."""
        tasks = [task for _, task in self._asks.values()]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _ask(self, model: str, expected: Sequence[Expected]) -> None:
        """Until the answer is that it may begin, or another question is to be asked."""
        backoff = Backoff(*ASK_AGAIN_S)
        while True:
            why = UNSEEN if not self.is_seen(model) else await asyncio.to_thread(self._refusal, expected)
            self._waits[model] = why
            if not why:
                break
            await asyncio.sleep(backoff.next_s())
        del self._asks[model]
        self._granted[model] = str(expected[0].revision)
        self.decide(model)  # whatever was read meanwhile counts, too
        del self._granted[model]

    def _refusal(self, expected: Sequence[Expected]) -> str:
        try:
            if self._store.compare_and_set(expected, {}) is Outcome.WRITTEN:
                return ""
        except EdgeAgentError as e:
            return f"it can't be known whether a coordinator leads it: {e}"
        return "the roll-out, or who leads it, is another by now"
