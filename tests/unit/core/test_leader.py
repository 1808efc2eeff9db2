# SPDX-License-Identifier: AGPL-3.0-or-later
"""The value of the leader's key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.leader import Leader, decode_leader, encode_leader


def test_what_was_written_is_read() -> None:
    """Field by field."""
    leader = Leader("3f9a2c", "press-07", 4711, 1752.5)
    assert decode_leader(encode_leader(leader)) == leader


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"me",
        b"{}",
        b"[1]",
        b"\xff",
        b'{"id": "a", "host": "b", "pid": "many", "since": 1}',
        b'{"id": "a", "host": "b", "pid": 1, "since": NaN}',
        b'{"id": "a", "host": "b", "pid": Infinity, "since": 1}',
        b'{"id": "a", "host": "b", "pid": 1e999, "since": 1}',
        b"[" * 4000,
        b'{"id": "a", "host": "b", "pid": 1, "since": 1, "more": "' + b"x" * 5000 + b'"}',
    ],
)
def test_what_nobody_understands_is_nobody_known(value: bytes) -> None:
    """Whoever wrote it; the key is there even so."""
    assert decode_leader(value) is None


@given(st.binary(max_size=200))
def test_any_bytes_do_no_harm(value: bytes) -> None:
    """They come from whoever may write the key."""
    decode_leader(value)


def test_a_host_is_cut_and_tells_no_secret() -> None:
    """It ends in logs and in a status."""
    leader = decode_leader(encode_leader(Leader("a", "http://me:secret@host/" + 1000 * "x", 1, 1.0)))
    assert leader is not None
    assert "secret" not in leader.host
    assert len(leader.host) <= 200
