# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operator's intent: the decoded value of `/models/<model>/current` or of a node's pin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from edgeagent.core.directive_fields import (
    MAX_SECONDS,
    PARSERS,
    ProbationTerms,
    ShadowTerms,
    Thresholds,
)
from edgeagent.core.model import check_name, parse_json
from edgeagent.core.parse import number
from edgeagent.core.text import clean
from edgeagent.errors import DirectiveError, UsageError

MAX_VALUE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Directive:
    """Which version should serve, and on whose word. It travels as it is, from the key to the swap and into the state.

    intent_id: identity of this writing of the key (key and revision), or of what asked on the node itself. Writing the
    key again, even with the same value, is a new intent: it ends a hold and lifts a quarantine.
    tag: by which the version was named when the intent was written, without its @; "" where it was named itself.
    allow_new_contract: the operator says that the class names may change with this version. allow_slow: that it may be
    too slow for its pipelines. again: that it is to be tried at once, although it was just rolled back.
    classes: same, remap or extend; add_classes, drop_classes: the classes that may come and go with extend.
    shadow, probation, at, approval: how it is to come in, where that isn't as the node is configured ("", None).
    gates: thresholds, by gate and name, in the place of the node's. preload: it is to be made ready only, and not to
    serve; what should serve stays as it was.
    Every field from `by` to `preload` may stand in the key's value, and is optional there: see `directive_fields`.
    returns: a roll-out is taken back, and the version is the one before it. spread_s: a roll-out's version is fetched
    at a moment within so many seconds.
    """

    version: str
    intent_id: str = ""
    by: str = ""
    reason: str = ""
    tag: str = ""
    allow_new_contract: bool = False
    allow_slow: bool = False
    again: bool = False
    classes: str = ""
    add_classes: tuple[str, ...] = ()
    drop_classes: tuple[str, ...] = ()
    shadow: ShadowTerms | None = None
    probation: ProbationTerms | None = None
    at: str = ""
    approval: str = ""
    gates: Thresholds = field(default_factory=dict)
    preload: bool = False
    returns: bool = False
    spread_s: float = 0.0

    def asks_the_same_as(self, other: Directive) -> bool:
        """Whether both say the same, whenever that was written, and however the node came to it."""
        return replace(self, **_UNSAID) == replace(other, **_UNSAID)

    def prepares_the_same_as(self, other: Directive) -> bool:
        """Whether what has to be made and gated for both is the same, on whosever word and however it comes in."""
        return all(getattr(self, name) == getattr(other, name) for name in _PREPARED_BY)


_PREPARED_BY = (
    "version",
    "allow_new_contract",
    "allow_slow",
    "classes",
    "add_classes",
    "drop_classes",
    "gates",
)
_UNSAID: dict[str, Any] = {"intent_id": "", "returns": False, "spread_s": 0.0}
"""Fields that no key's value has, as they are by default."""
_DEFAULTS = {name: getattr(Directive(""), name) for name in PARSERS}
_KNOWN = ("version", *PARSERS)
assert tuple(f.name for f in fields(Directive) if f.name not in _UNSAID) == _KNOWN

_ALWAYS_SAVED = ("by", "reason", "allow_new_contract")
"""Fields that a release before could not do without."""


def current_key(model: str) -> str:
    """Key of the intent for all nodes."""
    return f"/models/{model}/current"


def pin_key(model: str, node: str) -> str:
    """Key of the intent for one node; wins over `current_key`."""
    return f"/models/{model}/pins/{node}"


def decode_directive(key: str, value: bytes, revision: str) -> Directive:
    """Decode the value of an intent key: bare text `v2`, or a JSON object.

    Raises DirectiveError naming the key and what is wrong.
    """
    form = 'write a version such as v2, or JSON such as {"version": "v2", "by": "me", "reason": "why"}'

    def bad(why: str, todo: str = form) -> DirectiveError:
        return DirectiveError(f"key {key}", why, todo)

    if len(value) > MAX_VALUE_BYTES:
        raise bad(f"the value is {len(value)} bytes, more than {MAX_VALUE_BYTES}")
    try:
        text = value.decode("utf-8").strip()
    except UnicodeDecodeError as e:
        raise bad(f"the value is not UTF-8 (byte {e.start})") from e
    if not text:
        raise bad("the value is empty")
    doc: object = {"version": text}
    if text[0] in '{["':
        try:
            doc = parse_json(text)
        except (ValueError, RecursionError) as e:
            raise bad(f"the value is broken JSON ({e})") from e
    if not isinstance(doc, dict):
        raise bad("the JSON value is not an object")
    if "version" not in doc:
        raise bad("the field version is missing")
    unknown = sorted(set(doc) - set(_KNOWN))
    if unknown:
        raise bad(f"unknown fields {', '.join(unknown)[:200]} (known are {', '.join(_KNOWN)})")
    if isinstance(named := doc["version"], str) and named.startswith("@"):
        # What it names may have changed by the time that another node reads it.
        why = f"{clean(named, 140)} is a tag, and nodes take versions only"
        raise bad(why, "use edgeagent promote with --store, which looks up what the tag names")
    try:
        given = _parsed(doc)
        version = check_name("version", named)
    except UsageError as e:
        raise bad(f"{e.what} is {e.why} ({e.todo})") from e
    except ValueError as e:
        raise bad(f"the field {e}") from e
    return Directive(**given, version=version, intent_id=f"{key}@{revision}")


def encode_directive(directive: Directive) -> bytes:
    """The value to write into a key: bare text where the version says it all, else JSON. `intent_id` isn't written.

    Raises UsageError for what `decode_directive` would not take.
    """
    doc: dict[str, Any] = {"version": check_name("version", directive.version)}
    doc |= {name: value for name, value in _written(directive).items() if value != _DEFAULTS[name]}
    try:
        _parsed(doc)
        value = directive.version.encode() if len(doc) == 1 else json.dumps(doc, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:
        raise UsageError("by or reason", "not valid text", "write it in UTF-8") from e
    except ValueError as e:
        raise UsageError("the intent", f"its field {e}", "see docs/interface.md, Config store keys") from e
    if len(value) > MAX_VALUE_BYTES:
        raise UsageError(
            "by or reason", f"the value becomes {len(value)} bytes", f"at most {MAX_VALUE_BYTES}"
        )
    return value


def with_terms(directive: Directive, text: str) -> Directive:
    """The directive with further fields, given as a JSON object, "" for none. Raises UsageError."""
    if not text:
        return directive
    what, todo = (
        "the terms",
        'give JSON such as {"shadow": {"seconds": 120}}; docs/interface.md has the fields',
    )
    try:
        doc = parse_json(text)
        if not isinstance(doc, dict) or not set(doc) <= set(PARSERS):
            raise ValueError(f"are no JSON object with fields of {', '.join(PARSERS)}")
        return replace(directive, **_parsed(doc))
    except (ValueError, RecursionError) as e:
        raise UsageError(what, str(e), todo) from e


def directive_to_json(directive: Directive) -> dict[str, Any]:
    """As it stands in the saved state: `intent_id` is called `wish` there, as it always was; a field that came later
    stands there only when it says something."""
    said = {
        name: value
        for name, value in _written(directive).items()
        if name in _ALWAYS_SAVED or value != _DEFAULTS[name]
    }
    unsaid = {name: getattr(directive, name) for name in ("returns", "spread_s")}
    said |= {name: value for name, value in unsaid.items() if value}
    return {"version": directive.version, "wish": directive.intent_id, **said}


def directive_from_json(doc: Mapping[str, Any]) -> Directive:
    """What `directive_to_json` gave; a field that an earlier release didn't know has its default.

    Raises LookupError or TypeError for anything else.
    """
    try:
        return Directive(
            version=str(doc["version"]),
            intent_id=str(doc["wish"]),
            returns=doc.get("returns") is True,
            spread_s=number(0, MAX_SECONDS)(doc.get("spread_s", 0.0)),
            **_parsed(doc),
        )
    except ValueError as e:
        raise TypeError(str(e)) from e


def _parsed(doc: Mapping[str, Any]) -> dict[str, Any]:
    """The optional fields that are there. Raises ValueError naming the first that is wrong.

    What an earlier release saved whole is still the same intent as the key that it was read from: texts are cut.
    """
    given = {}
    for name, parse in PARSERS.items():
        if name in doc:
            try:
                given[name] = parse(doc[name])
            except ValueError as e:
                raise ValueError(f"{name} {e}") from e
    if (given.get("add_classes") or given.get("drop_classes")) and given.get("classes") != "extend":
        raise ValueError('classes is not "extend", which add_classes and drop_classes need')
    return given


def _written(directive: Directive) -> dict[str, Any]:
    """The optional fields as JSON values; terms of which nothing is said are left out."""
    values = asdict(directive)
    for name in ("shadow", "probation"):
        if values[name]:
            values[name] = {key: value for key, value in values[name].items() if value is not None}
    return {name: list(v) if isinstance(v := values[name], tuple) and v else v for name in PARSERS}
