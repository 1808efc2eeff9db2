# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node makes of the value that it finds under its presence key: its own, or that of another with the same id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgeagent.core.model import parse_json
from edgeagent.core.text import clean
from edgeagent.core.write_pace import REFRESH_S

_MAX_VALUE = 4096
_MAX_TEXT = 200
_LOOK_S = (10.0, 15.0)
_AWAY_S = (0.1, 2.0)

Uniform = Callable[[float, float], float]
"""A number between two, by chance, such as random.uniform."""


def until_next_look_s(uniform: Uniform) -> float:
    """Seconds between two looks of a node at its key: a third of the lease at most, and another each time, so that
    nodes that were started at once don't stay in step.
    """
    return uniform(*_LOOK_S)


def until_asked_again_s(uniform: Uniform) -> float:
    """Seconds until a node asks again whether the store can be reached: so the first writings of a plant that comes
    back at once, a lease and a key each, are spread over two seconds.
    """
    return uniform(*_AWAY_S)


@dataclass(frozen=True)
class Holder:
    """Who wrote a presence key. instance: made at random when its process began, "" where the value doesn't say;
    url: of its status.
    """

    instance: str = ""
    url: str = ""


def holder_of(value: bytes) -> Holder:
    """Who wrote this value; anybody may have."""
    try:
        doc = parse_json(value.decode()) if len(value) <= _MAX_VALUE else None
    except (ValueError, RecursionError):
        doc = None
    said = doc if isinstance(doc, dict) else {}
    texts = (clean(text, _MAX_TEXT) if isinstance(text := said.get(name), str) else "" for name in _FIELDS)
    return Holder(*texts)


_FIELDS = ("instance", "status_url")


@dataclass(frozen=True)
class Rivalry:
    """What a node knows of another process that writes its key. Times are seconds of a monotonic clock.

    has_written: this process has; what it finds before may be what it left behind itself, when it ended. taken_at: when
    it last took the key from another one. other: who had the key although this process had written it, last seen there
    at seen_at.

    It takes the key at most every REFRESH_S seconds, so both hear of each other within a look or two, and together
    write hardly more than two nodes do anyway.
    """

    has_written: bool = False
    taken_at: float | None = None
    other: Holder = Holder()
    seen_at: float | None = None

    def finding(self, holder: Holder, now: float) -> Rivalry:
        """Another one has the key."""
        return replace(self, other=holder, seen_at=now) if self.has_written else self

    def may_take(self, now: float) -> bool:
        """Whether the key may be taken from another one."""
        return self.taken_at is None or now - self.taken_at >= REFRESH_S

    def taking(self, now: float) -> Rivalry:
        """The key is taken from another one."""
        return replace(self, taken_at=now)

    def writing(self) -> Rivalry:
        """The key is written."""
        return replace(self, has_written=True)

    def finding_nobody(self) -> Rivalry:
        """The key isn't there: who had it is gone."""
        return replace(self, other=Holder(), seen_at=None)

    def goes_on(self, now: float) -> bool:
        """Whether there is such a process: it shows itself every REFRESH_S seconds."""
        return self.seen_at is not None and now - self.seen_at < 2 * REFRESH_S
