# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node is told about the fleet that it belongs to."""

from __future__ import annotations

from pydantic import Field

from edgeagent.util.settings import Section


class FleetConfig(Section):
    """This node among others.

    coordinate: it leads roll-outs while no other coordinator does. fetch_spread_seconds: a version of a roll-out is
    fetched at a random moment within so many seconds, so that the nodes of a wave don't ask the store together; 0: at
    once.
    """

    coordinate: bool = False
    fetch_spread_seconds: float = Field(default=0.0, ge=0, le=86_400, allow_inf_nan=False)
