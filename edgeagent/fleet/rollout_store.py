# SPDX-License-Identifier: AGPL-3.0-or-later
"""The roll-out of a model as it stands in the config store: read, changed on somebody's word, found again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeagent.core.directive import current_key
from edgeagent.core.following import SeenRollout
from edgeagent.core.leader import decode_leader
from edgeagent.core.rollout import COORDINATOR_KEY, Rollout, Status, archive_key, rollout_key
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.core.rollout_view import Fleet
from edgeagent.errors import ConflictError, NotFoundError, RolloutError, UnavailableError
from edgeagent.fleet.members import MemberReader
from edgeagent.intent.port import Entry, Expected, KeyValueStore, Outcome

_TRIES = 10
"""Writings of others between reading and writing; a coordinator writes seldom."""


def read_rollout(store: KeyValueStore, model: str) -> SeenRollout | None:
    """The roll-out in force, or the last one; None where there is none.

    Raises RolloutError (the value can't be decoded), UnavailableError, UsageError (no right to read).
    """
    return _stored(store.get(rollout_key(model)))


def find_rollout(store: KeyValueStore, model: str, id: str) -> Rollout | None:
    """A roll-out by its id, in force or ended; None if there is no such. Raises as `read_rollout`."""
    current, unreadable = None, None
    try:
        current = read_rollout(store, model)
    except RolloutError as e:
        unreadable = e
    if current and current.rollout.id == id:
        return current.rollout
    if ended := _stored(store.get(archive_key(model, id))):
        return ended.rollout
    if unreadable:  # it may have been this one
        raise unreadable
    return None


def all_rollouts(store: KeyValueStore, model: str) -> list[Rollout | RolloutError]:
    """Those that ended, the oldest first, and the last one; what is wrong with it in the place of one that can't be
    decoded.

    Raises UnavailableError, UsageError (no right to read).
    """
    found: dict[str, Rollout | RolloutError] = {}
    for entry in (*store.list(archive_key(model, "")), store.get(rollout_key(model))):
        try:
            if stored := _stored(entry):
                found[stored.rollout.id] = stored.rollout
        except RolloutError as e:
            found[entry.key] = e
    return list(found.values())


def change_rollout(store: KeyValueStore, model: str, change: Callable[[Rollout], Rollout]) -> Rollout:
    """Write what `change` makes of the roll-out in force, whoever writes it meanwhile. Returns what was written.

    change: raises ConflictError when the roll-out isn't in a state for that.
    Raises NotFoundError (there is none), ConflictError, RolloutError, UnavailableError, UsageError.
    """
    key = rollout_key(model)
    wanted: Rollout | None = None
    for _ in range(_TRIES):
        stored = read_rollout(store, model)
        if wanted and wanted.advance and (stored is None or stored.rollout.wave != wanted.wave):
            why = "the answer got lost, and since then it has gone further, maybe because of this"
            raise UnavailableError(
                f"roll-out of {model}", why, "look at its status"
            )  # once more would be twice
        if stored is None:
            raise no_rollout(model)
        if stored.rollout == wanted:  # it was written, and the answer got lost
            return wanted
        value = encode_rollout(change(stored.rollout))
        wanted = decode_rollout(key, value)
        written = store.compare_and_set([Expected(key, stored.revision)], {key: value})
        if written is Outcome.WRITTEN:
            return wanted
        if written is Outcome.REFUSED:
            wanted = None
    why = f"it was written {_TRIES} times while this one tried"
    raise ConflictError(f"roll-out of {model}", why, "look at its status, and try again")


@dataclass(frozen=True)
class Seen:
    """A roll-out, the fleet, and whether a coordinator leads."""

    rollout: Rollout
    fleet: Fleet
    has_leader: bool


class RolloutReader:
    """Reads where a roll-out stands, time and again. For one thread. id: of an earlier one, "" for the one in
    force, or else the one that ended last."""

    def __init__(self, store: KeyValueStore, model: str, id: str = "") -> None:
        self._store = store
        self._model = model
        self._id = id
        self._members = MemberReader(store)

    def read(self) -> Seen:
        """As it stands now. Raises NotFoundError (there is no such), RolloutError, UnavailableError, UsageError."""
        store, model = self._store, self._model
        rollout = find_rollout(store, model, self._id) if self._id else _last(store, model)
        if rollout is None:
            raise no_rollout(model, self._id)
        current = store.get(current_key(model))
        return Seen(rollout, self._members.read().fleet(model, current.revision), is_led(store))


def under_way(model: str, rollout: Rollout) -> ConflictError:
    """Something has to wait until it has ended."""
    why = f"{rollout.id} to {rollout.plan.version} is under way, it is {rollout.status}"
    todo = (
        "wait until its nodes are back"
        if rollout.status is Status.ABORTING
        else "resume, advance or abort it"
    )
    return ConflictError(
        f"roll-out of {model}",
        why + (f": {rollout.why}" if rollout.why else ""),
        f"{todo}; see `edgeagent rollout status {model}`",
    )


def no_rollout(model: str, id: str = "") -> NotFoundError:
    """There is none, or none of this id."""
    what = f"roll-out {id} of {model}" if id else f"roll-out of {model}"
    return NotFoundError(what, "there is none", f"see `edgeagent rollout list {model}`")


def is_led(store: KeyValueStore) -> bool:
    """Whether a coordinator leads. Raises UnavailableError, UsageError."""
    value = store.get(COORDINATOR_KEY).value
    return value is not None and decode_leader(value) is not None


def _last(store: KeyValueStore, model: str) -> Rollout | None:
    """The roll-out in force, else the one that ended last: their ids begin with the time when they began."""
    if stored := read_rollout(store, model):
        return stored.rollout
    ended = [r for r in all_rollouts(store, model) if isinstance(r, Rollout)]
    return ended[-1] if ended else None


def _stored(entry: Entry) -> SeenRollout | None:
    if entry.value is None:
        return None
    return SeenRollout(decode_rollout(entry.key, entry.value), entry.revision)
