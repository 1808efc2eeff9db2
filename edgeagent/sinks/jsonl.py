# SPDX-License-Identifier: AGPL-3.0-or-later
"""A rotating file of JSON lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgeagent.sinks.port import Record, SinkConfig, SinkError, SinkType
from edgeagent.util.rotating import NotWrittenError, RotatingFile
from edgeagent.util.settings import Megabytes
from edgeagent.util.writable import check_writable

_RETRY_S = 1.0


class JsonlSinkConfig(SinkConfig):
    """One JSON line a frame, in a file that is rotated at `max_mb` megabytes; `keep` older files stay."""

    type: Literal["jsonl"] = "jsonl"
    lossless: bool = True
    path: Path
    max_mb: Megabytes = 100
    keep: int = Field(default=5, ge=0, le=10_000)


class JsonlSink:
    """Appends to one rotating file; see RotatingFile for what a full disk or a power cut can do to it."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.name = str(path)
        self._path = path
        self._file = RotatingFile(path, max_bytes, keep)
        self._retry_at = 0.0
        self._why = ""

    def write(self, batch: Sequence[Record]) -> None:
        """Append a line for each record. Raises SinkError; tries the disk again a second after it refused."""
        if time.monotonic() < self._retry_at:
            raise SinkError(self._why, len(batch))
        lines, why = [], ""
        for record in batch:
            try:
                lines.append(record.to_json() + b"\n")
            except TypeError as e:
                why = f"a record is not JSON: {e}"
        written = len(lines)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file.append(lines)
        except OSError as e:
            written = e.written if isinstance(e, NotWrittenError) else 0
            why = self._why = e.strerror or str(e)
            self._retry_at = time.monotonic() + _RETRY_S
        if written < len(batch):
            raise SinkError(why, len(batch) - written)

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        self._file.close()


SINK = SinkType(
    JsonlSinkConfig,
    open=lambda config: JsonlSink(config.path, config.max_mb * 1_000_000, config.keep),
    try_out=lambda config: check_writable(config.path.absolute().parent),
)
