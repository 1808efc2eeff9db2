# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decides what becomes of a roll-out: document, fleet and clock in, at most one step out.

Level-triggered, as the node's reconciler: it compares what the nodes say with what the open waves should come to. It
holds no state but `Watch`, what this coordinator has seen since it leads; another one begins that anew, so bake time
and deadline start again, which is late and never early. No clock of another machine counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeagent.core.fleet_report import Phase
from edgeagent.core.rollout import CANARIES, ENDED, FOLLOWED, Rollout, Status
from edgeagent.core.rollout_view import Fleet, View, eligible, named, nodes_of_wave
from edgeagent.errors import ConflictError

EVIDENCE_LIMIT = 3.0
"""From which power of ten on the nodes' evidence together stops a roll-out."""


@dataclass(frozen=True)
class Watch:
    """What a coordinator has seen of a roll-out. All times are monotonic seconds.

    of: id and wave. since: when that wave was first seen; counted: the nodes of the open waves that were there then, or
    had begun before. stable_since: since when all of them have acted, None while they haven't.
    """

    of: tuple[str, int] = ("", -1)
    since: float = 0.0
    counted: frozenset[str] = frozenset()
    stable_since: float | None = None


@dataclass(frozen=True)
class Step:
    """The document to write, None when there is nothing to do, and what to remember."""

    rollout: Rollout | None
    watch: Watch


def decide(rollout: Rollout, fleet: Fleet, watch: Watch, now: float) -> Step:
    """At most one step of a roll-out. now: monotonic seconds.

    Of a document with the status DONE `current` becomes its version in the same transaction.
    """
    watch = _seen(rollout, fleet, watch, now)
    view = View(rollout, fleet, watch.counted)
    if rollout.status in ENDED:
        return Step(None, watch)
    if fleet.current_revision != rollout.plan.based_on:
        return _step(rollout, watch, Status.SUPERSEDED, "somebody wrote `current`, which counts from now on")
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
    return replace(rollout, status=Status.PAUSED, why=f"no coordinator led it, {how_long}; resume it")


# -- on somebody's word ------------------------------------------------------------------------------


def paused(rollout: Rollout, why: str) -> Rollout:
    """No further wave opens. Raises ConflictError."""
    _check_status(rollout, "pause", Status.PLANNED, Status.ROLLING, Status.BAKING)
    return replace(rollout, status=Status.PAUSED, why=why, advance=False)


def resumed(rollout: Rollout, fleet: Fleet) -> Rollout:
    """It goes on; what went wrong until now is no reason to stop it again. Raises ConflictError."""
    _check_status(rollout, "resume", Status.PAUSED)
    view = View(rollout, fleet, frozenset())
    return replace(
        rollout,
        status=Status.ROLLING if rollout.wave >= 0 else Status.PLANNED,
        why="",
        forgiven=len(view.failed),
        forgiven_refused=len(view.refused),
    )


def advanced(rollout: Rollout, fleet: Fleet) -> Rollout:
    """The next wave opens as soon as a coordinator sees it, whatever this one still waits for. Raises ConflictError."""
    _check_status(rollout, "advance", Status.PLANNED, Status.ROLLING, Status.BAKING, Status.PAUSED)
    going = resumed(rollout, fleet) if rollout.status is Status.PAUSED else rollout
    return replace(going, advance=True, why="")


def aborted(rollout: Rollout, why: str) -> Rollout:
    """All nodes go back. Raises ConflictError."""
    _check_status(rollout, "abort", Status.PLANNED, Status.ROLLING, Status.BAKING, Status.PAUSED)
    return replace(rollout, status=Status.ABORTING, why=why, advance=False)


def _check_status(rollout: Rollout, verb: str, *allowed: Status) -> None:
    if rollout.status not in allowed:
        raise ConflictError(
            f"{verb} of roll-out {rollout.id}",
            f"it is {rollout.status}" + (f": {rollout.why}" if rollout.why else ""),
            "see `edgeagent rollout status`",
        )


# -- the steps ---------------------------------------------------------------------------------------


def _seen(rollout: Rollout, fleet: Fleet, watch: Watch, now: float) -> Watch:
    of = rollout.id, rollout.wave
    if watch.of == of:
        return watch
    inside = View(rollout, fleet, frozenset()).inside
    begun = {
        n for n, m in inside.items() if m.report.rollout == rollout.id and m.report.phase is not Phase.WAITING
    }
    return Watch(of, now, frozenset({n for n, m in inside.items() if m.present} | begun))


def _step(rollout: Rollout, watch: Watch, status: Status, why: str = "") -> Step:
    return Step(replace(rollout, status=status, why=why, advance=False), watch)


def _harm(view: View) -> str:
    """Why the version does harm, "" while it doesn't."""
    r, failed = view.rollout, view.failed
    allowed = (r.limits.max_failures if r.wave > 0 else 0) + r.forgiven
    if len(failed) > allowed:
        reasons = {m.report.why for n, m in view.inside.items() if n in failed and m.present and m.report.why}
        why = f": {sorted(reasons)[0]}" if reasons else ""
        return f"{named(failed)} went back from it or vanished with it{why}"
    if (evidence := view.evidence) >= EVIDENCE_LIMIT and not r.forgiven:
        return f"what the nodes saw, taken together, says that it is worse (evidence 10^{evidence:.1f})"
    return ""


def _begin(view: View, watch: Watch, now: float) -> Step:
    """The first wave opens, once all nodes have prepared the version if that was asked for."""
    r = view.rollout
    if r.plan.preload and not r.advance:
        there = eligible(view.fleet)
        waits = [
            n
            for n, m in there.items()
            if r.plan.version not in (m.report.preloaded, m.report.version) and not m.report.preload_refused
        ]
        refusing = [n for n, m in there.items() if m.report.preload_refused]
        if len(refusing) - r.forgiven_refused > r.limits.max_refused * len(there):
            why = there[refusing[0]].report.preload_refused
            return _step(r, watch, Status.PAUSED, f"{named(refusing)} can't prepare it: {why}")
        if waits:
            if now - watch.since < r.limits.deadline_seconds:
                return Step(None, watch)
            return _step(
                r, watch, Status.PAUSED, f"inconclusive: {named(waits)} have not prepared it in time"
            )
    return _open_next(view, watch)


def _open_next(view: View, watch: Watch) -> Step:
    """The next wave that brings in a node, or the last."""
    r, fleet = view.rollout, view.fleet
    if r.is_last_wave:
        if r.plan.mode == "waves":
            return _step(r, watch, Status.DONE)
        r = replace(r, plan=replace(r.plan, mode="waves", waves=(*r.plan.waves, "100%")))
    inside, _ = nodes_of_wave(r, r.wave, fleet) if r.wave >= 0 else (frozenset[str](), 0)
    for index in range(r.wave + 1, len(r.plan.waves)):
        nodes, below = nodes_of_wave(r, index, fleet)
        if nodes <= inside and r.plan.waves[index] == CANARIES:
            return _step(r, watch, Status.PAUSED, "no node that is there is a canary")
        if not nodes <= inside or index == len(r.plan.waves) - 1:
            break
    if not nodes:
        return _step(r, watch, Status.PAUSED, "no node is there that uses the model and follows the fleet")
    opened = replace(r, wave=index, open_below=below)
    return _step(opened, watch, Status.ROLLING)


def _go_on(view: View, watch: Watch, now: float) -> Step:
    """A wave is open, and nothing speaks against the version."""
    r, refused, pending = view.rollout, view.refused, view.pending
    if r.advance:
        return _open_next(view, watch)
    if len(refused) - r.forgiven_refused > r.limits.max_refused * len(view.inside):
        why = view.inside[sorted(refused)[0]].report.why
        return _step(r, watch, Status.PAUSED, f"{named(refused)} refused it: {why}")
    if pending:
        watch = replace(watch, stable_since=None)
        if now - watch.since >= r.limits.deadline_seconds:
            return _step(r, watch, Status.PAUSED, f"inconclusive: {named(pending)} have not acted in time")
        return Step(None, watch) if r.status is Status.ROLLING else _step(r, watch, Status.ROLLING)
    since = now if watch.stable_since is None else watch.stable_since
    watch = replace(watch, stable_since=since)
    if r.status is not Status.BAKING:
        return _step(r, watch, Status.BAKING)
    return _bake(view, watch, now - since)


def _bake(view: View, watch: Watch, baked_s: float) -> Step:
    """All nodes have acted. baked_s: for how long."""
    r = view.rollout
    if baked_s < r.limits.bake_seconds:
        return Step(None, watch)
    if unseen := view.unseen:
        if baked_s < r.limits.bake_seconds + r.limits.deadline_seconds:
            return Step(None, watch)
        seen = f"fewer than {r.limits.min_frames} frames or {r.limits.min_objects} objects"
        return _step(r, watch, Status.PAUSED, f"inconclusive: {named(unseen)} have seen {seen} with it")
    if not any(m.report.phase is Phase.STABLE for m in view.inside.values()):
        return _step(r, watch, Status.PAUSED, "inconclusive: it serves on no node of the open waves")
    if r.plan.approval == "manual" or (r.plan.mode == "ab" and r.is_last_wave):
        why = "waits for `edgeagent rollout advance`"
        return Step(None, watch) if r.why == why else _step(r, watch, Status.BAKING, why)
    return _open_next(view, watch)


def _abort(view: View, watch: Watch, now: float) -> Step:
    """The nodes of the open waves go back; those that are away do when they come."""
    r, serving = view.rollout, view.serving
    if serving and now - watch.since < r.limits.deadline_seconds:
        return Step(None, watch)
    left = f"; {named(serving)} serve it still" if serving else ""
    return _step(r, watch, Status.ABORTED, f"{r.why}{left}")
