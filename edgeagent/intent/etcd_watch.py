# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch of keys in etcd.

The client's own ends for good when etcd restarts, so this one is a loop: read all keys, then take each event of etcd's
watch as a hint to read again. What is reported always comes from a linearizable read; a lost, late or repeated event
costs time, never truth. The keys are also read every second or two without any hint: a server or a network that falls
silent closes nothing, and nobody else would notice.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import grpc  # type: ignore[import-untyped]

from edgeagent.errors import UsageError
from edgeagent.intent.etcd_client import NO_LEADER, Client, translated, why_of
from edgeagent.intent.etcd_health import Health, ask_health
from edgeagent.intent.etcd_messages import rpc
from edgeagent.intent.port import ABSENT, Connection, Entry, OnConnection, OnEntry
from edgeagent.intent.watching import ASK_S, WatchEnded, WatchThread
from edgeagent.util.backoff import Backoff

_TXN = attrgetter("kv.Txn")
_AT_ONCE = 100  # etcd takes 128 operations in a transaction
MESSAGE_BYTES = 256 << 20
"""What the answer may have: values of 1.5 MB, whoever wrote them there, must not make the other keys unreadable."""
HEALTH_EVERY_S = 5.0
_FLEETS = "/edgeagent/"
"""Where the keys lie without which intent can be followed: a user may have been made before nodes read them."""
_REFUSED_S = 60.0  # until keys are asked for again that the user may not read


class EtcdWatch(WatchThread):
    """See IntentSource.watch; `read_every_s` as in EtcdConfigStore."""

    def __init__(
        self,
        url: str,
        keys: tuple[str, ...],
        on_entry: OnEntry,
        on_connection: OnConnection,
        *,
        client: Client,
        backoff: Backoff,
        read_every_s: tuple[float, float],
    ) -> None:
        super().__init__(url, on_entry, on_connection, backoff)
        self._keys = keys
        self._read_keys = keys  # those of them that the user may read
        self._refused = ""
        self._client = client
        self._read_every_s = read_every_s
        self._history = History()
        self._health: Health | None = None
        self._health_due = 0.0

    def _interrupt(self) -> None:
        self._client.close()

    def _answers(self) -> bool:
        return self._client.answers(ASK_S)

    def _follow(self) -> None:
        self._health_due = 0.0
        self._begin()
        ask_again = time.monotonic() + _REFUSED_S
        # Always from a revision that was just read: neither compaction nor a restored cluster can leave it behind.
        with closing(Hints(self._client, self._read_keys, self._history.revision + 1)) as hints:
            untold = False
            while True:
                if self._refused and time.monotonic() >= ask_again:
                    raise WatchEnded("the user may read all keys by now")
                hint = hints.wait(random.uniform(*self._read_every_s))
                if hint is not None:
                    untold = False
                    if hint > self._history.revision:
                        self._report_all()
                elif untold:
                    raise WatchEnded("etcd told nothing of a change")
                else:
                    untold = self._report_all()

    def _begin(self) -> None:
        """Report all keys, or else those without which no intent can be followed; the others stay unknown."""
        self._read_keys, self._refused = self._keys, ""
        try:
            self._report_all()
        except UsageError as e:
            needed = tuple(key for key in self._keys if not key.startswith(_FLEETS))
            if not needed or needed == self._keys:
                raise
            left = ", ".join(key for key in self._keys if key not in needed)
            self._read_keys = needed
            self._refused = (
                f"{left} can't be read, so no roll-out is begun: {e.why}; see the rights of its user"
            )
            self._report_all()

    def _report_all(self) -> bool:
        """Read and report the keys; whether one of them had changed."""
        with translated(f"reading from {self._url}"):
            # One question for many keys: it is asked all the time. Of several the last first: see IntentSource.watch.
            starts = range(0, len(self._read_keys) or 1, _AT_ONCE)  # no keys: is etcd there?
            asked = [
                self._client.call(_TXN, _reading(self._read_keys[start : start + _AT_ONCE]))
                for start in reversed(starts)
            ]
        header = asked[0].header
        answers = [part.response_range for answer in reversed(asked) for part in answer.responses]
        before, self._history = self._history, History(header.cluster_id, header.raft_term, header.revision)
        is_other = self._history.is_other_than(before)
        if is_other or time.monotonic() >= self._health_due:
            self._health = ask_health(self._client)
            self._health_due = time.monotonic() + HEALTH_EVERY_S
        warnings = self._refused, self._health.warning if self._health else ""
        self._report_connection(Connection(True, "; ".join(filter(None, warnings))))
        entries = [entry_of(key, answer) for key, answer in zip(self._read_keys, answers, strict=True)]
        changed = [entry for entry in entries if entry != self._reported.get(entry.key)]
        for entry in entries:
            if is_other and entry not in changed and self._history.may_have_written(entry, self._health):
                # The number that it had in the lost history: another one first, so that it is seen to be written anew.
                self._report_entry(replace(entry, revision=f"{entry.revision} (restored)"))
            self._report_entry(entry)
        return bool(changed)


@dataclass(frozen=True)
class History:
    """Where a cluster's history stood at an answer. A cluster that lost its data, or was restored from a snapshot,
    begins to count anew: what bears the number of something that is known need not be the same.
    """

    cluster: int = 0
    term: int = 0
    revision: int = 0

    def is_other_than(self, before: History) -> bool:
        """Whether this is no continuation of what was read before."""
        if not before.cluster:
            return False
        return self.cluster != before.cluster or self.term < before.term or self.revision < before.revision

    def may_have_written(self, entry: Entry, health: Health | None) -> bool:
        """Whether a key may have been written since this history began: of a snapshot, most of the keys are older.

        A writing takes an entry of the log, which begins anew with the cluster.
        """
        if entry.revision == ABSENT or health is None:
            return False
        return int(entry.revision) > self.revision - health.raft_index


class Hints:
    """Revisions at which something happened to the keys, as etcd tells them."""

    def __init__(self, client: Client, keys: tuple[str, ...], start_revision: int) -> None:
        self._told: queue.SimpleQueue[int | WatchEnded] = queue.SimpleQueue()
        self._over = threading.Event()
        link = client.link()
        requests = self._requests(keys, start_revision)
        self._stream = link.watch.Watch(requests, metadata=(*client.token, NO_LEADER))
        self._thread = threading.Thread(target=self._listen, name="config-store-hints", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> int | None:
        """The next one; None if there is none in time. Raises WatchEnded."""
        try:
            told = self._told.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(told, WatchEnded):
            raise told
        return told

    def close(self) -> None:
        """No more of them. Idempotent."""
        self._over.set()
        self._stream.cancel()
        self._thread.join()

    def _requests(self, keys: tuple[str, ...], start_revision: int) -> Iterator[Any]:
        for key in keys:
            create = rpc.WatchCreateRequest(key=key.encode(), start_revision=start_revision)
            yield rpc.WatchRequest(create_request=create)
        self._over.wait()  # to say no more would half-close the stream, which not every server bears

    def _listen(self) -> None:
        try:
            for response in self._stream:
                if response.canceled:
                    self._told.put(WatchEnded(_why_cancelled(response)))
                    return
                if response.events:
                    self._told.put(max(event.kv.mod_revision for event in response.events))
            self._told.put(WatchEnded("etcd closed the stream"))
        except grpc.RpcError as e:
            self._told.put(WatchEnded(why_of(e)))


def _why_cancelled(response: Any) -> str:
    if response.compact_revision:
        return f"the history before revision {response.compact_revision} is gone"
    return response.cancel_reason or "cancelled by etcd"


def _reading(keys: tuple[str, ...]) -> Any:
    ranges = [rpc.RangeRequest(key=key.encode()) for key in keys]
    return rpc.TxnRequest(success=[rpc.RequestOp(request_range=one) for one in ranges])


def entry_of(key: str, answer: Any) -> Entry:
    """The one key of an answer to RangeRequest."""
    return found_entry(answer.kvs[0]) if answer.kvs else Entry(key, None, ABSENT)


def found_entry(kv: Any) -> Entry:
    """A key that exists, in our words."""
    return Entry(
        kv.key.decode(errors="replace"), bytes(kv.value), str(kv.mod_revision), str(kv.create_revision)
    )
