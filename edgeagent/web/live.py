# SPDX-License-Identifier: AGPL-3.0-or-later
"""The live view of a node: events as they happen, and the figures of the last minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson
import structlog

from edgeagent import __version__
from edgeagent.core.series import LineFigures
from edgeagent.observe.audit_record import record_text
from edgeagent.observe.bus import AlarmChanged, AuditAppended, Bus
from edgeagent.status.line_sampler import LineSampler
from edgeagent.status.schema import Status, to_json
from edgeagent.web.access import Session
from edgeagent.web.events import Audience, EventStream, Viewer, frame

_log = structlog.get_logger(__name__)


class Live:
    """What goes on, for whoever looks on; when nobody does, nothing is put into words.

    status: of the node; sampler: looks at the lines each second; clock: Unix seconds.
    """

    def __init__(
        self,
        status: Callable[[], Status],
        sampler: LineSampler,
        bus: Bus,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sampler = sampler
        self.audience = Audience()
        self._status = status
        self._clock = clock
        sampler.on_sample = self._sampled
        sampler.on_swap = lambda swap: self.audience.tell("swap", asdict(swap))
        bus.subscribe(AuditAppended, self._audited)
        bus.subscribe(AlarmChanged, self._alarm_changed)

    def watch(self, session: Session | None) -> EventStream:
        """Events from now on, for one viewer: hello and the status first. session: that lets him in, None where he
        needs none. Raises UnavailableError."""
        viewer = Viewer(lambda: session is None or session.valid)
        self.audience.enter(viewer)
        try:
            status = self._status()
            hello = {
                "instance": status.instance,
                "version": __version__,
                "time": self._clock(),
                "session_s": session and round(session.seconds_left),
            }
            first = frame("hello", orjson.dumps(hello)) + frame("status", to_json(status).encode())
        except BaseException:
            self.audience.leave(viewer)
            raise
        return EventStream(self.audience, viewer, first)

    def series(self, seconds: int) -> bytes:
        """The figures of the last `seconds` as JSON."""
        return orjson.dumps(self.sampler.series(seconds))  # not-a-number becomes null

    def end(self, why: str) -> None:
        """Say goodbye to all who look on."""
        self.audience.end(why)

    def _sampled(self, t: float, lines: Mapping[str, LineFigures]) -> None:
        if not self.audience:
            return
        figures: dict[str, Any] = {"t": t, "pipelines": {name: asdict(line) for name, line in lines.items()}}
        self.audience.renew("figures", orjson.dumps(figures))
        try:
            self.audience.renew("status", to_json(self._status()).encode())
        except Exception:  # noqa: BLE001  (whatever it is, the figures must go on)
            _log.exception("status.failed")

    def _audited(self, event: AuditAppended) -> None:
        if self.audience:
            self.audience.tell("history", orjson.Fragment(record_text(event.record)))

    def _alarm_changed(self, event: AlarmChanged) -> None:
        if self.audience:
            self.audience.tell("alarm", event.alarm.as_dict())
