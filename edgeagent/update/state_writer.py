# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gets the states of the models onto the disk, and says which are there.

A swap and an answer to the operator are seen by others at once; what they rest on has to survive a power cut. So the
numbers of the next swaps are reserved on disk ahead, and whoever has to can wait until what was saved holds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from edgeagent.core.state import State
from edgeagent.update.state_file import epoch_by_clock, save_state
from edgeagent.util.backoff import Backoff

RESERVED_EPOCHS = 16
"""How many swaps may come after the last save that held. A node that is killed skips the numbers that are left."""
EPOCHS_A_DECISION = 2
"""One decision takes no more numbers than this."""
RETRY_S, RETRY_MAX_S = 0.5, 10.0

_log = structlog.get_logger(__name__)


@dataclass
class _Unsaved:
    """The newest state of a model that isn't on disk, and who waits for it or one before it."""

    state: State
    asked: list[Future[None]] = field(default_factory=list)


class StateWriter:
    """The newest state of each model, written in a thread of its own, and tried again until the disk takes it.

    error: why the last try failed, "" when it didn't. durable: what is on disk.
    """

    def __init__(self, folder: Path) -> None:
        self.error = ""
        self._folder = folder
        self._unsaved: dict[str, _Unsaved] = {}
        self._durable: dict[str, State] = {}
        self._reserved: dict[str, int] = {}  # of each model, the last number that no other run will give
        self._reserve = RESERVED_EPOCHS
        self._ready = threading.Condition()
        self._has_new = False
        self._closing = False
        # Nobody waits for ever for a disk that hangs, not even the end of the process.
        self._thread = threading.Thread(target=self._run, name="states", daemon=True)
        self._thread.start()

    @property
    def durable(self) -> Mapping[str, State]:
        """The state of each model that this run has brought to disk last."""
        return self._durable

    def save(self, state: State) -> Future[None]:
        """Have a state written, soon and durably. The answer: done by it or a later one, or the OSError of the first
        try. It is tried again all the same."""
        answer: Future[None] = Future()
        answer.set_running_or_notify_cancel()  # who waits no longer takes nothing back
        with self._ready:
            self._unsaved.setdefault(state.model, _Unsaved(state)).state = state
            self._unsaved[state.model].asked.append(answer)
            self._has_new = True
            self._ready.notify()
        return answer

    def epoch_floor(self, state: State) -> int:
        """What the number of the next swap must be above, so that no other run of the node has given it or will.

        That is the one of now as long as the numbers that follow are reserved on disk. Where the disk doesn't take
        it the numbers go on from the clock, far above those that are counted.
        """
        model, last = state.model, state.next_epoch - 1
        if last + EPOCHS_A_DECISION <= self._reserved.get(model, 0):
            return state.run.epoch_floor
        floor = epoch_by_clock(last)
        self._reserved[model] = floor + RESERVED_EPOCHS
        _log.warning("epochs.by_clock", model=model, after=floor, why=self.error or "not on disk yet")
        return floor

    def close(self, states: Iterable[State], timeout_s: float) -> None:
        """Write what waits, and these last states, with no numbers reserved any more; waits for so long (seconds)."""
        with self._ready:
            for state in states:
                self._unsaved.setdefault(state.model, _Unsaved(state)).state = state
            self._reserve = 0
            self._has_new = self._closing = True
            self._ready.notify()
        self._thread.join(timeout_s)

    # --- below: in the thread

    def _run(self) -> None:
        backoff = Backoff(RETRY_S, RETRY_MAX_S, jitter=0.0)
        delay: float | None = None
        while batch := self._next(delay):
            failed = [unsaved for unsaved in batch if not self._write(unsaved)]
            with self._ready:
                for unsaved in failed:
                    self._unsaved.setdefault(unsaved.state.model, _Unsaved(unsaved.state))
                if self._closing and not self._has_new:
                    return
            delay = backoff.next_s() if failed else None
            if not failed:
                backoff.reset()

    def _next(self, delay: float | None) -> list[_Unsaved]:
        """Waits for something new, or for `delay` seconds when something has failed. Empty at the end."""
        with self._ready:
            self._ready.wait_for(lambda: self._has_new or self._closing, delay)
            batch = list(self._unsaved.values())
            self._unsaved.clear()
            self._has_new = False
            return batch

    def _write(self, unsaved: _Unsaved) -> bool:
        state, reserve = unsaved.state, self._reserve
        try:
            save_state(self._folder, state, reserve)
        except Exception as e:  # noqa: BLE001  (whatever it is: who waits is told, and the thread goes on)
            if str(e) != self.error:
                _log.error("state.not_written", model=state.model, why=str(e), note="tried again")
            self.error = str(e) or type(e).__name__
            for answer in unsaved.asked:
                answer.set_exception(e)
            return False
        if self.error:
            _log.info("state.written", model=state.model)
        self.error = ""
        self._durable[state.model] = state
        reserved = self._reserved.get(state.model, 0)
        self._reserved[state.model] = max(reserved, state.next_epoch - 1 + reserve)
        for answer in unsaved.asked:
            answer.set_result(None)
        return True
