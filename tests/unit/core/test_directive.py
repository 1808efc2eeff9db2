# SPDX-License-Identifier: AGPL-3.0-or-later
"""The value of an intent key: two ways to write it, and everything that it must not be."""

from __future__ import annotations

import json
import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.directive import (
    MAX_VALUE_BYTES,
    Directive,
    current_key,
    decode_directive,
    directive_from_json,
    directive_to_json,
    encode_directive,
    pin_key,
    with_terms,
)
from edgeagent.core.directive_fields import ProbationTerms, ShadowTerms
from edgeagent.errors import DirectiveError, UsageError

KEY = current_key("yolo")


def test_keys_as_the_interface_names_them() -> None:
    """Factories script against these."""
    assert KEY == "/models/yolo/current"
    assert pin_key("yolo", "press-07") == "/models/yolo/pins/press-07"


@pytest.mark.parametrize("value", [b"v2", b"v2\n", b"  v2\r\n", b'{"version": "v2"}', b' {"version":"v2"}\n'])
def test_the_smallest_intent(value: bytes) -> None:
    """`etcdctl put /models/yolo/current v2` is enough, as is an editor that ends the file with a newline."""
    assert decode_directive(KEY, value, "12") == Directive("v2", "/models/yolo/current@12")


def test_a_intent_with_all_that_can_be_said() -> None:
    """JSON, every field."""
    value = b'{"version": "v2", "by": "Ada", "reason": "finds dents", "allow_new_contract": true}'
    assert decode_directive(KEY, value, "12") == Directive(
        "v2", "/models/yolo/current@12", "Ada", "finds dents", allow_new_contract=True
    )


def test_how_a_version_is_to_come_in() -> None:
    """Shadow, probation, moment, approval, classes and thresholds, each by name."""
    doc = {
        "version": "v7",
        "tag": "stable",
        "classes": "extend",
        "add_classes": ["dent"],
        "shadow": {"seconds": 120},
        "probation": {"seconds": 600},
        "at": "between-parts",
        "approval": "manual",
        "gates": {"golden": {"min_recall": 0.9}},
        "preload": True,
    }
    directive = decode_directive(KEY, json.dumps(doc).encode(), "12")
    assert directive == Directive(
        "v7",
        f"{KEY}@12",
        tag="stable",
        classes="extend",
        add_classes=("dent",),
        shadow=ShadowTerms(seconds=120.0),
        probation=ProbationTerms(600.0),
        at="between-parts",
        approval="manual",
        gates={"golden": {"min_recall": 0.9}},
        preload=True,
    )
    assert decode_directive(KEY, encode_directive(directive), "12") == directive
    assert directive_from_json(json.loads(json.dumps(directive_to_json(directive)))) == directive


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("classes", "any", "classes is none of"),
        ("classes", ["remap"], "classes is none of"),
        ("add_classes", ["dent"], 'classes is not "extend"'),
        ("drop_classes", "dent", "drop_classes is not a list of class names"),
        ("drop_classes", [""], "drop_classes is not a list of class names"),
        ("drop_classes", ["a", "a"], "names a class twice"),
        ("add_classes", [str(n) for n in range(1001)], "has 1001 class names, at most 1000"),
        ("shadow", 120, "shadow is not an object with seconds or frames"),
        ("shadow", {"minutes": 2}, "unknown fields minutes"),
        ("shadow", {"seconds": -1}, "seconds is not a number from 0"),
        ("shadow", {"seconds": True}, "seconds is not a number from 0"),
        ("shadow", {"frames": 1.5}, "frames that are not a whole number"),
        ("shadow", {"frames": 10**400}, "frames is not a number from 0"),
        ("probation", {}, "seconds is not a number"),
        ("at", "noon", "at is none of"),
        ("approval", True, "approval is none of"),
        ("gates", ["golden"], "gates is not an object such as"),
        ("gates", {"golden": 0.9}, "gates is not an object such as"),
        ("gates", {"golden": {"min_recall": "high"}}, "golden.min_recall is something else than a number"),
        ("gates", {"golden": {"min_recall": 10**400}}, "golden.min_recall is something else than a number"),
        ("gates", {"": {"min_recall": 0.9}}, "has a name that is empty"),
        ("gates", {str(n): {} for n in range(65)}, "has more than 64 entries"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, why: str) -> None:
    """Whatever the rest says."""
    with pytest.raises(DirectiveError, match=re.escape(why)):
        decode_directive(KEY, json.dumps({"version": "v2", field: value}).encode(), "1")


def test_what_has_to_be_prepared_anew() -> None:
    """Not for another word or moment; for other gates or classes it does."""
    asked = Directive("v2", "a@1", by="Ada")
    assert asked.prepares_the_same_as(Directive("v2", "b@2", at="window", shadow=ShadowTerms(1.0)))
    assert not asked.prepares_the_same_as(Directive("v2", gates={"golden": {"min_recall": 0.9}}))
    assert not asked.prepares_the_same_as(Directive("v2", classes="remap"))


def test_writing_the_same_again_is_a_new_intent() -> None:
    """The revision tells them apart."""
    assert decode_directive(KEY, b"v2", "12") != decode_directive(KEY, b"v2", "13")


@pytest.mark.parametrize("text", ["true", "null", "12", "1.5"])
def test_bare_text_is_text_even_where_json_would_read_something_else(text: str) -> None:
    """A version may be called 12."""
    assert decode_directive(KEY, text.encode(), "1").version == text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"v2\xff", "not UTF-8 (byte 2)"),
        (b"v" * (1 << 20), "is 1048576 bytes, more than 65536"),
        (b'{"version": "v2"', "broken JSON"),
        (b'{"version": "v2"} x', "broken JSON"),
        (b'{"a":' * 10_000, "broken JSON"),
        (b"[" * 30_000 + b"]" * 30_000, "broken JSON"),
        (b'{"version": "v2", "reason": NaN}', "broken JSON"),
        (b'{"version": "v2", "reason": "\\ud800"}', "broken JSON"),
        (b'["v2"]', "not an object"),
        (b'"v2"', "not an object"),
        (b"{}", "version is missing"),
        (b'{"by": "Ada"}', "version is missing"),
        (b'{"version": "v2", "verison": "v3"}', "unknown fields verison"),
        (b'{"version": "v2", "by": 5}', "the field by is not text"),
        (b'{"version": "v2", "reason": null}', "the field reason is not text"),
        (b'{"version": "v2", "allow_new_contract": "yes"}', "allow_new_contract is not true or false"),
        (b'{"version": "v2", "allow_new_contract": 1}', "allow_new_contract is not true or false"),
        (b'{"version": "v2", "tag": "@stable"}', "tag is not the name of a tag"),
        (b'{"version": "v2", "tag": 7}', "tag is not the name of a tag"),
        (b'{"version": "v2", "returns": true}', "unknown fields returns"),
        (b'{"version": 2}', "version 2 is not a valid name"),
        (b'{"version": null}', "version None is not a valid name"),
        (b'{"version": ["v2"]}', "version a list is not a valid name"),
        (b'{"version": {"version": "v2"}}', "version a dict is not a valid name"),
        (b'{"version": ""}', "not a valid name"),
        (b'{"version": " v2"}', "not a valid name"),
        (b"../v2", "version '../v2' is not a valid name"),
        (b"v2/../../etc", "not a valid name"),
        (b"a/b", "not a valid name"),
        (b"..", "not a valid name"),
        (b"v..2", "not a valid name"),
        (b"v2 v3", "not a valid name"),
        (b"v2\nv3", "not a valid name"),
        (b"v2\x00", "not a valid name"),
        ("v２".encode(), "not a valid name"),
        (b"\xef\xbb\xbfv2", "not a valid name"),
        (b"v" * 129, "not a valid name"),
    ],
)
def test_bad_input_is_refused_with_key_and_reason(value: bytes, why: str) -> None:
    """The row of the design, and worse."""
    with pytest.raises(DirectiveError) as caught:
        decode_directive(KEY, value, "1")
    assert caught.value.what == f"key {KEY}"
    assert re.search(re.escape(why), caught.value.why)
    assert "write a version such as v2" in caught.value.todo


@pytest.mark.parametrize("value", [b"@stable", b"@" * 60_000, b'{"version": "@stable", "by": "eve"}'])
def test_a_tag_in_the_place_of_a_version_is_refused(value: bytes) -> None:
    """Each node would look it up at another time; who can, says so."""
    with pytest.raises(
        DirectiveError, match=r"key /models/yolo/current: @\S+ is a tag.*; use edgeagent promote"
    ):
        decode_directive(KEY, value, "1")


@pytest.mark.parametrize("value", [b"x" * 60_000, b'{"version": "v", "' + b"x" * 60_000 + b'": 1}'])
def test_an_error_stays_short(value: bytes) -> None:
    """It goes into log, status and audit log."""
    with pytest.raises(DirectiveError) as caught:
        decode_directive(KEY, value, "1")
    assert len(str(caught.value)) < 600


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda s: ".." not in s)


@given(NAMES, st.text(), st.text(), st.booleans())
def test_what_is_written_is_read(version: str, by: str, reason: str, allow: bool) -> None:
    """Round trip."""
    value = encode_directive(Directive(version, "", by, reason, allow_new_contract=allow))
    assert decode_directive(KEY, value, "3") == Directive(
        version, f"{KEY}@3", by, reason, allow_new_contract=allow
    )


def test_the_smallest_intent_is_written_as_bare_text() -> None:
    """As a person would type it."""
    assert encode_directive(Directive("v2")) == b"v2"


@pytest.mark.parametrize(
    ("version", "reason"), [("../v2", ""), ("", ""), ("v2", "\udcff"), ("v2", "x" * MAX_VALUE_BYTES)]
)
def test_what_could_not_be_read_is_not_written(version: str, reason: str) -> None:
    """The mistake is reported where it is made."""
    with pytest.raises(UsageError):
        encode_directive(Directive(version, reason=reason))


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_bytes_of_any_kind_give_a_directive_or_a_directive_error(value: bytes) -> None:
    """Nothing else gets out."""
    with suppress(DirectiveError):
        decode_directive(KEY, value, "1")


FIELDS = st.sampled_from(["version", "by", "reason", "allow_new_contract", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("v2"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(FIELDS, VALUES))
def test_json_of_any_kind_gives_a_directive_or_a_directive_error(doc: dict[str, object]) -> None:
    """What is taken can be shown: its text is text."""
    try:
        d = decode_directive(KEY, json.dumps(doc).encode(), "1")
    except DirectiveError:
        return
    json.dumps([d.version, d.by, d.reason], ensure_ascii=False).encode()
    assert isinstance(d.allow_new_contract, bool)


@pytest.mark.parametrize("depth", range(900, 1100, 7))
def test_nesting_near_the_interpreter_s_limit(depth: int) -> None:
    """Deep enough to be read and too deep to be shown must not slip between the two."""
    for value in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(DirectiveError):
            decode_directive(KEY, f'{{"version": {value}}}'.encode(), "1")


def test_terms_of_the_command_line() -> None:
    """As they would stand in the key; a mistake is said before anything is written."""
    asked = with_terms(Directive("v2", by="Ada"), '{"approval": "manual"}')
    assert asked == Directive("v2", by="Ada", approval="manual")
    assert with_terms(asked, "") == asked
    for text, why in (("{", "Expecting"), ("[]", "no JSON object"), ('{"at": "noon"}', "at is none of")):
        with pytest.raises(UsageError, match=why):
            with_terms(asked, text)
