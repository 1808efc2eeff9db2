# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names that the configuration gives: of nodes, models, pipelines, hooks."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from edgeagent.core.model import check_name
from edgeagent.errors import UsageError


def _name(value: str) -> str:
    try:
        return check_name("name", value)
    except UsageError as e:
        raise ValueError(f"{value!r} is not a valid name; allowed: {e.todo.removeprefix('use ')}") from e


Name = Annotated[str, AfterValidator(_name)]
