# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fleet as a node shows it to those who ask: every node, every roll-out, and who leads."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edgeagent.core.directive import current_key
from edgeagent.core.fleet_nodes import Nodes
from edgeagent.core.leader import decode_leader
from edgeagent.core.rollout import COORDINATOR_KEY, Rollout
from edgeagent.core.rollout_progress import Progress, progress_of
from edgeagent.errors import EdgeAgentError, NotFoundError, RolloutError, UsageError
from edgeagent.fleet.documents import nodes_document, progress_document
from edgeagent.fleet.members import MemberReader
from edgeagent.fleet.rollout_store import all_rollouts, read_rollout
from edgeagent.intent.port import KeyValueStore
from edgeagent.intent.url import find_adapter

FRESH_S = 5.0
"""Seconds for which what was read is given out, be it an error."""
UNNAMED = "?"
"""A leader that doesn't say who it is."""


@dataclass(frozen=True)
class Overview:
    """What was read. leader: the name of who leads, None for nobody; rollouts: by model, the one in force, else the one
    that ended last; broken: why that can't be read, by model."""

    leader: str | None
    nodes: Nodes
    rollouts: dict[str, Progress] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


class OverviewReader:
    """Reads the fleet, time and again. For one thread. models: of this node, also while no node reports on them."""

    def __init__(self, store: KeyValueStore, models: Iterable[str] = ()) -> None:
        self._store = store
        self._models = frozenset(models)
        self._members = MemberReader(store)
        self._ended: dict[
            str, tuple[str, Rollout | None]
        ] = {}  # by model: revision of `current`, the last one

    def read(self) -> Overview:
        """As it stands now. Raises UnavailableError; UsageError where the store refuses the user."""
        lead = self._store.get(COORDINATOR_KEY).value
        members = self._members.read()
        nodes = members.nodes()
        rollouts: dict[str, Progress] = {}
        broken: dict[str, str] = {}
        for model in sorted(self._models | {row.model for row in nodes.rows}):
            try:
                rollout, revision = self._rollout(model)
            except (RolloutError, UsageError) as e:
                broken[model] = str(e)
                continue
            if rollout:
                rollouts[model] = progress_of(rollout, members.fleet(model, revision), lead is not None)
        return Overview(_leader(lead), nodes, rollouts, broken)

    def _rollout(self, model: str) -> tuple[Rollout | None, str]:
        """The roll-out, and the revision of `current`. Raises RolloutError, UsageError."""
        stored = read_rollout(self._store, model)
        revision = self._store.get(current_key(model)).revision
        if stored:
            self._ended.pop(model, None)
            return stored.rollout, revision
        known = self._ended.get(model)
        if (
            known is None or known[0] != revision
        ):  # one that was seen nowhere ends with a writing of `current`
            ended = [r for r in all_rollouts(self._store, model) if isinstance(r, Rollout)]
            known = self._ended[model] = revision, ended[-1] if ended else None
        return known[1], revision


class FleetOverview:
    """Answers GET /api/fleet (`web.fleet_routes.FleetApi`): the store is asked when somebody asks, in a thread, and at
    most once in `FRESH_S`. On the event loop.

    is_leading: whether this node leads. clock: monotonic, in seconds.
    """

    def __init__(
        self,
        reader: OverviewReader,
        is_leading: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._is_leading = is_leading
        self._clock = clock
        self._lock = asyncio.Lock()
        self._until = clock()
        self._answer: str | EdgeAgentError = ""

    async def overview(self) -> str:
        """JSON. Raises UnavailableError; UsageError where the store refuses the user."""
        async with self._lock:
            if self._clock() >= self._until:
                try:
                    self._answer = await asyncio.to_thread(self._read)
                except EdgeAgentError as e:
                    self._answer = e
                self._until = self._clock() + FRESH_S
            if isinstance(self._answer, EdgeAgentError):
                raise self._answer.with_traceback(None)
            return self._answer

    def _read(self) -> str:
        found = self._reader.read()
        return json.dumps(
            {
                "leader": found.leader,
                "coordinating": self._is_leading(),
                **nodes_document(found.nodes),
                "rollouts": [progress_document(model, p) for model, p in found.rollouts.items()],
                "broken": found.broken,
            }
        )


class NoFleet:
    """The same for a node whose config store has no leases. url: of that store."""

    def __init__(self, url: str) -> None:
        self._kind = find_adapter(url).kind

    async def overview(self) -> str:
        """Raises NotFoundError, always."""
        raise NotFoundError(
            "the fleet",
            f"this node's config store is a {self._kind}: no node says there what it serves",
            "a fleet needs etcd or ZooKeeper (config_store.url)",
        )


def _leader(value: bytes | None) -> str | None:
    if value is None:
        return None
    leader = decode_leader(value)
    return leader.host or UNNAMED if leader else UNNAMED
