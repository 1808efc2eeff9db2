# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version that somebody types: by its name, or by a tag that stands for one in a model store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import completion
from edgeagent.errors import UsageError

if TYPE_CHECKING:
    from edgeagent.store.tags import Resolved

VersionOrTag = Annotated[
    str, typer.Argument(metavar="V|@TAG", show_default=False, autocompletion=completion.versions)
]
StoreToAsk = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        help="The model store: look up @TAG, or whether the version is there and may be taken up.",
        show_default=False,
    ),
]


def looked_up(model: str, version: str, store: str) -> Resolved:
    """The version that is meant; unless a store is given, whatever is there: without a digest.

    Raises NotFoundError, ConflictError (it was withdrawn), IntegrityError, UsageError, UnavailableError.
    """
    from edgeagent.core.model import check_name
    from edgeagent.store.remote import RemoteStore
    from edgeagent.store.tags import SIGN, Resolved, resolve

    check_name("model", model)
    if store:
        return resolve(RemoteStore(store), model, version)
    if version.startswith(SIGN):
        raise UsageError(f"{model} {version}", "a tag stands in the model store", "give --store URL")
    return Resolved(check_name("version", version), "")
