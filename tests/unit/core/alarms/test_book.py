# SPDX-License-Identifier: AGPL-3.0-or-later
"""The states of an alarm, as a table of what happens and what is seen then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.alarms import Alarm, Condition, Key
from edgeagent.core.alarms.alarm import Shelf
from edgeagent.core.alarms.book import (
    RETELL_S,
    AlarmBook,
    Step,
    acknowledge,
    clear_alarm,
    close_alarm,
    find,
    raise_alarm,
    shelve,
    show,
    tick,
    unshelve,
)
from edgeagent.errors import ConflictError, EdgeAgentError, NotFoundError

WHAT = Condition("rule", "present", "warning", "seen", pipeline="line-1")
KEY = Key("rule", "line-1")
COOL_DOWN_S = 10.0


def do(book: AlarmBook, what: str, now: float) -> Step:
    """One thing that happens."""
    match what.split(":"):
        case ["raise"]:
            return raise_alarm(book, WHAT, now, f"id-{now:g}", COOL_DOWN_S)
        case ["clear"]:
            return clear_alarm(book, KEY, now)
        case ["ack"]:
            return acknowledge(book, _only(book).id, "ann", now)
        case ["shelve", seconds]:
            return shelve(book, _only(book).id, Shelf("ann", now + float(seconds)), now)
        case ["unshelve"]:
            return unshelve(book, _only(book).id, now)
        case ["tick"]:
            return tick(book, now)
        case ["wait"]:
            return book, ()
    raise AssertionError(what)


def _only(book: AlarmBook) -> Alarm:
    return next(iter(book.open.values()))


def play(script: str) -> tuple[AlarmBook, list[str]]:
    """One thing a second; the state after each, `-` while no alarm is open, in capitals while it is active."""
    book, seen = AlarmBook(), []
    for now, what in enumerate(script.split()):
        try:
            book, changed = do(book, what, float(now))
        except EdgeAgentError as e:
            seen.append(type(e).__name__)
            continue
        alarm = next(iter(book.open.values()), None)
        said = (alarm.state.upper() if alarm.active else alarm.state) if alarm else "-"
        seen.append(said + ("" if changed else "="))
    return book, seen


@pytest.mark.parametrize(
    ("script", "states"),
    [
        ("raise raise clear clear", "RAISED RAISED= raised raised="),
        ("raise ack clear", "RAISED ACKNOWLEDGED -"),
        ("raise clear ack", "RAISED raised -"),  # it stays until somebody has taken notice
        ("raise clear raise clear", "RAISED raised RAISED raised"),
        ("raise ack ack", "RAISED ACKNOWLEDGED ConflictError"),
        ("raise shelve:2 tick tick", "RAISED SHELVED SHELVED= RAISED"),  # comes back by itself
        ("raise ack shelve:2 tick tick", "RAISED ACKNOWLEDGED SHELVED SHELVED= RAISED"),
        ("raise shelve:2 clear tick tick", "RAISED SHELVED shelved - -="),
        ("raise clear shelve:9 raise clear unshelve", "RAISED raised shelved SHELVED shelved -"),
        ("raise shelve:9 unshelve", "RAISED SHELVED RAISED"),
        (
            "raise shelve:9 ack clear",
            "RAISED SHELVED SHELVED shelved",
        ),  # who has shelved it decides when it goes
        ("raise unshelve", "RAISED ConflictError"),
        ("raise shelve:2 shelve:9 tick tick", "RAISED SHELVED SHELVED SHELVED= SHELVED="),
        ("raise ack clear raise", "RAISED ACKNOWLEDGED - ACKNOWLEDGED"),  # the same one, so soon
        ("raise ack clear" + " wait" * 10 + " raise", "RAISED ACKNOWLEDGED -" + " -=" * 10 + " RAISED"),
    ],
)
def test_the_states(script: str, states: str) -> None:
    """Raised, acknowledged, shelved, cleared."""
    assert play(script)[1] == states.split()


def test_flapping_is_one_alarm_with_a_count() -> None:
    """Whether somebody has taken notice meanwhile or not."""
    book, _ = play("raise clear raise clear raise ack clear raise")
    alarm = _only(book)
    assert (alarm.id, alarm.count, alarm.raised_at) == ("id-0", 4, 0.0)
    assert not book.past


def test_each_change_has_a_number_of_its_own() -> None:
    """So that whoever gets them twice can tell."""
    book, changes = AlarmBook(), []
    for now, what in enumerate(["raise", "clear", "raise", "ack", "clear"]):
        book, changed = do(book, what, float(now))
        changes += [(a.id, a.change, a.changed_at) for a in changed]
    assert changes == [("id-0", n + 1, float(n)) for n in range(5)]


def test_who_and_when() -> None:
    """What became of it is remembered when it is over."""
    book, _ = play("raise ack clear")
    doc = book.past[0].as_dict()
    assert (doc["acknowledged_by"], doc["acknowledged_at"], doc["cleared_at"]) == ("ann", 1.0, 2.0)
    assert (doc["state"], doc["active"], doc["closed_at"], doc["closed_why"]) == (
        "cleared",
        False,
        2.0,
        "cleared",
    )


def test_what_is_over_or_unknown_cannot_be_acknowledged() -> None:
    """Each is said in words."""
    book, _ = play("raise ack clear")
    with pytest.raises(ConflictError, match="it is over"):
        acknowledge(book, book.past[0].id, "bob", 9.0)
    with pytest.raises(NotFoundError):
        acknowledge(book, "x" * 1000, "bob", 9.0)


def test_other_words_are_a_change_and_the_same_ones_are_none() -> None:
    """Such as another version that was refused."""
    book, _ = play("raise")
    other = Condition("rule", "present", "critical", "seen", pipeline="line-1")
    book, changed = raise_alarm(book, other, 5.0, "new")
    assert [a.severity for a in changed] == ["critical"]
    assert not raise_alarm(book, other, 6.0, "new")[1]


def test_only_so_many_that_are_over_are_remembered() -> None:
    """The oldest are forgotten."""
    book = AlarmBook(keep=3)
    for n in range(5):
        what = Condition(f"r{n}", "present", "info", "t")
        book, _ = raise_alarm(book, what, float(n), f"id-{n}")
        book, _ = close_alarm(book, what.key, "gone", float(n))
    assert [a.id for a in book.past] == ["id-2", "id-3", "id-4"]


def test_a_clock_that_was_set_back_keeps_nothing_shelved() -> None:
    """A shelf that would last for years is over."""
    book, _ = play("raise shelve:60")
    book, changed = tick(book, -1e9)
    assert [a.state for a in changed] == ["raised"]


def test_a_clip_comes_later() -> None:
    """Also when the alarm is over by then."""
    book, _ = play("raise")
    book, changed = show(book, "id-0", "p.jpg", None, 1.0)
    assert changed[0].picture == "p.jpg"
    book, _ = do(book, "ack", 2.0)
    book, _ = do(book, "clear", 3.0)
    book, changed = show(book, "id-0", "p.jpg", "c.mp4", 4.0)
    assert (changed[0].clip, book.past[0].clip) == ("c.mp4", "c.mp4")
    assert not show(book, "id-0", "p.jpg", "c.mp4", 5.0)[1]
    assert find(book, "nobody") is None


def test_words_that_change_all_the_time() -> None:
    """Are told now and then, as they are by then; that it is worse is told at once."""
    book, told = AlarmBook(), []
    for now in range(60):
        what = replace(WHAT, text=f"for {now} s", severity="critical" if now >= 55 else "warning")
        book, changed = raise_alarm(book, what, float(now), "a")
        told += [(now, alarm.what.text) for alarm in changed]
    seconds = [*range(0, 60, int(RETELL_S)), 55]
    assert told == [(now, f"for {now} s") for now in sorted(seconds)]
    assert _only(book).count == 1
