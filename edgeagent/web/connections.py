# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may hold a connection to the API, and who gives way: however many come, the operator gets through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar


@dataclass(frozen=True)
class ConnectionLimits:
    """total: connections at a time; kept: so many of them for loopback and for who has shown the token; per_peer: of
    one other address."""

    total: int = 256
    kept: int = 64
    per_peer: int = 64


class Held(Protocol):
    """A connection. known: of this machine, or has shown the token; since: when it did something last, monotonic
    seconds."""

    peer: str
    known: bool
    since: float

    @property
    def waits(self) -> bool:
        """For its client: it asks nothing, has not finished its request, or doesn't read its answer."""


C = TypeVar("C", bound=Held)


class NoRoomError(Exception):
    """Every connection that could give way is at work for its client."""


def who_gives_way(peer: str, known: bool, held: Collection[C], limits: ConnectionLimits) -> C | None:
    """The connection that has to end before `peer` may have one more; None: there is room.

    known: whether the peer may have one of the places that are kept. Raises NoRoomError.
    """
    strangers = [c for c in held if not c.known]
    own = [c for c in strangers if c.peer == peer]
    if not known and len(own) >= limits.per_peer:
        return _weakest(peer, own)
    if not known and len(strangers) >= limits.total - limits.kept:
        return _weakest(peer, strangers)
    if len(held) >= limits.total:
        return _weakest(peer, strangers or held)
    return None


def _weakest(peer: str, held: Collection[C]) -> C:
    """Of those that wait, one of the address that has the most, which has waited the longest. When none waits, an
    address that has more than its part gives the one that came last."""
    count = Counter(c.peer for c in held)
    if waiting := [c for c in held if c.waits]:
        return max(waiting, key=lambda c: (count[c.peer], -c.since))
    most = max(held, key=lambda c: (count[c.peer], c.since))
    if count[most.peer] <= count[peer] + 1:
        raise NoRoomError
    return most
