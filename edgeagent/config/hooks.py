# SPDX-License-Identifier: AGPL-3.0-or-later
"""Webhooks that may ask for a version: `api.hooks` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgeagent.core.webhook import MAX_PATH, STYLES, check_template
from edgeagent.errors import UsageError

Template = Annotated[str, Field(max_length=1000)]
Values = list[Annotated[str, Field(max_length=1000)]]


class HookConfig(BaseModel):
    """Who may post to `/api/hooks/<name>`, and what of it counts.

    secret_file: shared with the sender. style: how it signs, and where in its JSON a release stands. model, version,
    when: in place of what the style says of that. scope: fleet writes the intent for all nodes into the config store,
    node promotes on this node only. tolerance_seconds: how far from now a delivery may have been signed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret_file: Path
    style: Literal["mlflow", "github", "gitlab", "s3", "generic"]
    scope: Literal["fleet", "node"] = "fleet"
    model: Template = ""
    version: Template = ""
    when: dict[Annotated[str, Field(min_length=1, max_length=MAX_PATH)], str | Values] | None = None
    tolerance_seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 300.0

    @model_validator(mode="after")
    def _complete(self) -> HookConfig:
        for name, template in (("model", self.model_template), ("version", self.version_template)):
            if not template:
                raise ValueError(
                    f"{name} is missing, which the style {self.style} doesn't know; allowed: text or a template"
                )
            try:
                check_template(template)
            except UsageError as e:
                raise ValueError(f"{e}; allowed: text with {{path}} in it") from e
        return self

    @property
    def model_template(self) -> str:
        """The configured one, or the style's."""
        return self.model or STYLES[self.style].model

    @property
    def version_template(self) -> str:
        """The configured one, or the style's."""
        return self.version or STYLES[self.style].version

    @property
    def conditions(self) -> dict[str, list[str]]:
        """By path: the values that are meant."""
        given = STYLES[self.style].when if self.when is None else self.when
        return {path: [values] if isinstance(values, str) else list(values) for path, values in given.items()}
