# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages between node and workers: what is encoded is decoded, and nothing else is."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.workers.messages import (
    MAX_MESSAGE_BYTES,
    Captured,
    Control,
    Detected,
    Grant,
    Heartbeat,
    Infer,
    Message,
    Ring,
    UnmapRing,
    decode,
    encode,
)

MESSAGES: list[Message] = [
    Ring(1, 8, 691_200),
    UnmapRing(2**32 - 1),
    Grant(3, 7),
    Captured(3, 7, 2**40, 5, 1920, 1080, 1767225600.125, 12.5),
    Infer(2**63, 3, 7, 640, 360, 0.25, 0.5),
    Detected(9, 1.5, 20.25, 0.5, struct.pack("<12f", *range(12))),
    Detected(9, 0, 0, 0, b""),
    Heartbeat(2**50),
    Control("opened", {"width": 640, "why": "Käse\n", "nested": {"a": [1, None, True]}}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    """Every kind of message survives the way to the other process."""
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_cut_short_is_refused(message: Message) -> None:
    """No prefix of a message is taken for one, except where boxes end."""
    data = encode(message)
    for end in range(len(data)):
        try:
            got = decode(data[:end])
        except ValueError:
            continue
        assert isinstance(message, Detected)
        assert isinstance(got, Detected)
        assert message.boxes.startswith(got.boxes)


@given(st.binary(max_size=200))
def test_noise_gives_a_message_or_a_value_error(data: bytes) -> None:
    """Whatever a broken worker sends, decode raises ValueError or returns a message that can be encoded again."""
    try:
        message = decode(data)
    except ValueError:
        return
    encode(message)


@given(st.binary(max_size=60))
def test_noise_behind_a_control_byte_is_no_other_exception(body: bytes) -> None:
    """The JSON branch, which noise alone seldom reaches, raises nothing but ValueError either."""
    try:
        decode(b"\x08" + body)
    except ValueError:
        return


@pytest.mark.parametrize("body", [b"[" * 50_000, b"null", b'["op"]', b"[1, {}]", b'["op", []]', b"\xff\xfe"])
def test_control_of_the_wrong_form_is_refused(body: bytes) -> None:
    """Nested deep, not a pair, not a name with an object, not UTF-8."""
    with pytest.raises(ValueError, match="malformed"):
        decode(b"\x08" + body)


def test_a_message_larger_than_the_limit_is_not_sent() -> None:
    """The sender is told, not the receiver."""
    with pytest.raises(ValueError, match="limit"):
        encode(Control("status", {"text": "x" * MAX_MESSAGE_BYTES}))
