# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells the receivers of `notify` what the bus says of alarms and models.

On the event loop nothing waits: a thread brings messages onto the disk, and each receiver has a thread that delivers.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import structlog

from edgeagent.core.alarms import Alarm
from edgeagent.notify.config import NotifyConfig
from edgeagent.notify.messages import alarm_message, is_told, message, update_message
from edgeagent.notify.receivers import Receiver, open_receiver
from edgeagent.observe.bus import AlarmChanged, AuditAppended, Bus, StageEntered, Swapped

_log = structlog.get_logger(__name__)
_CLOSE_S = 5.0
MAX_UNWRITTEN = 10_000
"""Messages that wait for the disk, in memory: while it hangs, further ones are lost."""

Models = Callable[[], Mapping[str, Mapping[str, Any]]]


class Notifier:
    """Of one node, on its event loop. Without receivers it listens to nothing, and has no thread.

    folder: for what waits. models: how each model is now, as its retained message says.
    """

    def __init__(
        self,
        configs: Sequence[NotifyConfig],
        node: str,
        folder: Path,
        bus: Bus,
        models: Models,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """clock: Unix seconds. Raises EdgeAgentError when a package is missing."""
        self._node, self._models, self._clock = node, models, clock
        self._receivers = [open_receiver(config, node, folder) for config in configs]
        self._run = secrets.token_hex(4)
        self._count = 0
        self._shown: dict[str, Mapping[str, Any]] = {}
        self._looks = False
        self._closed = False
        self._not_kept = Counter[str]()  # messages that no disk took, by receiver
        self._to_disk: SimpleQueue[tuple[Receiver, bytes] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        if self._receivers:
            bus.subscribe(AlarmChanged, lambda event: self._alarm(event.alarm))
            bus.subscribe(AuditAppended, self._audited)
            for kind in (Swapped, StageEntered):
                bus.subscribe(kind, lambda event: self._look_soon())

    def start(self, alarms: Iterable[Alarm]) -> None:
        """Begin to deliver, also what is left from before. alarms: those that there are."""
        if not self._receivers:
            return
        self._thread = threading.Thread(target=self._store, name="notify", daemon=True)
        self._thread.start()
        for receiver in self._receivers:
            receiver.courier.start()
        for alarm in alarms:
            self._retain(alarm, from_before=True)
        self._look()

    async def close(self) -> None:
        """Deliver what can be delivered within some seconds; the rest waits for the next start. Idempotent."""
        self._closed = True
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        self._to_disk.put(None)

        def end(receiver: Receiver) -> None:
            thread.join(_CLOSE_S / 2)
            receiver.courier.close()

        ends = [asyncio.to_thread(end, receiver) for receiver in self._receivers]
        try:
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.gather(*ends)
        except TimeoutError:
            _log.error("notify.given_up", why="not done in time")

    def status(self) -> list[dict[str, Any]]:
        """What `/api/status` shows of the receivers."""
        each = ((receiver.status(), self._not_kept[receiver.config.called]) for receiver in self._receivers)
        return [{**status, "lost": status["lost"] + not_kept} for status, not_kept in each]

    # --- below: what the bus says

    def _alarm(self, alarm: Alarm) -> None:
        payload = alarm_message(self._node, alarm)
        for receiver in self._receivers:
            if receiver.wants(alarm):
                self._put(receiver, payload)
        self._retain(alarm)

    def _retain(self, alarm: Alarm, from_before: bool = False) -> None:
        payload = alarm_message(self._node, alarm) if alarm.closed_at is None else b""
        for receiver in self._receivers:
            if receiver.wants(alarm):
                receiver.retain(f"alarms/{alarm.id}", payload, from_before)

    def _audited(self, event: AuditAppended) -> None:
        self._look_soon()
        if not is_told(event.record):
            return
        self._count += 1
        id = f"{self._run}/{self._count}"
        payload = update_message(self._node, id, self._clock(), event.record)
        for receiver in self._receivers:
            if receiver.config.updates:
                self._put(receiver, payload)

    def _put(self, receiver: Receiver, payload: bytes) -> None:
        if self._to_disk.qsize() < MAX_UNWRITTEN:
            self._to_disk.put((receiver, payload))
        else:
            self._lost(receiver, "the disk does not answer")

    def _lost(self, receiver: Receiver, why: str) -> None:
        if not self._not_kept[receiver.config.called]:
            _log.error("notify.not_kept", receiver=receiver.name, why=why, note="said once; see the status")
        self._not_kept[receiver.config.called] += 1

    def _look_soon(self) -> None:
        """When the event is over, and what it is about is so."""
        if not self._looks and not self._closed:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looks = False
        for model, now in self._models().items():
            if self._shown.get(model) == now:
                continue
            self._shown[model] = now
            id = f"{model}/{now.get('epoch')}/{now.get('state')}"
            payload = message("model", self._node, id, self._clock(), {"model": model, **now})
            for receiver in self._receivers:
                if receiver.config.updates:
                    receiver.retain(f"models/{model}", payload)

    # --- below: in the thread

    def _store(self) -> None:
        while task := self._to_disk.get():
            receiver, payload = task
            try:
                receiver.courier.put([payload])
            except OSError as e:
                self._lost(receiver, e.strerror or str(e))
            except ValueError as e:
                self._lost(receiver, str(e))
