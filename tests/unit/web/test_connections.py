# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who gets a connection, and who gives way."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgeagent.web.connections import ConnectionLimits, NoRoomError, who_gives_way

LIMITS = ConnectionLimits(total=8, kept=2, per_peer=4)


@dataclass(eq=False)
class Client:
    """A connection."""

    peer: str
    since: float
    known: bool = False
    waits: bool = True


def crowd(*peers: str, waits: bool = True, known: bool = False) -> list[Client]:
    """One connection for each, in the order in which they came."""
    return [Client(peer, float(i), known, waits) for i, peer in enumerate(peers)]


def test_there_is_room() -> None:
    """Until a limit is reached nobody gives way."""
    assert who_gives_way("a", False, crowd("a", "a", "a"), LIMITS) is None
    assert who_gives_way("c", False, crowd("a", "a", "a", "b", "b"), LIMITS) is None


def test_an_address_gives_way_to_itself() -> None:
    """The one of its own that has waited the longest; none, when all are at work."""
    held = crowd("a", "a", "a", "a", "b")
    held[0].waits = False
    assert who_gives_way("a", False, held, LIMITS) is held[1]
    with pytest.raises(NoRoomError):
        who_gives_way("a", False, crowd("a", "a", "a", "a", waits=False), LIMITS)


def test_idle_connections_lock_nobody_out() -> None:
    """Whoever holds the most gives way: to one more stranger, to loopback, to who has shown the token."""
    strangers = crowd("a", "b", "b", "b", "c", "c")
    assert who_gives_way("d", False, strangers, LIMITS) is strangers[1]
    assert who_gives_way("127.0.0.1", True, strangers, LIMITS) is None  # of the places that are kept
    full = [*strangers, *crowd("127.0.0.1", "127.0.0.1", known=True)]
    assert who_gives_way("127.0.0.1", True, full, LIMITS) is strangers[1]


def test_loopback_alone_gives_way_to_loopback() -> None:
    """Without a token there is nobody else: the one that has waited the longest ends; at work, none does."""
    held = crowd(*["127.0.0.1"] * 8, known=True)
    assert who_gives_way("127.0.0.1", True, held, LIMITS) is held[0]
    with pytest.raises(NoRoomError):
        who_gives_way("127.0.0.1", True, crowd(*["127.0.0.1"] * 8, known=True, waits=False), LIMITS)


def test_who_has_shown_the_token_stays() -> None:
    """Although others of the same address, as behind a proxy, have not."""
    held = [Client("proxy", 0.0, known=True), *crowd(*["proxy"] * 7)]
    assert who_gives_way("proxy", True, held, LIMITS) is held[1]


def test_a_crowd_at_work_gives_a_part_to_one_who_comes_alone() -> None:
    """Some addresses that hammer don't lock out another, such as a prober of /healthz."""
    held = crowd("a", "a", "a", "b", "b", "b", waits=False)
    assert who_gives_way("c", False, held, LIMITS) is held[5]
    with pytest.raises(NoRoomError):
        who_gives_way("g", False, crowd("a", "b", "c", "d", "e", "f", waits=False), LIMITS)
