# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tags: names for versions that can be moved, such as `stable`. A store knows no condition for overwriting, so of two
who move a tag at the same time the last one wins."""

from __future__ import annotations

from dataclasses import dataclass

from edgeagent.core.model import check_name, parse_manifest
from edgeagent.core.store_documents import MAX_DOCUMENT_BYTES, TAGS, Tag, encode, parse_tag, tag_path
from edgeagent.errors import ConflictError, IntegrityError, NotFoundError
from edgeagent.store.remote import RemoteStore
from edgeagent.store.withdrawals import refuse_withdrawn

SIGN = "@"
"""Before a tag, where a version can stand as well."""


@dataclass(frozen=True)
class Resolved:
    """A version that is in the store and may be taken up. tag: by which it was named, "" where it was by its own."""

    version: str
    digest: str
    tag: str = ""


def resolve(store: RemoteStore, model: str, name: str) -> Resolved:
    """The version that `name` (`v7`, or `@stable`) stands for now.

    Raises NotFoundError (no such version, no such tag), ConflictError (it was withdrawn; or what the tag was put on is
    no longer what the store holds under that name), IntegrityError (tag or manifest are broken), UsageError,
    UnavailableError.
    """
    check_name("model", model)
    tag = None
    if name.startswith(SIGN):
        tag = read_tag(store, model, check_name("tag", name.removeprefix(SIGN)))
        if tag is None:
            why = f"not in the store {store.name}"
            raise NotFoundError(f"tag {name} of {model}", why, "edgeagent versions lists them")
    version = tag.version if tag else name
    digest = parse_manifest(store.read_manifest(model, version), model, version).digest
    if tag and tag.digest != digest:
        why = f"it was put on {version} as {tag.digest}, and the store holds {digest} under that name"
        raise ConflictError(f"tag {name} of {model}", why, "tag the version anew, if this is what you mean")
    refuse_withdrawn(store, model, version)
    return Resolved(version, digest, name.removeprefix(SIGN) if tag else "")


def read_tag(store: RemoteStore, model: str, tag: str) -> Tag | None:
    """What a tag names; None if there is no such tag. Raises IntegrityError, UnavailableError."""
    data = store.read(tag_path(model, tag), MAX_DOCUMENT_BYTES)
    return None if data is None else parse_tag(data, model, tag)


def tags(store: RemoteStore, model: str) -> dict[str, Tag | IntegrityError]:
    """All tags of a model, sorted; what is wrong with it in the place of a broken one. Raises UnavailableError,
    IntegrityError for too many of them."""
    found: dict[str, Tag | IntegrityError] = {}
    for name in store.documents(f"{check_name('model', model)}/{TAGS}"):
        try:
            tag = read_tag(store, model, name)
        except IntegrityError as e:
            found[name] = e
        else:
            if tag:  # else it was removed since the listing
                found[name] = tag
    return found


def put_tag(store: RemoteStore, model: str, version: str, tag: str, by: str, at: str) -> str:
    """Have `tag` name this version from now on. Returns the version that it named before, "" for none.

    Raises NotFoundError (no such version), ConflictError (it was withdrawn), IntegrityError (its manifest is broken),
    UsageError (names, a read-only store), UnavailableError.
    """
    path = tag_path(model, tag)
    named = resolve(store, model, check_name("version", version))
    try:
        before = read_tag(store, model, tag)
    except IntegrityError:  # what was broken is put right
        before = None
    store.put(path, encode(Tag(version, named.digest, by, at)))
    return before.version if before else ""


def remove_tag(store: RemoteStore, model: str, tag: str) -> str:
    """Remove a tag, also a broken one. Returns the version that it named, "" where it was broken.

    Raises NotFoundError (no such tag), UsageError (names, a read-only store), UnavailableError.
    """
    try:
        before = read_tag(store, model, tag)
        if before is None:
            why = f"not in the store {store.name}"
            raise NotFoundError(f"tag {tag} of {model}", why, "edgeagent versions lists them")
    except IntegrityError:
        before = None
    store.remove(tag_path(model, tag))
    return before.version if before else ""
