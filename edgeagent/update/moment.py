# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watches for the moment of a swap: between two parts, or a time of day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from edgeagent.core.between_parts import BetweenParts, Region
from edgeagent.core.schedule import Window, seconds_until_open
from edgeagent.serving.router import Router
from edgeagent.sinks.port import Record

LOOK_S = 30.0
"""A clock can be set: the time of day is looked at so often (seconds), at least."""


@dataclass(frozen=True)
class SwitchSettings:
    """empty_frames, regions: see `BetweenParts`. windows: times of day in `zone`, the time zone of the site,
    None: the machine's."""

    empty_frames: int = 3
    regions: Mapping[str, Region] = field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    zone: tzinfo | None = UTC


class MomentWatch:
    """Until it is closed: calls `came` once, with what the moment is."""

    def __init__(
        self,
        at: str,
        settings: SwitchSettings,
        router: Router,
        came: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """at: between-parts or window. now: the wall clock."""
        self._settings = settings
        self._came = came
        self._now = now
        self._timer: asyncio.Handle | None = None
        self._end_watch: Callable[[], None] = lambda: None
        if at == "window":
            self._timer = asyncio.get_running_loop().call_soon(self._look_at_clock)
            return
        self._sizes = {route.name: route.sizes for route in router.routes}
        # In frames of more than one size a region can't be told from a record alone.
        regions = {p: r for p, r in settings.regions.items() if len(self._sizes.get(p, ())) < 2}
        self._moment = BetweenParts(self._sizes, settings.empty_frames, regions)
        self._end_watch = router.tap.listen(self._seen)

    def close(self) -> None:
        """Watch no more. Idempotent."""
        self._end_watch()
        if self._timer:
            self._timer.cancel()

    def _seen(self, record: Record) -> None:
        height, width = next(iter(self._sizes.get(record.pipeline, ())), (0, 0))
        if self._moment.observe(record.pipeline, (width, height), record.boxes):
            self.close()
            why = f"nothing lies before the cameras, on {self._settings.empty_frames} frames in a row"
            # Not here: this record isn't out yet, and a swap would let those behind it out first.
            self._timer = asyncio.get_running_loop().call_soon(self._came, why)

    def _look_at_clock(self) -> None:
        now = self._now().astimezone(self._settings.zone)  # the machine's offset anew each time: summer comes
        assert now.tzinfo is not None
        wait = seconds_until_open(self._settings.windows, now, now.tzinfo)
        if wait > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(wait, LOOK_S), self._look_at_clock)
            return
        self.close()
        self._came(f"it is {now:%a %H:%M}")
