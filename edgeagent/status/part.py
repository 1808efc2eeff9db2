# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all objects of the status have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StatusPart(BaseModel):
    """One object of the status."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
        protected_namespaces=(),  # `model_store` is a name like others
    )
