# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decides what becomes of a roll-out: document, fleet and clock in, at most one step out.

Level-triggered, as the node's reconciler: it compares what the nodes say with what the open waves should come to. It
holds no state but `Watch`, what this coordinator has seen since it leads; another one begins that anew, so bake time
and deadline start again, which is late and never early. No clock of another machine counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from edgeagent.core.fleet_report import Phase
from edgeagent.core.rollout import (
    BEGINS,
    CANARIES,
    ENDED,
    EVERYBODY,
    FOLLOWED,
    MAX_FORGIVEN,
    Cause,
    Rollout,
    Status,
)
from edgeagent.core.rollout_view import (
    Fleet,
    View,
    advance_in_words,
    cannot_prepare,
    eligible,
    has_prepared,
    named,
    openings,
)
from edgeagent.errors import ConflictError

EVIDENCE_LIMIT = 3.0
"""From which power of ten on the nodes' evidence together stops a roll-out."""


RETURN_S = 120.0
"""Nodes that had begun, and were away already when this coordinator first looked, are awaited for so many seconds:
after a power cut in a plant they come back one by one."""


class Because(NamedTuple):
    """Why a roll-out comes to a status: which kind of cause, and what it was in this case."""

    cause: str
    why: str


@dataclass(frozen=True)
class Watch:
    """What a coordinator has seen of a roll-out. All times are monotonic seconds.

    id: of the roll-out; first: when it was first looked at; awaited: see RETURN_S. The rest is of a stretch of it, a
    wave and the status last seen, where rolling and then baking is one. counted: the nodes of the open waves that were
    there when it began, or had begun before. acted: when all of them had acted for the first time, None while they
    haven't. since: when the stretch began, or when last nothing was waited for: the deadline counts from then.
    """

    id: str = ""
    first: float = 0.0
    awaited: frozenset[str] = frozenset()
    stretch: tuple[int, Status] | None = None
    counted: frozenset[str] = frozenset()
    acted: float | None = None
    since: float = 0.0

    def anew(self) -> Watch:
        """To be gone on with where the stretch may have ended: the next look begins another one."""
        return replace(self, stretch=None)


@dataclass(frozen=True)
class Step:
    """The document to write, None when there is nothing to do, and what to remember: `anew` where that couldn't be
    written, for somebody else has written then, who may have paused and resumed it."""

    rollout: Rollout | None
    watch: Watch


def decide(rollout: Rollout, fleet: Fleet, watch: Watch, now: float) -> Step:
    """At most one step of a roll-out. now: monotonic seconds.

    Of a document with the status DONE `current` becomes its version in the same transaction.
    """
    watch = _seen(rollout, fleet, watch, now)
    view = View(rollout, fleet, watch.counted, watch.awaited)
    if rollout.status in ENDED:
        return Step(None, watch)
    if fleet.current_revision != rollout.plan.based_on:
        because = Because(Cause.OVERTAKEN, "somebody wrote `current`, which counts from now on")
        return _step(rollout, watch, Status.SUPERSEDED, because)
    if rollout.status is Status.ABORTING:
        return _abort(view, watch, now)
    if rollout.status in FOLLOWED and (harm := _harm(view)):
        if rollout.limits.on_failure == "rollback":
            return _step(rollout, watch, Status.ABORTING, harm)
        if rollout.status is not Status.PAUSED:
            return _step(rollout, watch, Status.PAUSED, harm)
    if rollout.status is Status.PAUSED:
        return Step(None, watch)
    if rollout.status is Status.PLANNED:
        return _begin(view, watch, now)
    return _go_on(view, watch, now)


def adopted(rollout: Rollout, leaderless_s: float | None, longest_s: float) -> Rollout | None:
    """The document to write when a coordinator takes over, None to go on: a roll-out that nobody led for longer than
    `longest_s` seconds, or for nobody knows how long, waits for somebody to look at it."""
    if rollout.status not in (Status.ROLLING, Status.BAKING):
        return None
    if leaderless_s is not None and leaderless_s <= longest_s:
        return None
    how_long = "it isn't known for how long" if leaderless_s is None else f"for {leaderless_s:.0f} s"
    return paused(rollout, f"no coordinator led it, {how_long}; resume it", Cause.LEADERLESS)


# -- on somebody's word ------------------------------------------------------------------------------


def paused(rollout: Rollout, why: str, cause: Cause = Cause.ASKED) -> Rollout:
    """No further wave opens. Raises ConflictError."""
    _check_status(rollout, "pause", Status.PLANNED, Status.ROLLING, Status.BAKING)
    return replace(rollout, status=Status.PAUSED, cause=cause, why=why, advance=False)


def resumed(rollout: Rollout, fleet: Fleet) -> Rollout:
    """It goes on, and all time counts anew. What went wrong until now is no reason to pause it again; what is a reason
    to roll back still is one. Raises ConflictError."""
    _check_status(rollout, "resume", Status.PAUSED)
    view = View(rollout, fleet)
    status = Status.ROLLING if rollout.wave >= 0 else Status.PLANNED
    refused = len(view.refused)
    going = replace(rollout, status=status, cause="", why="", advance=False, forgiven_refused=refused)
    if rollout.limits.on_failure == "rollback":
        return going
    if len(view.failed) > MAX_FORGIVEN:
        raise ConflictError(
            f"resume of roll-out {rollout.id}",
            f"it has failed on {len(view.failed)} nodes, more than {MAX_FORGIVEN}",
            "abort it, and begin another one",
        )
    return replace(going, forgiven=tuple(sorted(view.failed)), forgiven_evidence=max(0.0, view.evidence))


def advanced(rollout: Rollout, fleet: Fleet) -> Rollout:
    """The next wave opens as soon as a coordinator sees it, whatever this one still waits for, unless there is a reason
    to roll back. Raises ConflictError."""
    _check_status(rollout, "advance", Status.PLANNED, Status.ROLLING, Status.BAKING, Status.PAUSED)
    going = resumed(rollout, fleet) if rollout.status is Status.PAUSED else rollout
    return replace(going, advance=True, cause="", why="")


def aborted(rollout: Rollout, why: str) -> Rollout:
    """All nodes go back. Raises ConflictError."""
    _check_status(rollout, "abort", Status.PLANNED, Status.ROLLING, Status.BAKING, Status.PAUSED)
    return replace(rollout, status=Status.ABORTING, cause=Cause.ASKED, why=why, advance=False)


def _check_status(rollout: Rollout, verb: str, *allowed: Status) -> None:
    if rollout.status not in allowed:
        raise ConflictError(
            f"{verb} of roll-out {rollout.id}",
            f"it is {rollout.status}" + (f": {rollout.why}" if rollout.why else ""),
            "see `edgeagent rollout status`",
        )


# -- the steps ---------------------------------------------------------------------------------------


def _seen(rollout: Rollout, fleet: Fleet, watch: Watch, now: float) -> Watch:
    """What is known with this look; anew for another roll-out, and in part for another stretch of it."""
    if watch.id != rollout.id:
        watch = Watch(rollout.id, now, frozenset(View(rollout, fleet).vanished))
    away = (n for n in watch.awaited if n in fleet.members and not fleet.members[n].present)
    awaited = frozenset(away) if now - watch.first < RETURN_S else frozenset()
    stretch = rollout.wave, rollout.status
    # From baking nothing but a pause leads back to rolling, however short it was.
    rolled = rollout.status is Status.BAKING and watch.stretch == (rollout.wave, Status.ROLLING)
    if rolled or watch.stretch == stretch:
        return replace(watch, awaited=awaited, stretch=stretch)
    view = View(rollout, fleet)
    begun = {n for n, m in view.own.items() if m.report.phase not in (Phase.NONE, Phase.WAITING)}
    there = {n for n, m in view.inside.items() if m.present}
    return Watch(watch.id, watch.first, awaited, stretch, frozenset(there | begun), since=now)


def _step(rollout: Rollout, watch: Watch, status: Status, because: Because | None = None) -> Step:
    """What was seen of the stretch is forgotten unless it goes on: by the next look somebody may have resumed it."""
    watch = watch if status in BEGINS else watch.anew()
    cause, why = because or ("", "")
    return Step(replace(rollout, status=status, cause=cause, why=why, advance=False), watch)


def _harm(view: View) -> Because | None:
    """Why the version does harm; None while it doesn't."""
    r = view.rollout
    failed = [n for n in view.failed if n not in r.forgiven]
    if len(failed) > (r.limits.max_failures if r.wave > 0 else 0):
        members = view.fleet.members
        reasons = {members[n].report.why for n in failed if n not in view.vanished} - {""}
        why = f": {sorted(reasons)[0]}" if reasons else ""
        return Because(Cause.FAILED, f"{named(failed)} went back from it or vanished with it{why}")
    if (evidence := view.evidence) - r.forgiven_evidence >= EVIDENCE_LIMIT:
        why = f"what the nodes saw, taken together, says that it is worse (evidence 10^{evidence:.1f})"
        return Because(Cause.WORSE, why)
    return None


def _refused(view: View, of: int) -> Because | None:
    """Why it goes no further when more than the share of so many nodes have refused the version, else None."""
    r, refused = view.rollout, view.refused
    more = len(refused) - r.forgiven_refused
    if more <= 0 or more / max(of, 1) <= r.limits.max_refused:
        return None
    report = view.fleet.members[min(refused)].report
    why = report.preload_refused if r.wave < 0 else report.why
    return Because(Cause.REFUSED, f"{named(refused)} refused it: {why}")


def _begin(view: View, watch: Watch, now: float) -> Step:
    """The first wave opens, once all nodes have prepared the version if that was asked for."""
    r = view.rollout
    if r.plan.preload and not r.advance:
        there = eligible(view.fleet)
        if refused := _refused(view, len(there)):
            return _step(r, watch, Status.PAUSED, refused)
        waits = [n for n, m in there.items() if not (has_prepared(r, m) or cannot_prepare(r, m))]
        if waits and now - watch.since < r.limits.deadline_seconds:
            return Step(None, watch)
        if waits:
            why = f"inconclusive: {named(waits)} have not prepared it in time"
            return _step(r, watch, Status.PAUSED, Because(Cause.UNPREPARED, why))
    return _open_next(view, watch)


def _open_next(view: View, watch: Watch) -> Step:
    """The next wave that brings in a node, or the last; after the last it is done."""
    r = view.rollout
    if r.ends_next:
        return _step(r, watch, Status.DONE)
    if r.is_last_wave:
        r = replace(r, plan=replace(r.plan, mode="waves", waves=(*r.plan.waves, EVERYBODY)))
    if not eligible(view.fleet):
        why = "no node is there that uses the model and follows the fleet"
        return _step(view.rollout, watch, Status.PAUSED, Because(Cause.NOBODY, why))
    coming = openings(r, view.fleet)
    if r.plan.waves[coming[0].index] == CANARIES and not coming[0].nodes:
        why = "no node that is there and follows the fleet is a canary"
        return _step(r, watch, Status.PAUSED, Because(Cause.NO_CANARY, why))
    opening = next((o for o in coming if o.brings), coming[-1])
    return _step(replace(r, wave=opening.index, open_below=opening.below), watch, Status.ROLLING)


def _go_on(view: View, watch: Watch, now: float) -> Step:
    """A wave is open, and nothing speaks against the version. Once all have acted it bakes: a node that starts anew
    then is waited for at the end, and doesn't have everybody begin again."""
    r = view.rollout
    if r.advance:
        return _open_next(view, watch)
    if refused := _refused(view, len(view.taking)):
        return _step(r, watch, Status.PAUSED, refused)
    if watch.acted is None and view.pending:
        return _wait(view, watch, now, Cause.LATE, f"{named(view.pending)} have not acted in time")
    watch = watch if watch.acted is not None else replace(watch, acted=now)
    if r.status is not Status.BAKING:
        return _step(r, watch, Status.BAKING)
    return _bake(view, watch, now)


def _wait(view: View, watch: Watch, now: float, cause: Cause, why: str) -> Step:
    """For what is missing, until the deadline."""
    if now - watch.since < view.rollout.limits.deadline_seconds:
        return Step(None, watch)
    return _step(view.rollout, watch, Status.PAUSED, Because(cause, f"inconclusive: {why}"))


def _bake(view: View, watch: Watch, now: float) -> Step:
    """All nodes have acted."""
    r = view.rollout
    assert watch.acted is not None
    if now - watch.acted < r.limits.bake_seconds:
        return Step(None, replace(watch, since=now))
    if view.pending:
        return _wait(view, watch, now, Cause.LATE, f"{named(view.pending)} have not acted in time")
    if view.unseen:
        seen = f"fewer than {r.limits.min_frames} frames or {r.limits.min_objects} objects"
        return _wait(view, watch, now, Cause.UNSEEN, f"{named(view.unseen)} have seen {seen} with it")
    if not view.stable:
        why = f"inconclusive: it serves on no node of the open waves; `rollout advance` {advance_in_words(r)}"
        return _step(r, watch, Status.PAUSED, Because(Cause.UNSERVED, why))
    watch = replace(watch, since=now)
    if r.plan.approval == "manual" or (r.plan.mode == "ab" and r.is_last_wave):
        why = "waits for `edgeagent rollout advance`"
        return (
            Step(None, watch) if r.why == why else _step(r, watch, Status.BAKING, Because(Cause.ADVANCE, why))
        )
    return _open_next(view, watch)


def _abort(view: View, watch: Watch, now: float) -> Step:
    """The nodes of the open waves go back; those that are away do when they come."""
    r, serving = view.rollout, view.serving
    if serving and now - watch.since < r.limits.deadline_seconds:
        return Step(None, watch)
    left = f"; {named(serving)} serve it still" if serving else ""
    return _step(r, watch, Status.ABORTED, Because(r.cause, f"{r.why}{left}"))
