# SPDX-License-Identifier: AGPL-3.0-or-later
"""While what should serve was refused: looking now and then whether the store holds something else by now."""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.events import CheckStore, PersistState, Step, StoreChecked
from edgeagent.core.goal import goal, rejection_of
from edgeagent.core.policy import Policy
from edgeagent.core.state import State, StoreWatch


def watch_again(state: State, version: str, fingerprint: str, now: float, policy: Policy) -> State:
    """The version was refused. Without a fingerprint it was refused by its digest: for what the store was last seen to
    hold."""
    w = state.run.store_watch
    refused = fingerprint or (w.refused if w and w.version == version else "")
    return _watching(state, StoreWatch(version, refused, due=now + _delay(0, policy)))


def watch_refused(state: State, now: float, policy: Policy) -> Step:
    """Look at the store when it is time; stop when what should serve isn't refused any more."""
    wanted, w = goal(state), state.run.store_watch
    if wanted is None or not rejection_of(state, wanted):
        # While the version is tried again it is remembered what the store was last seen to hold.
        is_tried = w and state.candidate and state.candidate.goal.version == w.version
        return _watching(state, replace(w, due=None) if w and is_tried else None), []
    if w is None or w.version != wanted.version:
        # Refused before a restart, or on probation: for what, isn't known, so it is tried once more.
        return watch_again(state, wanted.version, "", now, policy), []
    if w.due is None or now < w.due:
        return state, []
    return _watching(state, replace(w, due=None)), [CheckStore(w.version)]


def store_checked(state: State, event: StoreChecked, now: float, policy: Policy) -> Step:
    """Other content is tried; the same is looked at again, ever more rarely."""
    w = state.run.store_watch
    if w is None or w.version != event.version or w.due is not None or state.candidate:
        return state, []
    if event.fingerprint in ("", w.refused):
        checks = w.checks + 1
        again = replace(w, checks=checks, due=now + _delay(checks, policy))
        return _watching(state, again), []
    return _allow_retry(_watching(state, replace(w, refused=event.fingerprint)), event.version)


def _allow_retry(state: State, version: str) -> Step:
    """The version is tried again; content that was refused stays refused, by its digest."""
    kept = (replace(r, version="") if r.version == version else r for r in state.rejections)
    return replace(state, rejections=tuple(r for r in kept if r.version or r.digest)), [PersistState()]


def _delay(checks: int, policy: Policy) -> float:
    return min(policy.store_check_max_s, policy.store_check_min_s * float(2 ** min(checks, 16)))


def _watching(state: State, watch: StoreWatch | None) -> State:
    return replace(state, run=replace(state.run, store_watch=watch))
