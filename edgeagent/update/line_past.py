# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is kept of a line's past, over restarts too: a file of some kilobytes, written a few times an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import structlog

from edgeagent.core.past import Block, Past, PastLimits, remember
from edgeagent.update.background import BackgroundTasks
from edgeagent.util.codec import from_json, to_json
from edgeagent.util.durable import make_folder, write_durably

SAVE_S = 900.0
"""Between two writes, seconds: what came since the last one is lost with the node's end, and comes again."""
MAX_BYTES = 8 << 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Saved:
    """line: what the figures are of; with other pipelines, confidences or blocks they would mean something else."""

    line: str
    past: Past


class LinePast:
    """Of one model. On the event loop's thread; the file is written in another.

    Nothing that goes wrong with the file is a reason to stop: what can't be read is begun anew.
    """

    def __init__(self, file: Path | None, line: str, clock: Callable[[], float]) -> None:
        """file: None for none. line: see `_Saved`. clock: seconds. Reads the file."""
        self.value = Past()
        self._file = file
        self._line = line
        self._clock = clock
        self._saved_at = clock()
        self._writing: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks(file=str(file))
        if file:
            self.value = self._load(file)

    def begin(self, line: str) -> None:
        """From now on it is of another line: what is known of the one before says nothing of it."""
        if line != self._line:
            self._line, self.value = line, Past()

    def remember(self, run: Sequence[Block], names: Collection[str], limits: PastLimits) -> None:
        """One more run of blocks, of a stable version that has these classes."""
        self.value = remember(self.value, run, names, limits)
        self._save_now_and_then()

    def silent(self, seconds: float) -> None:
        """For so long frames came and nothing was found, under a stable version."""
        if seconds > self.value.longest_silence_s:
            self.value = replace(self.value, longest_silence_s=seconds)

    def close(self) -> None:
        """Write no more."""
        self._tasks.cancel()

    def _load(self, file: Path) -> Past:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES} bytes")
            saved = from_json(_Saved, orjson.loads(file.read_bytes()))
        except FileNotFoundError:
            return Past()
        except (OSError, ValueError, RecursionError) as e:
            _log.warning("past.unreadable", path=str(file), why=str(e), note="begun anew")
            return Past()
        return saved.past if saved.line == self._line else Past()

    def _save_now_and_then(self) -> None:
        is_idle = self._writing is None or self._writing.done()  # a disk may hang
        if self._file and is_idle and self._clock() - self._saved_at >= SAVE_S:
            self._saved_at = self._clock()
            self._writing = self._tasks.start(self._save(self._file))

    async def _save(self, file: Path) -> None:
        data = orjson.dumps(to_json(_Saved(self._line, self.value)))
        try:
            await asyncio.to_thread(_write, file, data)
        except OSError as e:
            _log.warning("past.not_written", path=str(file), why=str(e), note="tried again later")


def _write(file: Path, data: bytes) -> None:
    make_folder(file.parent)
    write_durably(file, data)
