# SPDX-License-Identifier: AGPL-3.0-or-later
"""A roll-out: one document in the config store that says which nodes take up a version, and how far that has come.

Every node works out for itself whether it is in, so opening a wave, stopping and taking everything back are one write
each, whatever the size of the fleet. The order of the nodes is that of their places, `place(salt, node)`: exact counts,
another order each time, and who joins later falls where it belongs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Any

from edgeagent.core.directive import Directive, with_terms

PLACES = 2**52
"""Places are whole numbers below this, which every reader of JSON takes exactly."""
CANARIES = "canaries"
"""The wave of the nodes that are named, or that the selector meets."""
EVERYBODY = "100%"
"""The wave of all nodes, those that come later too."""
MAX_FORGIVEN = 256
"""Nodes whose failures a roll-out may go on with."""
COORDINATOR_KEY = "/edgeagent/coordinator"


class Status(StrEnum):
    """How far a roll-out is.

    PLANNED: no wave is open. ROLLING: the nodes of the open waves take the version up. BAKING: all of them have, and
    are watched. PAUSED: no further wave opens, and no further node begins, until somebody says so. ABORTING: the nodes
    go back; ABORTED: they have. DONE: the version is `current`. SUPERSEDED: somebody wrote `current`, which counts from
    then on.
    """

    PLANNED = "planned"
    ROLLING = "rolling"
    BAKING = "baking"
    PAUSED = "paused"
    ABORTING = "aborting"
    ABORTED = "aborted"
    DONE = "done"
    SUPERSEDED = "superseded"


FOLLOWED = frozenset({Status.ROLLING, Status.BAKING, Status.PAUSED})
"""While nodes of the open waves serve its version."""
BEGINS = frozenset({Status.ROLLING, Status.BAKING})
"""While a node of the open waves may begin: whoever halts a roll-out wants no further node to take the version up."""
GOES_BACK = frozenset({Status.ABORTING, Status.ABORTED})
ENDED = frozenset({Status.ABORTED, Status.DONE, Status.SUPERSEDED})


class Cause(StrEnum):
    """Why a roll-out has the status that it has, where that isn't how it goes by itself.

    ASKED: somebody said so. LEADERLESS: no coordinator led it for too long. FAILED: nodes went back from the version,
    or vanished with it. WORSE: all nodes together speak against it. REFUSED: too many nodes refused it. UNPREPARED,
    LATE: nodes have not made it ready, have not acted in time. UNSEEN: nodes have seen too little with it. NOBODY,
    NO_CANARY: no such node is there. UNSERVED: it serves on no node. ADVANCE: it waits until somebody opens the next
    wave. OVERTAKEN: somebody wrote `current`.
    """

    ASKED = "asked"
    LEADERLESS = "leaderless"
    FAILED = "failed"
    WORSE = "worse"
    REFUSED = "refused"
    UNPREPARED = "unprepared"
    LATE = "late"
    UNSEEN = "unseen"
    NOBODY = "nobody"
    NO_CANARY = "no_canary"
    UNSERVED = "unserved"
    ADVANCE = "advance"
    OVERTAKEN = "overtaken"


@dataclass(frozen=True)
class Plan:
    """What is to come, to whom, in which order.

    version: that comes; came_from: what `current` says, to which nodes go back; based_on: the revision of `current`
    when it was planned: when that changes, somebody decided otherwise. salt: of the places. waves: each CANARIES, a
    count such as "3", or a share of the fleet such as "25%"; each includes those before, canaries too. canaries,
    selector: nodes by name, and by the labels that they must have: in from the first wave on. approval: "manual": it
    waits for `advance` after each wave. mode: "waves", or "ab": it ends with a comparison, so the last wave is a share,
    and `advance` opens one of all nodes then. preload: all nodes prepare the version before the first wave.
    fetch_spread_seconds: within which a node begins to fetch. terms: further fields of the directive. by, reason: on
    whose word, and why.
    """

    version: str
    came_from: str
    based_on: str
    salt: str
    waves: tuple[str, ...] = ("1", "5%", "25%", "100%")
    canaries: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    approval: str = "auto"
    mode: str = "waves"
    preload: bool = False
    fetch_spread_seconds: float = 0.0
    terms: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Limits:
    """When a wave is through, and when it is not to go on.

    bake_seconds: from when all nodes of a wave have acted until the next one opens; deadline_seconds: how long anything
    is waited for, without which a wave is inconclusive. min_frames, min_objects: that each node must have seen with the
    version. max_failures: nodes that went back from it or vanished with it, which are no reason to stop after the first
    wave; max_refused: the share of the open waves' nodes that may refuse it. on_failure: "rollback" or "pause".
    """

    bake_seconds: float = 600.0
    deadline_seconds: float = 3600.0
    min_frames: int = 0
    min_objects: int = 0
    max_failures: int = 0
    max_refused: float = 0.2
    on_failure: str = "rollback"


@dataclass(frozen=True)
class Rollout:
    """A plan, and how far it has come.

    wave: index of the one that is open, -1: none is yet; open_below: places below it are in. cause, why: of the status;
    the first is a `Cause`, another of a newer coordinator, or "".
    forgiven, forgiven_refused, forgiven_evidence: the nodes that had failed, how many had refused and the evidence that
    there was when somebody resumed it. advance: the next wave is to open as it stands.
    """

    id: str
    plan: Plan
    limits: Limits = Limits()
    status: Status = Status.PLANNED
    wave: int = -1
    open_below: int = 0
    cause: str = ""
    why: str = ""
    forgiven: tuple[str, ...] = ()
    forgiven_refused: int = 0
    forgiven_evidence: float = 0.0
    advance: bool = False

    @property
    def is_last_wave(self) -> bool:
        """Whether no wave comes after the one that is open."""
        return self.wave + 1 >= len(self.plan.waves)

    @property
    def ends_next(self) -> bool:
        """Whether it is done when it goes on; after the last wave of a comparison, one of everybody opens."""
        return self.is_last_wave and self.plan.mode == "waves"


def rollout_key(model: str) -> str:
    """Key of the roll-out in force."""
    return f"/models/{model}/rollout"


def archive_key(model: str, id: str) -> str:
    """Key of what became of a roll-out."""
    return f"/models/{model}/rollouts/{id}"


def rollout_intent(model: str, id: str) -> str:
    """Identity of the intent that a roll-out stands for, on the nodes that follow it."""
    return f"{rollout_key(model)}@{id}"


def is_rollout_intent(model: str, intent_id: str) -> bool:
    """Whether an intent is that of a roll-out of the model."""
    return intent_id.startswith(rollout_intent(model, ""))


@lru_cache(maxsize=1 << 14)
def place(salt: str, node: str) -> int:
    """Where a node stands in the order of a roll-out: 0 to PLACES - 1."""
    return int(hashlib.sha256(f"{salt}\0{node}".encode()).hexdigest()[:13], 16)


def is_canary(rollout: Rollout, node: str, labels: Mapping[str, str]) -> bool:
    """Whether the node is named, or has all labels of the selector."""
    met = bool(rollout.plan.selector) and all(labels.get(k) == v for k, v in rollout.plan.selector.items())
    return node in rollout.plan.canaries or met


def is_in(rollout: Rollout, node: str, labels: Mapping[str, str]) -> bool:
    """Whether the node belongs to one of the waves that were opened."""
    if rollout.wave < 0:
        return False
    return is_canary(rollout, node, labels) or place(rollout.plan.salt, node) < rollout.open_below


def rollout_directive(model: str, rollout: Rollout) -> Directive:
    """What the nodes that are in should serve: the same value whatever the state of the roll-out is."""
    plan = rollout.plan
    directive = with_terms(Directive(plan.version), json.dumps(dict(plan.terms)) if plan.terms else "")
    return replace(
        directive,
        intent_id=rollout_intent(model, rollout.id),
        by=plan.by,
        reason=plan.reason,
        spread_s=plan.fetch_spread_seconds,
    )


_COUNT_OR_SHARE = re.compile(r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


def wave_size(wave: str, nodes: int) -> int:
    """How many of so many nodes belong to a wave of a count or a share, rounded up. Raises ValueError for no wave."""
    if wave == CANARIES:
        return 0
    match = _COUNT_OR_SHARE.fullmatch(wave)
    if not match:
        raise ValueError(f"{wave[:40]!r} is neither a count, a share such as 5%, nor {CANARIES!r}")
    count, share = match.groups()
    number = Fraction(count or share)  # 0.07% of 10,000 are 7, as a float a little more
    if not number or (share and number > 100):
        raise ValueError(f"{wave!r} is not above 0" + (" and at most 100%" if share else ""))
    return min(nodes, int(number) if count else -int(-number * nodes // 100))
