# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model store says beside its versions, which never change: tags, and which versions were withdrawn.

    <model>/_tags/<tag>.json            the version that a tag names
    <model>/_withdrawn/<version>.json   that no node is to take a version up any more, and why
    <model>/_removed/<version>.json     the manifest of a version that is being removed
    _snapshots/<name>.json              what every node served at a time (core/snapshot.py)

No model, version or tag can begin with an underscore, so none is called like one of these folders, and a release that
doesn't know them passes them over. They are untrusted, as all that a store holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeagent.core.model import check_name, parse_json
from edgeagent.core.text import MAX_BY, clean
from edgeagent.errors import IntegrityError, UsageError

SCHEMA = 1
MAX_DOCUMENT_BYTES = 16 * 1024
MAX_DOCUMENTS = 10_000
"""In one folder: more than anybody reads, and few enough to hold."""
TAGS, WITHDRAWN, REMOVED, SNAPSHOTS = "_tags", "_withdrawn", "_removed", "_snapshots"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_MAX_DATE = 64


@dataclass(frozen=True)
class Tag:
    """A name for one version of a model, which can be moved. digest: of the version when it was tagged; by, at: who did
    it, and when (ISO 8601, UTC)."""

    version: str
    digest: str
    by: str
    at: str


@dataclass(frozen=True)
class Withdrawal:
    """A version that no node is to take up any more. by, at: as in Tag."""

    reason: str
    by: str
    at: str

    def __str__(self) -> str:
        """In one line."""
        when = ", ".join(filter(None, (self.by, self.at)))
        return self.reason + (f" ({when})" if when else "")


def tag_path(model: str, tag: str) -> str:
    """Where a tag stands in the store. Raises UsageError."""
    return f"{check_name('model', model)}/{TAGS}/{check_name('tag', tag)}.json"


def withdrawal_path(model: str, version: str) -> str:
    """Where it stands that a version was withdrawn. Raises UsageError."""
    return f"{check_name('model', model)}/{WITHDRAWN}/{check_name('version', version)}.json"


def removal_path(model: str, version: str) -> str:
    """Where the manifest of a version stands while its files are being removed. Raises UsageError."""
    return f"{check_name('model', model)}/{REMOVED}/{check_name('version', version)}.json"


def encode(document: Tag | Withdrawal) -> bytes:
    """As it is to be written. Raises UsageError for text that can't be."""
    return to_bytes(asdict(document))


def parse_tag(data: bytes, model: str, tag: str) -> Tag:
    """Parse an untrusted tag. Raises IntegrityError."""
    where, todo = f"tag {tag} of {model}", f"write it anew (edgeagent tag {model} VERSION {tag})"
    doc = read_object(data, where, todo, MAX_DOCUMENT_BYTES)
    version, digest = doc.get("version"), doc.get("digest")
    try:
        name = check_name("version", version)
    except UsageError as e:
        raise IntegrityError(where, f"{e.what} is {e.why}", todo) from e
    if not is_digest(digest):
        raise IntegrityError(where, "its digest is not sha256: and 64 hex digits", todo)
    return Tag(
        name, str(digest), read_text(doc, "by", where, todo), read_text(doc, "at", where, todo, _MAX_DATE)
    )


def parse_withdrawal(data: bytes, model: str, version: str) -> Withdrawal:
    """Parse an untrusted withdrawal. One that can't be read is one all the same: somebody has put it there."""
    where = f"withdrawal of {model}/{version}"
    todo = f"write it anew (edgeagent yank {model} {version} --undo, and again)"
    try:
        doc = read_object(data, where, todo, MAX_DOCUMENT_BYTES)
        reason = read_text(doc, "reason", where, todo)
        by, at = read_text(doc, "by", where, todo), read_text(doc, "at", where, todo, _MAX_DATE)
    except IntegrityError as e:
        return Withdrawal(f"{e.why}: the reason can't be read", "", "")
    return Withdrawal(reason.strip() or "no reason was given", by, at)


# -- what all of them have in common -------------------------------------------------------------------


def to_bytes(doc: Mapping[str, Any]) -> bytes:
    """A document as it is to be written: readable, with its schema. Raises UsageError for text that can't be."""
    try:
        return (json.dumps({"schema": SCHEMA, **doc}, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError as e:
        raise UsageError("the text", "is not valid text", "write it in UTF-8") from e


def read_object(data: bytes, where: str, todo: str, most: int) -> dict[str, Any]:
    """The object in an untrusted document of at most so many bytes; unknown keys are none of our business.

    Raises IntegrityError saying `where`, what is wrong, and `todo`.
    """
    if len(data) > most:
        raise IntegrityError(where, f"it is larger than {most} bytes", todo)
    try:
        doc = parse_json(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise IntegrityError(where, f"it is not JSON in UTF-8 ({clean(str(e), 200)})", todo) from e
    if not isinstance(doc, dict):
        raise IntegrityError(where, "it is not a JSON object", todo)
    if doc.get("schema") != SCHEMA:
        why = f"its schema is {clean(repr(doc.get('schema')), 40)}, this edgeagent reads {SCHEMA}"
        raise IntegrityError(where, why, todo)
    return doc


def read_text(doc: Mapping[str, Any], key: str, where: str, todo: str, most: int = MAX_BY) -> str:
    """A text of an untrusted document, cut and without secrets. Raises IntegrityError."""
    value = doc.get(key)
    if not isinstance(value, str):
        raise IntegrityError(where, f"its {key} is not text", todo)
    return clean(value, most)


def is_digest(value: object) -> bool:
    """Whether it has the form of a version's digest."""
    return isinstance(value, str) and _DIGEST.match(value) is not None
