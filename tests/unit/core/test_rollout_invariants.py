# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever happens to coordinators, nodes and the roll-out's key, in whatever order: the promises hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import (
    BEGINS,
    CANARIES,
    ENDED,
    FOLLOWED,
    Rollout,
    Status,
    is_in,
)
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.core.rollout_steps import RETURN_S, Watch, aborted, adopted, advanced, decide, paused, resumed
from edgeagent.core.rollout_view import Fleet, Member
from edgeagent.errors import ConflictError
from tests.support.examples import examples
from tests.support.rollouts import a_rollout, node

BAKE_S, DEADLINE_S, ORPHANED_S = 10.0, 50.0, 20.0
NODES = [node(n) for n in range(5)]
WITH_IT = (Phase.BEGUN, Phase.SWAPPED, Phase.STABLE)
ACTED = (Phase.STABLE, Phase.REFUSED, Phase.ROLLED_BACK, Phase.EXCUSED)
PLANS: list[dict[str, Any]] = [
    {},
    {},
    {"on_failure": "pause"},
    {"on_failure": "pause", "max_failures": 1},
    {"max_failures": 1, "max_refused": 1.0},
    {"max_refused": 1.0, "preload": True},
    {"min_frames": 400},
    {"min_frames": 400, "on_failure": "pause"},
    {"approval": "manual"},
    {"bake_seconds": 0.0},
]
WAVES: list[dict[str, Any]] = [
    {"waves": ("1", "3", "100%")},
    {"waves": ("40%", "100%")},
    {"waves": ("1", "50%"), "mode": "ab"},
    {"waves": (CANARIES, "60%", "100%"), "selector": {"line": "a"}},
    {"waves": (CANARIES, "100%"), "canaries": (NODES[0], NODES[4])},
]
OF_A_NODE = (
    "acts",
    "acts by what it read before",
    "fails",
    "starts anew quickly",
    "comes or goes",
    "is pinned or not",
    "is moved to line a",
    "is moved to line b",
)
OF_SOMEBODY = ("pause", "resume", "advance", "abort", "write current", "wait")
EVENTS = [(what, name) for what in OF_A_NODE for name in NODES] + [(what, "") for what in OF_SOMEBODY] * 3


@dataclass
class Node:
    """read: the roll-out as it read it last. since: when it last came or went, was pinned or moved; went_at: when it
    last came or went."""

    present: bool = True
    held: bool = False
    report: Report = field(default_factory=lambda: Report("v1", labels={"line": "a"}))
    read: Rollout | None = None
    since: float = 0.0
    went_at: float = 0.0

    def tell(self, **said: Any) -> None:
        """Report this, too."""
        self.report = replace(self.report, **said)


@dataclass
class InHand:
    """What a coordinator has decided and not written yet, and the revisions that it read."""

    rollout: Rollout
    document: int
    current: int


@dataclass
class Coordinator:
    """ahead: of its clock. lead: revision of its key, as it believes; since: when it began to look under that, and at
    which roll-out. takes_over: it has not looked yet, and nobody led for so long, where that is known."""

    ahead: float
    lead: int | None = None
    since: tuple[str, float] = ("", 0.0)
    watch: Watch = field(default_factory=Watch)
    in_hand: InHand | None = None
    takes_over: tuple[float | None] | None = None


class Plant(RuleBasedStateMachine):
    """A config store, three coordinators, five nodes, and whoever may write the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.revision = 1
        self.document: Rollout | None = None
        self.written = 0  # revision of the document
        self.current, self.current_written = "v1", 1
        self.leader: int | None = None  # revision of the leader's key
        self.led_until = 0.0
        self.nodes = {name: Node() for name in NODES}
        self.coordinators = [Coordinator(0.0), Coordinator(-3600.0), Coordinator(1e6)]
        self.opened_at = 0.0  # of the last wave
        self.acted_at: float | None = None  # when all of it had acted for the first time
        self.goes_on_since = 0.0  # when somebody resumed it last, or it began
        self.asked_to_advance = False
        self.started = 0

    # -- the store -----------------------------------------------------------------------------------

    def put(self, new: Rollout) -> None:
        """Write the document, as it would be read again."""
        old = self.document
        self.revision += 1
        self.document, self.written = decode_rollout("key", encode_rollout(new)), self.revision
        assert self.document == new
        if old is None or old.id != new.id:
            self.goes_on_since, self.asked_to_advance = self.now, False
            return
        assert old.status not in ENDED
        assert new.wave >= old.wave
        assert new.open_below >= old.open_below
        assert new.plan.version == old.plan.version
        if new.wave > old.wave:
            assert old.status in (Status.PLANNED, *BEGINS)
            assert new.status is Status.ROLLING
            self.opened_at, self.acted_at, self.asked_to_advance = self.now, None, False
        if old.status is Status.ABORTING:
            assert new.status in (Status.ABORTED, Status.SUPERSEDED)
        if new.status is Status.DONE:
            assert self.current_written == int(old.plan.based_on)
            self.current, self.current_written = new.plan.version, self.revision
        if new.status is Status.PAUSED:
            self.asked_to_advance = False

    @property
    def fleet(self) -> Fleet:
        members = {name: Member(n.present, n.report) for name, n in self.nodes.items()}
        return Fleet(members, str(self.current_written))

    @property
    def under_way(self) -> Rollout | None:
        return self.document if self.document and self.document.status not in ENDED else None

    def begin(self, plan: dict[str, Any], waves: dict[str, Any]) -> None:
        self.started += 1
        given = {"bake_seconds": BAKE_S, "deadline_seconds": DEADLINE_S, **plan, **waves}
        new = f"v{self.started + 1}"
        about = {"id": f"r{self.started}", "version": new, "came_from": self.current, "salt": new}
        self.put(a_rollout(**given, **about, based_on=str(self.current_written)))

    # -- coordinators --------------------------------------------------------------------------------

    @rule(n=st.integers(0, 2), what=st.sampled_from(["elect", "look", "look", "write", "write", "kill"]))
    def a_coordinator(self, n: int, what: str) -> None:
        """Each step by itself: it may be suspended between two."""
        if what == "elect":
            self.elect(n, n > 0)
        elif what == "look":
            self.look(n)
        elif what == "write":
            self.write(n)
        else:
            self.coordinators[n] = Coordinator(self.coordinators[n].ahead)

    def elect(self, n: int, known: bool) -> None:
        """known: for how long nobody led."""
        if self.leader is None:
            self.revision += 1
            self.leader = self.revision
            c = self.coordinators[n]
            c.lead, c.since, c.watch, c.in_hand = self.revision, ("", 0.0), Watch(), None
            c.takes_over = (self.now - self.led_until if known else None,)

    @rule()
    def the_lease_ends(self) -> None:
        """Whoever leads doesn't know it yet."""
        self.led_until = self.now if self.leader is not None else self.led_until
        self.leader = None

    def look(self, n: int) -> None:
        """It reads, and decides."""
        c, document = self.coordinators[n], self.document
        c.in_hand = None
        if c.lead is None or document is None or document.status in ENDED:
            return
        if c.since[0] != document.id:
            c.since = document.id, self.now
        if c.takes_over:
            step, c.takes_over = adopted(document, c.takes_over[0], ORPHANED_S), None
            if step:
                assert step.status is Status.PAUSED
                c.in_hand = InHand(step, self.written, self.current_written)
                return
        decided = decide(document, self.fleet, c.watch, self.now + c.ahead)
        c.watch = decided.watch
        self.check_step(c, document, decided.rollout or document)
        if decided.rollout is not None:
            self.check_what_comes_after(c, document, decided.rollout)
            c.in_hand = InHand(decided.rollout, self.written, self.current_written)

    def write(self, n: int) -> None:
        """One transaction: its lead, the document, `current`."""
        c = self.coordinators[n]
        in_hand, c.in_hand = c.in_hand, None
        read = (c.lead, in_hand.document, in_hand.current) if in_hand else None
        if in_hand and read == (self.leader, self.written, self.current_written):
            self.put(in_hand.rollout)
        elif in_hand:
            c.watch = c.watch.anew()

    def leader_steps(self) -> None:
        """Whoever leads looks and writes without being interrupted."""
        for n, c in enumerate(self.coordinators):
            if c.lead is not None and c.lead == self.leader:
                self.look(n)
                self.write(n)

    # -- what is true when a coordinator looks -------------------------------------------------------

    def check_step(self, c: Coordinator, old: Rollout, new: Rollout) -> None:
        if self.current_written != int(old.plan.based_on):
            assert new.status is Status.SUPERSEDED
            return
        if old.status in FOLLOWED and old.limits.on_failure == "rollback" and self.harm(c, old):
            assert new.status is Status.ABORTING
        if new.wave > old.wave or new.status is Status.DONE:
            assert not self.harm(c, old)
            assert old.status in (Status.PLANNED, *BEGINS)
            if old.wave >= 0 and not self.asked_to_advance:
                self.check_wave(c, old)
        if new.status is Status.PAUSED and old.status in BEGINS and "in time" in new.why:
            since = max(self.opened_at, self.goes_on_since, c.since[1])
            assert self.now - since >= old.limits.deadline_seconds, "it had no time"

    def harm(self, c: Coordinator, r: Rollout) -> bool:
        """Whether more nodes went back, or vanished when this coordinator looked on, than may."""
        if r.wave < 0:
            return False
        watched_s = self.now - c.since[1]
        forgiven = r.forgiven if r.limits.on_failure == "pause" else ()
        own = [n for name, n in self.nodes.items() if n.report.rollout == r.id and name not in forgiven]
        bad = [n for n in own if n.report.phase is Phase.ROLLED_BACK]
        bad += [
            n
            for n in own
            if n.report.phase in WITH_IT
            and not n.present
            and (n.went_at > c.since[1] or watched_s >= RETURN_S)
        ]
        return len(bad) > (r.limits.max_failures if r.wave > 0 else 0)

    def check_wave(self, c: Coordinator, r: Rollout) -> None:
        """The open wave is through, and the next one isn't early."""
        assert r.status is Status.BAKING
        assert r.plan.approval == "auto"
        assert r.plan.mode == "waves" or not r.is_last_wave
        assert self.now - c.since[1] >= r.limits.bake_seconds, "it hasn't looked on for so long"
        assert self.acted_at is not None
        assert self.now - self.acted_at >= r.limits.bake_seconds, "it hasn't baked"
        assert self.now - self.goes_on_since >= r.limits.bake_seconds, "it hasn't baked since it was resumed"
        own = [n for n in self.nodes.values() if n.report.rollout == r.id]
        seen = [n.report.frames for n in own if n.present and n.report.phase is Phase.STABLE]
        assert max(seen, default=-1) >= r.limits.min_frames, "no data is no pass"
        for n in self.waited_for(r):
            assert n.report.phase is Phase.EXCUSED or n in own
            assert n.report.phase in ACTED
            assert n.report.phase is not Phase.STABLE or n.report.frames >= r.limits.min_frames
        gone = [n for n in own if n.report.phase in WITH_IT and not n.present]
        assert len(gone) <= (r.limits.max_failures if r.wave > 0 else 0) + len(r.forgiven)

    def waited_for(self, rollout: Rollout) -> list[Node]:
        """The nodes of the open waves that have been there, and followed the fleet, ever since the last one opened."""
        return [
            n
            for name, n in self.nodes.items()
            if n.present and not n.held and n.since < self.opened_at and is_in(rollout, name, n.report.labels)
        ]

    def check_what_comes_after(self, c: Coordinator, old: Rollout, new: Rollout) -> None:
        """Without anything new it comes to rest in a few steps, and is never again what it was."""
        seen, watch = [old, new], c.watch
        while True:
            again = decide(seen[-1], self.fleet, watch, self.now + c.ahead)
            if again.rollout is None:
                return
            watch = again.watch
            assert again.rollout not in seen, "it undoes what it did"
            seen.append(again.rollout)
            assert len(seen) < 12

    @invariant()
    def all_have_acted(self) -> None:
        """Not a promise, but what one is checked against."""
        r = self.under_way
        if self.acted_at is None and r and r.wave >= 0:
            waited_for = self.waited_for(r)
            if all(n.report.rollout == r.id and n.report.phase in ACTED for n in waited_for):
                self.acted_at = self.now

    # -- nodes ---------------------------------------------------------------------------------------

    def act(self, name: str, reads: bool, fails: bool = False) -> None:
        """One step, by what the node read last. It begins only when it is sure that this still stands there, and that
        somebody leads."""
        n = self.nodes[name]
        if not n.present:
            return
        n.read = self.document if reads else n.read
        r, said = n.read, n.report
        if n.held:
            n.tell(phase=Phase.EXCUSED)
        elif r is None or r.status not in FOLLOWED or not is_in(r, name, said.labels):
            prepared = r.plan.version if r and r.plan.preload and r.status not in ENDED else ""
            phase = said.phase if said.phase in (Phase.REFUSED, Phase.ROLLED_BACK) else Phase.NONE
            n.tell(version=self.current, phase=phase, preloaded=prepared)
        elif said.rollout != r.id or said.phase in (Phase.NONE, Phase.EXCUSED):
            n.tell(rollout=r.id, phase=Phase.WAITING, frames=0)
        elif said.phase is Phase.WAITING:
            if self.document == r and r.status in BEGINS and self.leader is not None:
                n.tell(phase=Phase.BEGUN)
        elif said.phase is Phase.BEGUN and fails:
            n.tell(phase=Phase.REFUSED)
        elif said.phase is Phase.BEGUN:
            n.tell(phase=Phase.SWAPPED, version=r.plan.version)
        elif said.phase in (Phase.SWAPPED, Phase.STABLE) and fails:
            n.tell(phase=Phase.ROLLED_BACK, version=r.plan.came_from)
        elif said.phase in (Phase.SWAPPED, Phase.STABLE):
            n.tell(phase=Phase.STABLE, frames=said.frames + 100 * (said.phase is Phase.STABLE))

    def all_act(self, times: int) -> None:
        """None of them fails, and nothing else happens."""
        for name in NODES * times:
            self.act(name, True)
        self.all_have_acted()

    # -- what happens --------------------------------------------------------------------------------

    @rule(event=st.sampled_from(EVENTS))
    def something_happens(self, event: tuple[str, str]) -> None:
        what, name = event
        if name:
            self.happens_to(self.nodes[name], what, name)
        elif what == "write current":
            self.revision += 1
            self.current, self.current_written = "v1", self.revision
        elif what == "wait":
            self.now += DEADLINE_S
        else:
            self.order(what)
        self.all_have_acted()

    @rule(seed=st.integers(0, 10**6))
    def it_goes_on(self, seed: int) -> None:
        """A roll-out is under way, somebody leads, the nodes act, and now and then something happens between."""
        rng = random.Random(seed)
        busy = rng.choice([0.0, 0.03, 0.1, 0.3])
        if rng.random() < 0.5:
            self.the_lease_ends()
        self.elect(rng.randrange(3), rng.random() < 0.9)
        for _ in range(rng.randrange(1, 60)):
            if not self.under_way and rng.random() < 0.8:
                self.begin(rng.choice(PLANS), rng.choice(WAVES))
            self.now += rng.choice([0.0, 0.0, BAKE_S / 2])
            self.leader_steps()
            self.all_act(1)
            while rng.random() < busy:
                self.something_happens(rng.choice(EVENTS))

    def happens_to(self, n: Node, what: str, name: str) -> None:
        """A node."""
        if what in ("acts", "acts by what it read before", "fails"):
            self.act(name, what != "acts by what it read before", what == "fails")
        elif what == "starts anew quickly":
            if n.present and n.report.phase in WITH_IT:
                n.tell(phase=Phase.BEGUN)
        else:
            n.since = self.now
            if what == "comes or goes":
                n.present, n.went_at = not n.present, self.now
            elif what == "is pinned or not":
                n.held = not n.held
                self.act(name, False)
            else:
                n.tell(labels={"line": what[-1]})

    def order(self, what: str) -> None:
        """Operators write by compare-and-set, too; whoever loses reads again, so here all win."""
        orders: dict[str, Callable[[Rollout], Rollout]] = {
            "pause": lambda r: paused(r, "lunch"),
            "resume": lambda r: resumed(r, self.fleet),
            "advance": lambda r: advanced(r, self.fleet),
            "abort": lambda r: aborted(r, "misses dents"),
        }
        if self.document is None:
            return
        with suppress(ConflictError):
            was_paused = self.document.status is Status.PAUSED
            self.put(orders[what](self.document))
            self.asked_to_advance |= what == "advance"
            if was_paused and what in ("resume", "advance"):
                self.goes_on_since = self.now

    # -- in the end ----------------------------------------------------------------------------------

    def teardown(self) -> None:
        """From now on all nodes are there and well, canaries are among them, and somebody leads: it comes to its end,
        or says what it waits for."""
        if (was := self.under_way) is None:
            return
        for name, n in self.nodes.items():
            n.present, n.held = True, n.held and name not in (NODES[0], NODES[4])
            n.tell(labels={"line": "b" if n.held else "a"})
            self.act(name, True)
        own = [n.report.phase for n in self.nodes.values() if n.report.rollout == was.id]
        bad = Phase.ROLLED_BACK in own or Phase.REFUSED in own
        for _ in range(20):
            if (r := self.under_way) is None:
                break
            if r.plan.approval == "manual" or r.plan.mode == "ab" or "serves on no node" in r.why:
                self.order("advance")
            elif r.status is Status.PAUSED and not bad:
                self.order("resume")
            self.the_lease_ends()
            self.elect(0, True)
            for seconds in (0.0, 0.0, BAKE_S):
                self.now += seconds
                self.leader_steps()
                self.all_act(4)
        assert self.document is not None
        status = self.document.status
        if status is not Status.DONE and self.current_written != int(was.plan.based_on):
            assert status is Status.SUPERSEDED
        elif was.status is Status.ABORTING:
            assert status is Status.ABORTED
        elif bad:
            assert status in (*ENDED, Status.PAUSED)
        else:
            assert status is Status.DONE
        for name, n in self.nodes.items():
            self.act(name, True)
            assert n.report.version == self.current or n.held or status not in ENDED


def test_whatever_happens_the_promises_hold() -> None:
    """Random interleavings of everything that can happen to a roll-out."""
    run_state_machine_as_test(
        Plant, settings=settings(max_examples=examples(60), stateful_step_count=12, deadline=None)
    )
