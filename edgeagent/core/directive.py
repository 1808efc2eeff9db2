# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operator's wish: the decoded value of `/models/<model>/current` or of a node's pin."""

from __future__ import annotations

import json
from dataclasses import dataclass

from edgeagent.core.model import check_name, parse_json
from edgeagent.errors import DirectiveError, UsageError

MAX_VALUE_BYTES = 64 * 1024
_FIELDS = ("version", "by", "reason", "allow_new_contract")


@dataclass(frozen=True)
class Directive:
    """Which version should serve, and on whose word.

    wish: identity of this writing of the key (key and revision). Writing the key again, even with the
    same value, is a new wish: it ends a hold and lifts a quarantine.
    allow_new_contract: the operator says that the class names may change with this version.
    """

    version: str
    intent_id: str
    by: str = ""
    reason: str = ""
    allow_new_contract: bool = False


def current_key(model: str) -> str:
    """Key of the wish for all nodes."""
    return f"/models/{model}/current"


def pin_key(model: str, node: str) -> str:
    """Key of the wish for one node; wins over `current_key`."""
    return f"/models/{model}/pins/{node}"


def decode_directive(key: str, value: bytes, revision: str) -> Directive:
    """Decode the value of an intent key: bare text `v2`, or a JSON object.

    Raises DirectiveError naming the key and what is wrong.
    """
    todo = 'write a version such as v2, or JSON such as {"version": "v2", "by": "me", "reason": "why"}'

    def bad(why: str) -> DirectiveError:
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
    unknown = sorted(set(doc) - set(_FIELDS))
    if unknown:
        raise bad(f"unknown fields {', '.join(unknown)[:200]} (known are {', '.join(_FIELDS)})")
    for name in ("by", "reason"):
        if not isinstance(doc.get(name, ""), str):
            raise bad(f"the field {name} is not text")
    if not isinstance(doc.get("allow_new_contract", False), bool):
        raise bad("the field allow_new_contract is not true or false")
    try:
        version = check_name("version", doc["version"])
    except UsageError as e:
        raise bad(f"{e.what} is {e.why} ({e.todo})") from e
    return Directive(
        version=version,
        intent_id=f"{key}@{revision}",
        by=doc.get("by", ""),
        reason=doc.get("reason", ""),
        allow_new_contract=doc.get("allow_new_contract", False),
    )


def encode_directive(version: str, by: str = "", reason: str = "", allow_new_contract: bool = False) -> bytes:
    """The value to write for `version`: bare text where that says it all, else JSON.

    Raises UsageError for what `decode_directive` would not take.
    """
    doc: dict[str, str | bool] = {"version": check_name("version", version)}
    if by:
        doc["by"] = by
    if reason:
        doc["reason"] = reason
    if allow_new_contract:
        doc["allow_new_contract"] = True
    try:
        value = version.encode() if len(doc) == 1 else json.dumps(doc, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:
        raise UsageError("by or reason", "not valid text", "write it in UTF-8") from e
    if len(value) > MAX_VALUE_BYTES:
        raise UsageError(
            "by or reason", f"the value becomes {len(value)} bytes", f"at most {MAX_VALUE_BYTES}"
        )
    return value
