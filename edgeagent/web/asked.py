# SPDX-License-Identifier: AGPL-3.0-or-later
"""What requests have in common: bodies with a limit, names in paths, and who asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.types import Receive

from edgeagent.core.text import MAX_BY, clean
from edgeagent.web.answers import MAX_MISTAKES

Text = Annotated[str, Field(max_length=MAX_BY)]
ModelName = Annotated[str, Path(max_length=128)]
PipelineName = Annotated[str, Path(max_length=128)]


class Body(BaseModel):
    """What a request asks for; a wrong one costs no more time than it is worth."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, doc: Any) -> Any:
        if isinstance(doc, dict) and len(doc) > MAX_MISTAKES:
            raise ValueError(f"it has {len(doc)} fields, the known ones are {', '.join(cls.model_fields)}")
        return doc


def who(request: Request, by: str) -> str:
    """For the audit log: the name that the request gives (nothing proves it), and its address."""
    return f"{clean(' '.join(by.split()), MAX_BY) or 'api'} from {request.client.host if request.client else 'unknown'}"


async def until_gone(receive: Receive) -> None:
    """Returns when who asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
