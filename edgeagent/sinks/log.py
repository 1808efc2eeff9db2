# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's own log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import structlog

from edgeagent.observe.logs import UNLIMITED
from edgeagent.sinks.port import Record, SinkConfig, SinkType

_log = structlog.get_logger(__name__)


class LogSinkConfig(SinkConfig):
    """Each frame's detections as one line of the node's log."""

    type: Literal["log"] = "log"
    lossless: bool = True


class LogSink:
    """One line of the node's log a frame."""

    name = "log"

    def write(self, batch: Sequence[Record]) -> None:
        """Log each record as one field, so that its time stays beside the line's own."""
        for record in batch:
            _log.info("detections", record=record.as_dict(), **{UNLIMITED: True})

    def close(self) -> None:
        """Nothing to let go of."""


SINK = SinkType(LogSinkConfig, open=lambda config: LogSink())
