# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages between node and workers: what is encoded is decoded, and nothing else is."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.core.model import MAX_NAMES_BYTES, Contract
from edgeagent.core.tuning import Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.runtimes.variants import Variant
from edgeagent.store.cache import MAX_TRIAL_PICTURES
from edgeagent.workers.channel import channel_pair, send_whole
from edgeagent.workers.messages import (
    MAX_MESSAGE_BYTES,
    Captured,
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
from edgeagent.workers.tasks.capture import SourceOpened, SourceState
from edgeagent.workers.tasks.engine import FrameFailed, LoadEngine, LoadPlan
from edgeagent.workers.tasks.prepare import FetchVersion, GateFinished, RunGates, StoreAccess

VARIANT = Variant("openvino", "cpu", "fp32", "openvino")
MESSAGES: list[Message] = [
    Ring(1, 8, 691_200),
    UnmapRing(2**32 - 1),
    Grant(3, 7),
    Captured(3, 7, 2**40, 5, 1920, 1080, 1767225600.125, 12.5),
    Infer(2**63, 3, 7, 640, 360, 0.25, 0.5),
    Detected(9, 1.5, 20.25, 0.5, struct.pack("<12f", *range(12))),
    Detected(9, 0, 0, 0, b""),
    Heartbeat(2**50),
    SourceOpened(640, 360, 25.0, 0),
    SourceState("ended", "Käse\n", position=2, skipped=1),
    LoadEngine(
        LoadPlan(VARIANT, Path("w.onnx"), {"openvino-bin": Path("w.bin")}, 2, 1, (384, 640)), nice=None
    ),
    FetchVersion(StoreAccess("s3://b", {"key": {"a": [1, None]}}, 5.0), Path("/c"), "yolo", "v1", "", False),
    GateFinished(
        GateResult("smoke", False, {"frames": 3, "least": 0.5}, {"most": 1.0}, ("on frame 1: bad",))
    ),
]


def test_the_largest_task_fits() -> None:
    """As many class names as a manifest may have, in the version and in what serves; and the socket takes it."""
    names = tuple(f"{n:012d}" for n in range(MAX_NAMES_BYTES // 16))
    assert len(json.dumps(names)) == MAX_NAMES_BYTES
    contract = Contract("detect", names, (640, 640), 32)
    golden = tuple(Path(f"/var/lib/edgeagent/cache/{'f' * 64}/{n}.png") for n in range(MAX_TRIAL_PICTURES))
    version = VerifiedVersion("yolo", "v2", "f" * 64, contract, "onnx", Path("/w.onnx"), golden=golden)
    plan = LoadPlan(VARIANT, Path("/w.onnx"), {}, 2, 1, (384, 640))
    task = RunGates(version, plan, GateTerms(contract), None, Tolerance())
    ours, theirs = channel_pair()
    with ours, theirs:
        send_whole(ours, encode(task), ())
        assert decode(theirs.recv(MAX_MESSAGE_BYTES + 1)) == task


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


@given(st.sampled_from([8, 9, 10]), st.binary(max_size=60))
def test_noise_behind_the_byte_of_a_named_message_is_no_other_exception(kind: int, body: bytes) -> None:
    """The JSON branch, which noise alone seldom reaches, raises nothing but ValueError either."""
    try:
        decode(bytes((kind,)) + body)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 50_000, ""),
        (b"null", ""),
        (b'["SourceBusy"]', ""),
        (b"[1, {}]", ""),
        (b'[["SourceBusy"], {}]', ""),
        (b"\xff\xfe", ""),
        (b'["FormatDisk", {}]', "FormatDisk"),
        (b'["LoadEngine", {}]', "LoadEngine"),
        (b'["SourceBusy", []]', "SourceBusy is no object"),
        (b'["SourceBusy", {"seconds": NaN}]', "seconds is no finite number"),
        (
            b'["SourceState", {"state": "happy", "why": "", "position": null, "skipped": 0}]',
            "state is none of",
        ),
        (b'["SourceState", {"state": "lost", "why": "", "position": null, "skipped": -1}]', "-1 skipped"),
    ],
)
def test_a_named_message_of_the_wrong_form_is_refused(body: bytes, why: str) -> None:
    """Nested deep, not a pair, not a name of this kind of worker, fields that it has not, values that make no sense."""
    with pytest.raises(ValueError, match=f"malformed message of kind 8.*{why}"):
        decode(b"\x08" + body)


def test_a_message_larger_than_the_limit_is_not_sent() -> None:
    """The sender is told, not the receiver."""
    with pytest.raises(ValueError, match="limit"):
        encode(FrameFailed(1, "x" * MAX_MESSAGE_BYTES))
