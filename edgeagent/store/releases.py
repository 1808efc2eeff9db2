# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks through what a model store holds of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeagent.core.model import parse_manifest
from edgeagent.core.releases import Release, in_order
from edgeagent.core.store_documents import Tag
from edgeagent.errors import IntegrityError, NotFoundError
from edgeagent.store.remote import RemoteStore
from edgeagent.store.tags import tags
from edgeagent.store.withdrawals import withdrawals


@dataclass(frozen=True)
class Listing:
    """The versions of a model from the oldest to the newest, and what is wrong with tags that can't be read."""

    releases: Sequence[Release]
    broken_tags: Sequence[IntegrityError] = ()


def list_releases(
    store: RemoteStore, model: str, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Listing:
    """All versions of `model`, also broken ones; a web server must list its folders for that.

    Raises UnavailableError, UsageError (the name), IntegrityError (more documents than anybody reads).
    """
    found = tags(store, model)
    withdrawn = withdrawals(store, model)
    named = [(name, tag.version) for name, tag in found.items() if isinstance(tag, Tag)]
    names, releases = store.folders(model), []
    for done, version in enumerate(names):
        on_progress(done, len(names))
        manifest, fault = None, ""
        try:
            manifest = parse_manifest(store.read_manifest(model, version), model, version)
        except NotFoundError:  # half a publish, or none at all
            continue
        except IntegrityError as e:
            fault = str(e)
        by = tuple(name for name, tagged in named if tagged == version)
        releases.append(Release(version, manifest, fault, by, withdrawn.get(version)))
    return Listing(in_order(releases), [tag for tag in found.values() if isinstance(tag, IntegrityError)])
