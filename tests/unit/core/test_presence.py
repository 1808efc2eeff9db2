# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose a presence key is, and how a plant's nodes are spread over time."""

from __future__ import annotations

import json
from bisect import bisect_left
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.presence import Holder, holder_of, until_asked_again_s, until_next_look_s

NODES = 2000
TTL_S = 45.0


def most_within(seconds: float, times: list[float]) -> int:
    """The most of these times that lie within so many seconds."""
    times = sorted(times)
    return max(bisect_left(times, t + seconds) - n for n, t in enumerate(times))


def test_the_first_writings_of_a_plant_are_spread() -> None:
    """Two thousand nodes ask at one instant whether the store is there, and again until it is, ten seconds later."""
    firsts = []
    for node in range(NODES):
        uniform = Random(node).uniform
        now = 0.0
        while now < 10:
            now += until_asked_again_s(uniform)
        firsts.append(now)
    assert max(firsts) <= 12
    assert most_within(0.1, firsts) <= 2 * NODES * 0.1 / 2


def test_nodes_that_were_started_at_once_do_not_stay_in_step() -> None:
    """After a minute their looks are spread, and three of each fall into the time of a lease."""
    looks = []
    for node in range(NODES):
        uniform = Random(node).uniform
        now = 0.0
        while now < 75:
            pause = until_next_look_s(uniform)
            assert pause <= TTL_S / 3
            now += pause
            if 60 <= now < 75:
                looks.append(now)
    assert most_within(1, looks) <= 2 * NODES / 12.5


def test_who_wrote_a_value() -> None:
    """By the instance and the address in it."""
    value = json.dumps({"node": "n1", "instance": "3f9a", "status_url": "http://a/api/status"}).encode()
    assert holder_of(value) == Holder("3f9a", "http://a/api/status")


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[]", b"{}", b'{"instance": 7}', b"[" * 3000, b'{"instance": "' + b"x" * 5000]
)
def test_a_value_that_does_not_say(value: bytes) -> None:
    """Somebody wrote it."""
    assert holder_of(value) == Holder()


def test_what_is_said_is_cut_and_has_no_secrets() -> None:
    """It ends in the log and in the status."""
    value = json.dumps({"instance": "x" * 3000, "status_url": "http://me:secret@a/"}).encode()
    assert len(holder_of(value).instance) <= 200
    assert "secret" not in holder_of(value).url


@given(st.binary(max_size=300))
def test_any_bytes_do_no_harm(value: bytes) -> None:
    """Whoever may write the key wrote them."""
    holder_of(value)
