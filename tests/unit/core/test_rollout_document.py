# SPDX-License-Identifier: AGPL-3.0-or-later
"""The value of a roll-out's key: what is written can be read, and everything that it must not be."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.rollout import CANARIES, PLACES, Rollout, Status, archive_key, rollout_key
from edgeagent.core.rollout_document import MAX_ROLLOUT_BYTES, decode_rollout, encode_rollout
from edgeagent.errors import RolloutError, UsageError
from tests.support.rollouts import a_rollout

KEY = rollout_key("yolo")
DOC: dict[str, Any] = {
    "id": "r1",
    "version": "v2",
    "from": "v1",
    "based_on": "41",
    "salt": "s",
    "waves": ["1", "100%"],
    "status": "planned",
    "wave": -1,
    "open_below": 0,
}


def decoded(**changes: Any) -> Rollout:
    """The smallest document with these fields instead."""
    return decode_rollout(KEY, json.dumps(DOC | changes).encode())


def test_keys_as_the_interface_names_them() -> None:
    """Factories script against these."""
    assert KEY == "/models/yolo/rollout"
    assert archive_key("yolo", "r1") == "/models/yolo/rollouts/r1"


def test_the_smallest_document() -> None:
    """All else has a default, which isn't written."""
    assert decoded() == a_rollout(waves=("1", "100%"))
    assert json.loads(encode_rollout(decoded())) == DOC


def test_a_document_with_all_that_can_be_said() -> None:
    """Every field comes back as it was."""
    rollout = a_rollout(
        waves=(CANARIES, "3", "5%", "12.5%", "100%"),
        canaries=("press-1", "press-2"),
        selector={"line": "a", "hall": "north"},
        approval="manual",
        preload=True,
        fetch_spread_seconds=30.0,
        terms={"shadow": {"seconds": 120}, "gates": {"golden": {"min_recall": 0.9}}},
        by="Ada",
        reason="finds dents",
        bake_seconds=5.0,
        deadline_seconds=60.0,
        min_frames=1000,
        min_objects=50,
        max_failures=2,
        max_refused=0.5,
        on_failure="pause",
        status=Status.PAUSED,
        wave=2,
        open_below=PLACES // 20,
        why="press-2 went back from it",
        forgiven=("press-2",),
        forgiven_refused=3,
        forgiven_evidence=3.5,
    )
    assert decode_rollout(KEY, encode_rollout(rollout)) == rollout


def test_what_a_newer_release_adds_is_left_aside() -> None:
    """Nodes of two releases follow one roll-out."""
    assert decoded(sunday=True, wavelength=3) == decoded()


@pytest.mark.parametrize("name", DOC)
def test_nothing_can_be_left_out(name: str) -> None:
    """It would have to be guessed."""
    value = json.dumps({n: v for n, v in DOC.items() if n != name}).encode()
    with pytest.raises(RolloutError, match=f"the field {name} is missing"):
        decode_rollout(KEY, value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "broken JSON"),
        (b"v2", "broken JSON"),
        (b"{", "broken JSON"),
        (b'{"id": "r1"} x', "broken JSON"),
        (b'{"id": NaN}', "broken JSON"),
        (b'{"id": "\\ud800"}', "broken JSON"),
        (b'{"a":' * 10_000, "broken JSON"),
        (b"[" * 30_000 + b"]" * 30_000, "broken JSON"),
        (b"\xff", "not UTF-8 (byte 0)"),
        (b"[]", "not an object"),
        (b'"r1"', "not an object"),
        (b"null", "not an object"),
        (b" " * (MAX_ROLLOUT_BYTES + 1), "is 65537 bytes, more than 65536"),
    ],
)
def test_what_is_no_document(value: bytes, why: str) -> None:
    """It says what is wrong, and under which key."""
    with pytest.raises(RolloutError, match=re.escape(why)) as caught:
        decode_rollout(KEY, value)
    assert KEY in caught.value.what
    assert "rollout start" in caught.value.todo


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("id", "../r1", "not a valid name"),
        ("id", 7, "not a valid name"),
        ("version", "", "not a valid name"),
        ("version", "v" * 129, "not a valid name"),
        ("version", "v1", "the version is v1, as is what nodes go back to"),
        ("from", None, "the field from: name None is not a valid name"),
        ("based_on", 41, "the field based_on is not text"),
        ("salt", ["s"], "the field salt is not text"),
        ("waves", "1,100%", "is not a list of 1 to 32 waves"),
        ("waves", [], "is not a list of 1 to 32 waves"),
        ("waves", [f"{n}" for n in range(1, 40)], "is not a list of 1 to 32 waves"),
        ("waves", [1, "100%"], "has a wave that is not text"),
        ("waves", ["half", "100%"], "'half' is neither a count, a share such as 5%, nor 'canaries'"),
        ("waves", ["", "100%"], "'' is neither a count"),
        ("waves", ["%", "100%"], "'%' is neither a count"),
        ("waves", ["nan%", "100%"], "'nan%' is neither a count"),
        ("waves", ["1e2%"], "'1e2%' is neither a count"),
        ("waves", ["1_0", "100%"], "'1_0' is neither a count"),
        ("waves", ["٣", "100%"], "'٣' is neither a count"),
        ("waves", ["-1", "100%"], "'-1' is neither a count"),
        ("waves", ["9" * 5000, "100%"], "is neither a count"),
        ("waves", ["0", "100%"], "'0' is not above 0"),
        ("waves", ["0.0%", "100%"], "'0.0%' is not above 0 and at most 100%"),
        ("waves", ["101%"], "'101%' is not above 0 and at most 100%"),
        ("waves", ["1", "50%"], "the last is not 100%"),
        ("waves", ["1", "100.0%"], "the last is not 100%"),
        ("waves", ["1", "100%", "100%"], "they don't grow"),
        ("waves", ["3", "2", "100%"], "they don't grow"),
        ("waves", ["3", "3", "100%"], "they don't grow"),
        ("waves", ["25%", "5%", "100%"], "they don't grow"),
        ("waves", ["5%", "3", "100%"], "a count comes after a share"),
        ("waves", ["canaries", "100%"], "the first is canaries where canaries or a selector are given"),
        ("waves", ["1", "canaries", "100%"], "canaries can only be the first"),
        ("canaries", ["press-1"], "the first is canaries where canaries or a selector are given"),
        ("selector", {"line": "a"}, "the first is canaries where canaries or a selector are given"),
        ("canaries", "press-1", "is not a list of at most 256 names"),
        ("canaries", ["press-1"] * 257, "is not a list of at most 256 names"),
        ("canaries", ["press 1"], "the field canaries: node 'press 1' is not a valid name"),
        ("selector", ["line"], "is not an object of at most 16 labels"),
        ("selector", {str(n): "a" for n in range(17)}, "is not an object of at most 16 labels"),
        ("selector", {"line": 1}, "has a label that is not text"),
        ("selector", {"line": "a" * 1001}, "has a label that is not text"),
        ("bake_seconds", -1, "is not a number from 0"),
        ("bake_seconds", "600", "is not a number from 0"),
        ("bake_seconds", True, "is not a number from 0"),
        ("bake_seconds", 10**400, "is not a number from 0"),
        ("deadline_seconds", 0, "is not a number from 1"),
        ("fetch_spread_seconds", 3600, "deadline_seconds is not above fetch_spread_seconds"),
        ("min_frames", 1.5, "is not a whole number"),
        ("min_frames", -1, "is not a whole number"),
        ("max_failures", None, "is not a whole number"),
        ("max_refused", 1.01, "is not a number from 0 to 1"),
        ("on_failure", "ignore", "is none of rollback, pause"),
        ("approval", True, "is none of auto, manual"),
        ("mode", "canary", "is none of waves, ab"),
        ("preload", 1, "is not true or false"),
        ("terms", [], "is not an object"),
        ("terms", {"version": "v3"}, "the terms: are no JSON object with fields of"),
        ("terms", {"preload": True}, "the field terms has preload, which is a field of the roll-out itself"),
        ("terms", {"shadow": {"minutes": 2}}, "the terms: shadow has the unknown fields minutes"),
        ("by", 5, "is not text"),
        ("status", "finished", "is none of planned, rolling"),
        ("status", ["done"], "is none of planned, rolling"),
        ("status", "rolling", "it is rolling and open_below 0 with wave -1"),
        ("status", "baking", "it is baking and open_below 0 with wave -1"),
        ("wave", 0, "it is planned and open_below 0 with wave 0"),
        ("wave", -2, "is not a whole number from -1"),
        ("wave", 2, "wave 2 is none of the 2"),
        ("wave", "0", "is not a whole number from -1"),
        ("open_below", 7, "it is planned and open_below 7 with wave -1"),
        ("open_below", PLACES + 1, "is not a whole number from 0"),
        ("open_below", 0.5, "is not a whole number from 0"),
        ("forgiven", 1, "is not a list of at most 256 names"),
        ("forgiven_evidence", -1, "is not a number from 0"),
        ("advance", "yes", "is not true or false"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, why: str) -> None:
    """Whatever the rest says."""
    with pytest.raises(RolloutError, match=re.escape(why)):
        decoded(**{field: value})


@pytest.mark.parametrize("waves", [["100%"], ["7", "100%"], ["1", "3", "0.1%", "5%", "100%"]])
def test_waves_that_grow(waves: list[str]) -> None:
    """Counts first, for nobody knows which of a count and a share is more."""
    assert decoded(waves=waves).plan.waves == tuple(waves)


@pytest.mark.parametrize(
    ("waves", "why"), [(["1", "100%"], "mode ab"), ([str(n) for n in range(1, 33)], "mode ab"), (["50%"], "")]
)
def test_what_is_compared_leaves_somebody_to_compare_with(waves: list[str], why: str) -> None:
    """And has room for the wave of all nodes that ends it."""
    if why:
        with pytest.raises(RolloutError, match=why):
            decoded(waves=waves, mode="ab")
    else:
        assert decoded(waves=waves, mode="ab").plan.mode == "ab"


def test_terms_at_the_limit_of_what_can_be_nested_are_an_error_like_others() -> None:
    """Reading them may be possible where writing them isn't."""
    for depth in range(300, 1000, 7):
        nested = '{"a":' * depth + "1" + "}" * depth
        value = json.dumps(DOC)[:-1] + f', "terms": {nested}}}'
        with pytest.raises(RolloutError):
            decode_rollout(KEY, value.encode())


def test_texts_are_cut_and_without_secrets() -> None:
    """Everybody reads them."""
    rollout = decoded(reason="see https://ada:pw@wiki/ " + "x" * 5000, by="Ada?token=abc")
    assert "ada:pw" not in rollout.plan.reason
    assert len(rollout.plan.reason) <= 1000
    assert rollout.plan.by == "Ada?token=***"


@pytest.mark.parametrize(
    "wrong",
    [{"waves": ("1", "50%")}, {"version": "a/b"}, {"by": "\udcff"}, {"terms": {"at": "noon"}}, {"wave": 7}],
)
def test_what_nobody_could_read_is_not_written(wrong: dict[str, Any]) -> None:
    """Whoever asked for it is told."""
    with pytest.raises(UsageError):
        encode_rollout(a_rollout(**wrong))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_SOMETIMES_RIGHT = st.fixed_dictionaries(
    {},
    optional={
        "waves": st.lists(st.sampled_from(["canaries", "1", "3", "5%", "50%", "100%"]), max_size=4),
        "selector": st.dictionaries(st.text(), st.text(), max_size=2),
        "canaries": st.lists(st.sampled_from(["a", "b", "-"])),
        "bake_seconds": st.floats(0, 100) | st.integers(),
        "deadline_seconds": st.floats(1, 100),
        "max_refused": st.floats(0, 1),
        "status": st.sampled_from(Status),
        "wave": st.integers(-1, 3),
        "open_below": st.integers(0, PLACES),
        "mode": st.sampled_from(["waves", "ab"]),
        "on_failure": st.sampled_from(["pause", "rollback"]),
        "by": st.text(),
        "terms": st.sampled_from([{}, {"at": "window"}, {"at": "noon"}]),
        "forgiven": st.lists(st.sampled_from(["a", "b"])),
        "forgiven_evidence": st.floats(0, 10),
    },
)


@given(
    st.dictionaries(st.sampled_from(sorted(DOC)) | st.text(max_size=8), _JSON, max_size=2), _SOMETIMES_RIGHT
)
def test_whatever_is_written_there_it_is_a_roll_out_or_an_error(
    hostile: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Anybody can write the key; what could be read can be written again, and is the same."""
    with suppress(RolloutError):
        rollout = decoded(**(hostile | changes))
        assert decode_rollout(KEY, encode_rollout(rollout)) == rollout


@given(st.binary(max_size=200))
def test_any_bytes(value: bytes) -> None:
    """Nothing but the error that callers know."""
    with suppress(RolloutError):
        decode_rollout(KEY, value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_named(value: float) -> None:
    """An option of a command takes it for one."""
    with pytest.raises(UsageError, match=r"the field bake_seconds is (nan|inf)"):
        encode_rollout(a_rollout(bake_seconds=value))
