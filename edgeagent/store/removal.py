# SPDX-License-Identifier: AGPL-3.0-or-later
"""Removes versions from a model store, so that a half removed one is never taken for a whole one.

First the manifest is copied beside the versions, then it is removed: from there on there is no such version. Then its
files go, and the copy last. Whoever is killed in between has begun something that can be gone on with: the copy says
which files there were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeagent.core.model import MAX_MANIFEST_BYTES, Manifest, check_name, parse_manifest
from edgeagent.core.store_documents import REMOVED, removal_path
from edgeagent.errors import IntegrityError
from edgeagent.store.remote import MANIFEST, RemoteStore

OnProgress = Callable[[int, int], None]


def begin_removal(store: RemoteStore, model: str, version: str) -> Manifest:
    """From now on there is no such version; its files are still there.

    Raises NotFoundError, IntegrityError (its manifest is broken), UsageError (a read-only store), UnavailableError.
    """
    data = store.read_manifest(model, version)
    manifest = parse_manifest(data, model, version)
    store.put(removal_path(model, version), data)
    store.remove(f"{model}/{version}/{MANIFEST}")
    return manifest


def begun_removals(store: RemoteStore, model: str) -> list[Manifest | IntegrityError]:
    """What was begun and not ended; what is wrong with it in the place of a copy that can't be read.

    A version that has a manifest is none: whoever began was killed before it was removed, or it was published anew.
    Raises UnavailableError, IntegrityError for too many of them.
    """
    found: list[Manifest | IntegrityError] = []
    for version in store.documents(f"{check_name('model', model)}/{REMOVED}"):
        data = store.read(removal_path(model, version), MAX_MANIFEST_BYTES)
        if data is None or store.has_version(model, version):
            continue
        try:
            found.append(parse_manifest(data, model, version))
        except IntegrityError as e:
            todo = f"remove the folder {model}/{version} and {removal_path(model, version)} yourself"
            found.append(IntegrityError(f"removal of {model}/{version}", f"{e.what} {e.why}", todo))
    return found


def end_removals(
    store: RemoteStore, manifests: Sequence[Manifest], on_progress: OnProgress = lambda done, total: None
) -> None:
    """Remove the files of these versions, and with the last one what says that they are being removed.

    on_progress(done, total): files. Raises UsageError (a read-only store), UnavailableError: then it can be gone on
    with.
    """
    done, total = 0, sum(len(m.files) for m in manifests)
    for m in manifests:
        for file in m.files:
            on_progress(done, total)
            store.remove(f"{m.model}/{m.version}/{file.path}")
            done += 1
        store.remove(removal_path(m.model, m.version))
    on_progress(done, total)
