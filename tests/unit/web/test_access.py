# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens and sessions: what counts, for how long, and what guessing leads to."""

from __future__ import annotations

import pytest

from edgeagent.errors import RateLimitError, UnauthorizedError
from edgeagent.web.access import COOKIE, MAX_PEERS, MAX_WRONG, SESSION_S, WRONG_S, Access

PEER, OTHER, HERE = "10.0.0.7", "10.0.0.8", "127.0.0.1"


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At a thousand seconds."""
    return Clock()


@pytest.fixture
def access(clock: Clock) -> Access:
    """With the token `t0ken`."""
    return Access("t0ken", clock)


def test_a_session_lasts_for_its_time(access: Access, clock: Clock) -> None:
    """By the clock of the process alone; it is found among other cookies, and beside one of another node."""
    value = access.begin_session()
    cookies = f"theme=dark; {COOKIE}=of.another.node; {COOKIE}={value};x"
    session = access.session(cookies)
    assert session is not None
    assert session.valid
    assert session.seconds_left == SESSION_S
    clock.now += SESSION_S - 1
    assert access.session(cookies) is not None
    clock.now += 1
    assert access.session(cookies) is None
    assert not session.valid


def test_a_session_ends_with_the_process_and_the_token(access: Access, clock: Clock) -> None:
    """Nothing of it is kept by the node."""
    value = access.begin_session()
    assert Access("t0ken", clock).session(f"{COOKIE}={value}") is None
    assert Access("other", clock).session(f"{COOKIE}={value}") is None


def test_a_session_that_was_ended(access: Access) -> None:
    """Only this one, and whoever has a copy of its cookie."""
    first, second = access.begin_session(), access.begin_session()
    session = access.session(f"{COOKIE}={first}")
    assert session
    access.end_session(session)
    assert not session.valid
    assert access.session(f"{COOKIE}={first}") is None
    assert access.session(f"{COOKIE}={second}") is not None


@pytest.mark.parametrize("value", ["", ".", "..", "a.b.c", "é.9.\ud800", "x" * 8000, "a.99999999.", "None"])
def test_what_is_no_session(access: Access, value: str) -> None:
    """Whatever a client makes up, and whatever it changes in one that was given to it."""
    assert access.session(f"{COOKIE}={value}") is None
    good = access.begin_session()
    id, expires, signature = good.split(".")
    for forged in (
        f"{id}.{int(expires) + 1}.{signature}",
        f"{id}x.{expires}.{signature}",
        good[:-1],
        good + "A",
    ):
        assert access.session(f"{COOKIE}={forged}") is None
    assert access.session(f"not_{COOKIE}={good}") is None


def test_who_guesses_is_stopped(access: Access, clock: Clock) -> None:
    """After ten of an address in a minute not even the right one counts; other addresses are not concerned."""
    for n in range(MAX_WRONG):
        with pytest.raises(UnauthorizedError):
            access.check(f"guess-{n}", PEER)
    for token in ("guess", "t0ken"):
        with pytest.raises(RateLimitError, match="too many wrong ones from this address; wait a minute"):
            access.check(token, PEER)
    access.check("t0ken", OTHER)
    clock.now += WRONG_S
    access.check("t0ken", PEER)


def test_who_always_sends_the_same_guesses_nothing(access: Access) -> None:
    """Such as a monitor with the token of last year, behind the address of the operator; nor does who sends none."""
    for _ in range(100):
        with pytest.raises(UnauthorizedError):
            access.check("last-year", PEER)
        with pytest.raises(UnauthorizedError):
            access.check("", PEER)
    access.check("t0ken", PEER)


def test_this_machine_is_never_locked_out(access: Access) -> None:
    """Everybody may come from here, through a proxy: wrong ones are stopped, the right one counts."""
    for n in range(MAX_WRONG):
        with pytest.raises(UnauthorizedError):
            access.check(f"guess-{n}", HERE)
    with pytest.raises(RateLimitError):
        access.check("guess", HERE)
    access.check("t0ken", HERE)


def test_memory_is_bounded(access: Access) -> None:
    """However many addresses guess."""
    for n in range(MAX_PEERS + 50):
        with pytest.raises(UnauthorizedError):
            access.check("x\ud800", f"peer-{n}")
    assert len(access._wrong._tried) == MAX_PEERS
