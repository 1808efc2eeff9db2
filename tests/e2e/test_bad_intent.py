# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values of an intent key that mean nothing: reported with the key and the reason; what serves goes on.

One for each way that a value takes; every mistake is in tests/unit/core/test_directive.py.
"""

from __future__ import annotations

import pytest

from edgeagent.testing import wait_for
from tests.support.line import NodeHarness, assert_seamless

KEY = "/models/yolo/current"
INVALID = 'edgeagent_intent_invalid_total{model="yolo"}'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xfev2", "not UTF-8"),
        (b"v" * 1_000_000, "1000000 bytes"),
        (b'{"version": "v2", "vresion": 1, "force": true}', "unknown fields force, vresion"),
        (b"../../etc/passwd", "not a valid name"),
    ],
    ids=lambda v: v[:12].decode("ascii", "backslashreplace") if isinstance(v, bytes) else None,
)
def test_value_is_reported_and_changes_nothing(line: NodeHarness, value: bytes, reason: str) -> None:
    """last_error, metric and history name the key and what is wrong; the next good value works."""
    engine, counted = line.engine_pid("v1"), line.metric(INVALID)
    epoch = line.model()["active"]["epoch"]
    line.promote(value)
    wait_for(lambda: line.metric(INVALID) > counted, "counted")
    model = line.model()
    assert KEY in model["last_error"]
    assert reason in model["last_error"]
    assert (model["active"]["version"], model["aspired"], model["state"]) == ("v1", "v1", "STABLE")
    last = wait_for(
        lambda: [r for r in line.history("invalid") if r["why"] == model["last_error"]], "recorded"
    )
    assert last[-1]["event"] == "intent"
    line.wait_more(3)
    line.promote("v1")
    wait_for(lambda: line.model()["last_error"] is None, "the good value taken")
    assert (line.engine_pid("v1"), line.model()["active"]["epoch"]) == (engine, epoch)


def test_pin_that_means_nothing_is_reported(line: NodeHarness) -> None:
    """The same for a pin, by its own key; deleting it brings back what stands in `current`."""
    pin = "/models/yolo/pins/node-under-test"
    line.write(pin, "no/such")
    wait_for(lambda: pin in (line.model()["last_error"] or ""), "reported")
    assert line.active() == "v1"
    (line.intent / pin.lstrip("/")).unlink()
    line.publish("v2")
    line.swap_to("v2")
    line.swap_to("v1")


def test_no_frame_noticed(line: NodeHarness) -> None:
    """After all of that: every frame of the line was served once, in order."""
    assert_seamless(line.wait_more(3))
