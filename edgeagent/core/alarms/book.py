# SPDX-License-Identifier: AGPL-3.0-or-later
"""The alarms of a node, and who has taken notice of each: the states of ISA-18.2, as functions of a book of alarms.

| condition | noticed | shelved | state | is over (state cleared) |
|---|---|---|---|---|
| holds | no | no | raised, active | |
| no more | no | no | raised, not active | when somebody acknowledges it |
| holds | yes | no | acknowledged | when its condition holds no more |
| either | either | yes | shelved | if its condition doesn't hold when the time is over |

Each function returns the book after it, and the alarms that it changed, as they are then. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgeagent.core.alarms.alarm import Acknowledgement, Alarm, AlarmState, Condition, Key, Shelf
from edgeagent.errors import ConflictError, NotFoundError

KEEP = 200
"""Alarms that are over, of which so many are remembered."""
MAX_SHELF_S = 7 * 86_400.0
RETELL_S = 10.0
"""An alarm whose words change while it holds is told again, but not sooner than so long after the last change."""


@dataclass(frozen=True)
class AlarmBook:
    """open: by what makes them the same; past: those that are over, the oldest first."""

    open: Mapping[Key, Alarm] = field(default_factory=dict)
    past: tuple[Alarm, ...] = ()
    keep: int = KEEP


Step = tuple[AlarmBook, tuple[Alarm, ...]]


def raise_alarm(book: AlarmBook, what: Condition, now: float, new_id: str, cool_down_s: float = 0.0) -> Step:
    """The condition holds. new_id: of the alarm, if it is a new one; cool_down_s: if it comes so soon after it cleared,
    it isn't, and who has taken notice of it need not do so again."""
    key, alarm = what.key, book.open.get(what.key)
    if alarm is None and (again := _recent(book, key, now, cool_down_s)):
        book = replace(book, past=tuple(a for a in book.past if a is not again))
        alarm = replace(again, closed_at=None, closed_why=None)
        return _put(book, _counted(alarm, what), now)
    if alarm is None:
        return _put(book, Alarm(new_id, what, "raised", True, now, change=0), now)
    if not alarm.active:
        return _put(book, _counted(alarm, what), now)
    before = alarm.what
    is_news = (what.text, what.todo) != (before.text, before.todo)
    is_due = not 0 <= now - alarm.changed_at < RETELL_S
    if what.severity != before.severity or (is_news and is_due):
        return _put(book, replace(alarm, what=what), now)
    return book, ()


def clear_alarm(book: AlarmBook, key: Key, now: float) -> Step:
    """The condition doesn't hold."""
    alarm = book.open.get(key)
    if alarm is None or not alarm.active:
        return book, ()
    alarm = replace(alarm, active=False, cleared_at=now)
    if alarm.acknowledged and not alarm.shelved:
        return _close(book, alarm, now, "cleared")
    return _put(book, alarm, now)


def acknowledge(book: AlarmBook, id: str, by: str, now: float) -> Step:
    """Somebody has taken notice. Raises NotFoundError, ConflictError when somebody had before, or it is over."""
    alarm = _open(book, id, "acknowledge")
    if alarm.acknowledged:
        raise ConflictError(
            f"alarm {id}", f"{alarm.acknowledged.by} has acknowledged it already", "it goes when it clears"
        )
    alarm = replace(alarm, acknowledged=Acknowledgement(by, now))
    if not alarm.active and not alarm.shelved:
        return _close(book, alarm, now, "acknowledged")
    return _put(book, alarm, now)


def shelve(book: AlarmBook, id: str, shelf: Shelf, now: float) -> Step:
    """Somebody doesn't want to hear of it for a while; again: for another while. Raises NotFoundError, ConflictError
    when it is over."""
    return _put(book, replace(_open(book, id, "shelve"), shelved=shelf), now)


def unshelve(book: AlarmBook, id: str, now: float) -> Step:
    """Somebody wants to hear of it again. Raises NotFoundError, ConflictError when it isn't shelved."""
    alarm = _open(book, id, "take from the shelf")
    if not alarm.shelved:
        raise ConflictError(f"alarm {id}", "it isn't shelved", "nothing is to be done")
    return _back(book, alarm, now)


def tick(book: AlarmBook, now: float) -> Step:
    """Time has passed: what was shelved until now comes back."""
    changed: list[Alarm] = []
    for alarm in tuple(book.open.values()):
        if alarm.shelved and not 0 < alarm.shelved.until - now <= MAX_SHELF_S:  # or the clock was set back
            book, more = _back(book, alarm, now)
            changed += more
    return book, tuple(changed)


def close_alarm(book: AlarmBook, key: Key, why: str, now: float) -> Step:
    """There is nothing any more that it could be about, or another alarm tells of it."""
    alarm = book.open.get(key)
    if alarm is None:
        return book, ()
    cleared = alarm.cleared_at if not alarm.active else now
    return _close(book, replace(alarm, active=False, cleared_at=cleared, shelved=None), now, why)


def show(book: AlarmBook, id: str, picture: str | None, clip: str | None, now: float) -> Step:
    """There is a picture of it, or a clip, or there is none any more. An alarm that is over gets it, too."""
    alarm = find(book, id)
    if alarm is None or (alarm.picture, alarm.clip) == (picture, clip):
        return book, ()
    alarm = replace(alarm, picture=picture, clip=clip)
    if alarm.closed_at is None:
        return _put(book, alarm, now)
    alarm = replace(alarm, change=alarm.change + 1, changed_at=now)
    return replace(book, past=tuple(alarm if a.id == id else a for a in book.past)), (alarm,)


def find(book: AlarmBook, id: str) -> Alarm | None:
    """The alarm of this id, open or over."""
    return next((a for a in (*book.open.values(), *book.past) if a.id == id), None)


def _recent(book: AlarmBook, key: Key, now: float, cool_down_s: float) -> Alarm | None:
    """The same alarm, if it has cleared just now."""
    last = next((a for a in reversed(book.past) if a.key == key), None)
    if last is None or last.cleared_at is None:
        return None
    return last if 0 <= now - last.cleared_at < cool_down_s else None


def _counted(alarm: Alarm, what: Condition) -> Alarm:
    return replace(alarm, what=what, active=True, cleared_at=None, count=alarm.count + 1)


def _open(book: AlarmBook, id: str, verb: str) -> Alarm:
    alarm = find(book, id)
    if alarm is None:
        raise NotFoundError(f"alarm {id[:64]}", "there is none of this id", "see GET /api/alarms")
    if alarm.closed_at is not None:
        raise ConflictError(
            f"{verb} alarm {id}", f"it is over ({alarm.closed_why})", "nothing is to be done any more"
        )
    return alarm


def _back(book: AlarmBook, alarm: Alarm, now: float) -> Step:
    """From the shelf: it is raised anew, or over."""
    if not alarm.active:
        return _close(book, replace(alarm, shelved=None), now, "cleared while it was shelved")
    return _put(book, replace(alarm, shelved=None, acknowledged=None), now)


def _put(book: AlarmBook, alarm: Alarm, now: float) -> Step:
    alarm = replace(alarm, state=_state(alarm), change=alarm.change + 1, changed_at=now)
    return replace(book, open={**book.open, alarm.key: alarm}), (alarm,)


def _close(book: AlarmBook, alarm: Alarm, now: float, why: str) -> Step:
    alarm = replace(
        alarm, state="cleared", closed_at=now, closed_why=why, change=alarm.change + 1, changed_at=now
    )
    rest = {key: other for key, other in book.open.items() if key != alarm.key}
    past = (*book.past, alarm)
    return replace(book, open=rest, past=past[max(0, len(past) - book.keep) :]), (alarm,)


def _state(alarm: Alarm) -> AlarmState:
    """Of one that isn't over."""
    if alarm.shelved:
        return "shelved"
    return "acknowledged" if alarm.acknowledged else "raised"
