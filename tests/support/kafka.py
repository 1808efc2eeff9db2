# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Kafka broker for tests: librdkafka's own mock cluster, in a process of its own.

It speaks the real protocol over real TCP with the client that the node uses. What it can't do: compact (a topic here
keeps every record, and gaps come from transactions and deleted records only), tell the settings of a topic, TLS and
SASL, and wake a fetch that waits: a record is seen when the fetch's time is over, so tests ask for short ones
(OPTIONS). Its data are in memory: `down` and `up` are a broker that is gone and comes back with its data; one that
lost them is `delete` and `create`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from types import TracebackType

from confluent_kafka import Producer

OPTIONS = {"fetch.wait.max.ms": 50}


class KafkaServer:
    """One broker with one topic. Use it as a context manager."""

    def __init__(self, topic: str = "intents", partitions: int = 2) -> None:
        self.topic = topic
        self.address = ""
        self._partitions = partitions
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """As in a node's configuration."""
        return f"kafka://{self.address}/{self.topic}"

    def __enter__(self) -> KafkaServer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kafka_broker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        self.address = self._process.stdout.readline().strip()
        self._tell("set_controller_id 1")
        self.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def write(self, key: str | bytes, value: bytes | None, partition: int = -1) -> None:
        """As any producer does it; without a value it is a tombstone. Returns when the broker has it."""
        producer = Producer({"bootstrap.servers": self.address, "message.timeout.ms": 20_000, "log_level": 0})
        failed: list[object] = []
        producer.produce(
            self.topic, value, key, partition, on_delivery=lambda error, _: error and failed.append(error)
        )
        assert producer.flush(25) == 0, "the broker doesn't answer"
        assert not failed, failed

    def create(self, partitions: int = 0) -> None:
        """Make the topic."""
        self._tell(f"topic_create {self.topic} {partitions or self._partitions} 1")

    def delete(self) -> None:
        """Delete the topic with all its records."""
        self._tell(f"topic_delete {self.topic}")

    def forget(self, partition: int, before: int) -> None:
        """Delete the records of a partition before an offset."""
        self._tell(f"partition_delete_records {self.topic} {partition} {before}")

    def down(self) -> None:
        """Cut every connection, and take no new one."""
        self._tell("broker_set_down 1")

    def up(self) -> None:
        """Take connections again; the data are still there."""
        self._tell("broker_set_up 1")

    def freeze(self) -> None:
        """Stop the process without a word to its clients, as a broken network does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _tell(self, command: str) -> None:
        assert self._process is not None
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer == "0", f"{command}: {answer}"
