# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be changed in a configuration file through the API: a pipeline, and a model's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from edgeagent.config.api_changes import objections
from edgeagent.config.document import Document, in_short
from edgeagent.config.schema import Config, PipelineConfig
from edgeagent.config.shown import put_back
from edgeagent.core.text import cut
from edgeagent.errors import NotFoundError, UsageError

Edited = tuple[dict[str, Any], Config]
"""What the file is to say, and what that means."""


class Edit(Protocol):
    """One change of the file."""

    @property
    def what(self) -> str:
        """What is changed, in words."""

    @property
    def section(self) -> str:
        """Of the configuration, in which it stands."""

    def apply(self, document: Document, now: Config, environ: Mapping[str, str]) -> Edited:
        """The file with the change, checked as a whole. now: what is in force.

        Raises ConfigError with every mistake, NotFoundError, UsageError.
        """


@dataclass(frozen=True)
class PutPipeline:
    """Add a pipeline, or change the one of this name. pipeline: as it is to stand in the file, of plain values."""

    name: str
    pipeline: Mapping[str, Any]
    section = "pipelines"

    @property
    def what(self) -> str:
        """In words."""
        return f"pipeline {cut(self.name, 128)}"

    def apply(self, document: Document, now: Config, environ: Mapping[str, str]) -> Edited:
        """See `Edit`. What the file holds that isn't in force yet may be wrong, too: that is said as well."""
        place = document.place_of(self.name)
        where = f"pipelines[{place}]"
        given = {"name": self.name, **self.pipeline}
        if given["name"] != self.name:
            raise UsageError(self.what, f"{where}.name: {cut(str(given['name']), 128)!r} is another name")
        given = put_back(given, document.pipeline(self.name), where)
        # What else is wrong with it is said with all the others.
        names = _parsed(
            {"name": "x", "model": "x"} | {k: given[k] for k in ("source", "sinks") if k in given}
        )
        before = _parsed(document.pipeline(self.name))
        found = [f"{where}.{why}" for why in objections(names, before, now.api.changes)] if names else []
        if pipeline := _parsed(given):
            given = in_short(pipeline)
        doc = document.with_pipeline(self.name, given)
        return doc, document.config(doc, environ, found)


@dataclass(frozen=True)
class DropPipeline:
    """Take a pipeline away."""

    name: str
    section = "pipelines"

    @property
    def what(self) -> str:
        """In words."""
        return f"pipeline {cut(self.name, 128)}"

    def apply(self, document: Document, now: Config, environ: Mapping[str, str]) -> Edited:
        """See `Edit`."""
        if document.pipeline(self.name) is None:
            names = ", ".join(str(p.get("name")) for p in document.pipelines)
            raise NotFoundError(
                self.what, "the configuration has none of this name", f"it has: {names or 'none'}"
            )
        doc = document.with_pipeline(self.name, None)
        return doc, document.config(doc, environ)


@dataclass(frozen=True)
class PutSettings:
    """Give a model other settings; none at all with an empty mapping."""

    model: str
    settings: Mapping[str, Any]
    section = "models"

    @property
    def what(self) -> str:
        """In words."""
        return f"settings of the model {cut(self.model, 128)}"

    def apply(self, document: Document, now: Config, environ: Mapping[str, str]) -> Edited:
        """See `Edit`."""
        models = sorted({str(p.get("model")) for p in document.pipelines})
        if self.model not in models:
            raise NotFoundError(self.what, "no pipeline uses it", f"use one of {', '.join(models) or 'none'}")
        given = {name: value for name, value in self.settings.items() if value is not None}
        doc = document.with_settings(self.model, given)
        return doc, document.config(doc, environ)


def _parsed(pipeline: Mapping[str, Any] | None) -> PipelineConfig | None:
    try:
        return PipelineConfig.model_validate(pipeline) if pipeline else None
    except ValidationError:
        return None
