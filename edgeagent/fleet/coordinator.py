# SPDX-License-Identifier: AGPL-3.0-or-later
"""The coordinator: while it has the lead, it carries every roll-out on, one step at a time.

It decides nothing itself (core/rollout_steps.py), and holds nothing that another one would need: whatever it has done
is in the config store. Each step is one transaction that demands its lead, and that neither the roll-out nor `current`
was written since they were read. So of two that believe to lead one writes, and nobody writes over what an operator
has decided meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from edgeagent.core.coordination import Coordination
from edgeagent.core.directive import current_key, decode_directive, encode_directive
from edgeagent.core.rollout import ENDED, Rollout, Status, archive_key, rollout_directive, rollout_key
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.core.rollout_steps import Watch, adopted, decide
from edgeagent.core.rollout_view import Fleet
from edgeagent.errors import DirectiveError, EdgeAgentError, RolloutError, UsageError
from edgeagent.fleet.lead import Lead
from edgeagent.fleet.members import MemberReader
from edgeagent.intent.port import Access, Entry, Expected, KeyValueStore, Outcome
from edgeagent.intent.url import open_store
from edgeagent.util.backoff import Backoff

log = structlog.get_logger(__name__)

MODELS = "/models/"
ORPHANED_S = 60.0
"""A roll-out that nobody led for longer waits for somebody to look at it."""
OPEN_S = 1.0
"""Between two looks while a roll-out is open (seconds)."""
IDLE_S = 5.0
"""The same while none is."""
_WAITING_S = 0.3  # between two looks at whether this process leads
_AGAIN_S = 0.2  # after a step, whatever became of it
_MODELS_S = 30.0  # between two looks at which models there are
_SHARE = 0.05  # of a core, that looks at a large fleet may take
_SLOWEST_S = 10.0
_BLIND_S = (
    30.0  # without a look for so much longer than was meant, what was seen before doesn't count any more
)
_FAILED_S = (0.5, 5.0)  # limits of the delay after the first and after many looks that failed
_RESIGN_S = 2.0


@dataclass(frozen=True)
class _Found:
    """A roll-out as it was read: the document, and the revisions of its key and of `current`."""

    model: str
    rollout: Rollout
    revision: str
    current: str


def open_coordinator(url: str, access: Access, name: str) -> Coordinator:
    """One on the config store at `url`; nothing is connected yet. name: by which others know it. Raises UsageError."""
    store = open_store(url, access)
    return Coordinator(store, Lead(store, name=name))


class Coordinator:
    """Carries the roll-outs of all models on while this process has the lead. Its `tasks` run on the event loop.

    orphaned_s: how long nobody may have led a roll-out that it takes over and goes on with; None: however long.
    clock: monotonic, in seconds. The store is closed with it.
    """

    def __init__(
        self,
        store: KeyValueStore,
        lead: Lead,
        *,
        orphaned_s: float | None = ORPHANED_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.looks = 0
        """How often it has looked, or tried to: it grows as long as nothing hangs."""
        self._store = store
        self._lead = lead
        self._orphaned_s = orphaned_s
        self._clock = clock
        self._members = MemberReader(store)
        self._state = Coordination()
        self._under: Expected | None = None  # the lead under which all of the following was seen
        self._to_adopt: set[str] | None = (
            None  # models whose roll-out is to be adopted; None: to be found out
        )
        self._watches: dict[str, Watch] = {}
        self._models: frozenset[str] = frozenset()
        self._models_due = 0.0
        self._all_ended = False  # no roll-out was open at the last look, under this lead
        self._seen_until = 0.0  # by when the next look was meant to be

    @property
    def state(self) -> Coordination:
        """What it has to say now. For any thread."""
        leads, failure = self._lead.expected is not None, self._lead.failure or self._state.failure
        return replace(self._state, leads=leads, leader=self._lead.leader, failure=failure)

    @property
    def tasks(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What is to run, for ever; each is begun anew if it ends by a fault."""
        return self._lead.run, self.run

    async def stop(self) -> None:
        """Give up the lead and close the store, once no task runs any more; it takes two seconds at most.

        While a roll-out is open, or may be, the lead is left to end with its lease. Whoever takes over, be it this one
        started again, sees by the key that somebody led until just now; without it the roll-out would be taken for an
        orphan.
        """
        if self.state.leads and not self._all_ended:
            log.info("lead.left", note="a roll-out may be open: the lead ends with its lease")
            return  # with its connection open: in ZooKeeper, the lease ends with that
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._lead.resign), _RESIGN_S)
        await asyncio.to_thread(self._store.close)

    async def run(self) -> None:
        """Look, for ever."""
        backoff = Backoff(*_FAILED_S)
        while True:
            try:
                pause = await asyncio.to_thread(self.look)
            except EdgeAgentError as e:
                pause = backoff.next_s()
                if str(e) != self._state.failure:
                    log.warning("coordinator.failed", why=str(e))
                self._state = replace(self._state, failure=str(e))
            else:
                backoff.reset()
                self._state = replace(self._state, failure="")
            self.looks += 1
            await asyncio.sleep(pause)

    def look(self) -> float:
        """Look at all roll-outs, and take at most one step of each. Returns the seconds until the next look.

        Raises UnavailableError; UsageError where the store refuses the user.
        """
        now, cost = self._clock(), time.thread_time()
        under = self._begin_anew(now)
        if under is None:
            return _WAITING_S
        broken: dict[str, str] = {}
        found = self._read(now, broken)
        is_open = [f for f in found if f.rollout.status not in ENDED]
        stepped = self._carry_on(is_open, under, now, broken)
        self._state = Coordination(rollouts={f.model: f.rollout for f in found}, broken=broken)
        self._all_ended = not (is_open or broken)
        pause = _pause(stepped, bool(is_open), time.thread_time() - cost)
        self._seen_until = self._clock() + pause
        return pause

    def _begin_anew(self, now: float) -> Expected | None:
        """The lead, None without one. Under another one, and after a time without a look, what was seen before counts
        for nothing: bake times and deadlines begin again, which is late and never early."""
        under = self._lead.expected
        if under != self._under:
            self._to_adopt, self._models_due, self._seen_until = None, now, now
            self._state, self._all_ended = Coordination(), False
        elif under and now - self._seen_until > _BLIND_S:
            log.warning("coordinator.was_blind", for_s=round(now - self._seen_until))
        else:
            return under
        self._under = under
        self._watches.clear()
        return under

    # -- reading -------------------------------------------------------------------------------------

    def _read(self, now: float, broken: dict[str, str]) -> list[_Found]:
        """All roll-outs. First the document, then `current`: of two that were written in one transaction, the document
        is never the newer one, so a new roll-out doesn't seem to be planned on another `current`."""
        found = []
        for model, entry in sorted(self._documents(now).items()):
            if entry.value is None:
                continue
            try:
                rollout = decode_rollout(entry.key, entry.value)
                current = "" if rollout.status in ENDED else self._current(model)
            except (RolloutError, DirectiveError, UsageError) as e:
                self._note(model, e, broken)
                continue
            found.append(_Found(model, rollout, entry.revision, current))
        return found

    def _current(self, model: str) -> str:
        """Its revision. Raises UnavailableError, UsageError; DirectiveError for a value that says nothing to a node,
        either: as long as it stands there, every node stays as it is, and so does the roll-out."""
        entry = self._store.get(current_key(model))
        if entry.value is not None:
            decode_directive(entry.key, entry.value, entry.revision)
        return entry.revision

    def _documents(self, now: float) -> dict[str, Entry]:
        """By model. A list has everything below /models/, what became of all roll-outs too: it is read seldom."""
        if now < self._models_due:
            return {model: self._store.get(rollout_key(model)) for model in self._models}
        entries = {e.key: e for e in self._store.list(MODELS)}
        models = {key.split("/")[2] for key in entries}
        self._models = frozenset(m for m in models if {rollout_key(m), current_key(m)} & entries.keys())
        self._models_due = now + random.uniform(_MODELS_S / 2, _MODELS_S)
        return {m: entries[rollout_key(m)] for m in self._models if rollout_key(m) in entries}

    def _note(self, model: str, error: EdgeAgentError, broken: dict[str, str]) -> None:
        """One roll-out can't be carried on, which is no reason to leave the others."""
        broken[model] = str(error)
        if self._state.broken.get(model) != str(error):
            log.error("rollout.broken", model=model, why=str(error))

    # -- writing -------------------------------------------------------------------------------------

    def _carry_on(self, found: list[_Found], under: Expected, now: float, broken: dict[str, str]) -> bool:
        """At most one step of each open roll-out. Returns whether one was tried: something is to be read anew then.

        Raises UnavailableError.
        """
        self._watches = {f.model: self._watches.get(f.model, Watch()) for f in found}
        if self._to_adopt is None:
            self._to_adopt = {f.model for f in found if self._adopted(f)}
        if not found:
            return False
        members = self._members.read()
        stepped = False
        for f in found:
            try:
                stepped |= self._step(f, members.fleet(f.model, f.current), under, now)
            except UsageError as e:  # nodes would not take what it says, or we may not write this one
                self._note(f.model, e, broken)
        return stepped

    def _step(self, found: _Found, fleet: Fleet, under: Expected, now: float) -> bool:
        """Returns whether one was due. Raises UnavailableError, UsageError."""
        assert self._to_adopt is not None
        if found.model in self._to_adopt:
            adopting = self._adopted(found)
            if adopting is None or self._write(found, adopting, under):
                self._to_adopt.discard(found.model)
            if adopting:
                return True
        step = decide(found.rollout, fleet, self._watches[found.model], now)
        # Before it is written: nobody knows what became of a writing that fails.
        self._watches[found.model] = step.watch.anew() if step.rollout else step.watch
        if step.rollout and self._write(found, step.rollout, under):
            self._watches[found.model] = step.watch
        return step.rollout is not None

    def _adopted(self, found: _Found) -> Rollout | None:
        """What to write of one that is taken over, if nobody led it for too long."""
        if self._orphaned_s is None:
            return None
        return adopted(found.rollout, self._lead.leaderless_s, self._orphaned_s)

    def _write(self, found: _Found, rollout: Rollout, under: Expected) -> bool:
        """Write a step. False: it was refused, or that isn't known; the next look shows what is true then.

        Raises UnavailableError, UsageError.
        """
        model = found.model
        expected = (
            under,
            Expected(rollout_key(model), found.revision),
            Expected(current_key(model), found.current),
        )
        outcome = self._store.compare_and_set(expected, step_writes(model, rollout))
        about = {"model": model, "id": rollout.id, "version": rollout.plan.version, "status": rollout.status}
        if outcome is Outcome.WRITTEN:
            tell = log.warning if rollout.status in _STOPPED else log.info
            tell("rollout.stepped", wave=rollout.wave, why=rollout.why, **about)
        else:
            log.info("rollout.not_stepped", outcome=outcome.value, **about)
        return outcome is Outcome.WRITTEN


_STOPPED = frozenset({Status.PAUSED, Status.ABORTING, Status.ABORTED, Status.SUPERSEDED})


def step_writes(model: str, rollout: Rollout) -> dict[str, bytes | None]:
    """What a step writes, key by key; None deletes. Raises UsageError for what the nodes would not take.

    What has ended is kept under a key of its own. The document of an aborted one stays, too: by it, nodes that were
    away go back when they come.
    """
    document = encode_rollout(rollout)
    writes: dict[str, bytes | None] = {rollout_key(model): document}
    if rollout.status in ENDED:
        writes[archive_key(model, rollout.id)] = document
    if rollout.status in (Status.DONE, Status.SUPERSEDED):
        writes[rollout_key(model)] = None
    if rollout.status is Status.DONE:
        writes[current_key(model)] = encode_directive(rollout_directive(model, rollout))
    return writes


def _pause(stepped: bool, is_open: bool, cost_s: float) -> float:
    """Seconds until the next look. cost_s: processor time of this one."""
    if stepped:
        return _AGAIN_S
    meant = OPEN_S if is_open else IDLE_S
    return max(random.uniform(0.8, 1.2) * meant, min(cost_s / _SHARE, _SLOWEST_S))
