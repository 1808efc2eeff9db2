# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alarms and updates for the plant, at a real broker and a real receiver: what happens, and what is now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config import ConfigError, parse_config
from edgeagent.core.alarms import Alarm, Condition, Severity
from edgeagent.core.lifecycle import Stage
from edgeagent.core.webhook import Asked, check_delivery, pick
from edgeagent.notify.config import NotifyConfig, NotifyMqtt, NotifyWebhook
from edgeagent.notify.service import Notifier
from edgeagent.observe.audit_record import AuditRecord
from edgeagent.observe.bus import AlarmChanged, AuditAppended, Bus, StageEntered
from tests.support.mosquitto import Listener, Mosquitto, listening
from tests.support.receiver import SECRET, Receiver, receiving
from tests.support.sinks import until

SWAPPED = AuditRecord("update", "yolo", "anna", "v1", "v2", result="swapped", why="better", epoch=4)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Which forgets everything when it is killed."""
    with Mosquitto(tmp_path / "broker") as broker:
        yield broker


class Plant:
    """A bus with a notifier, and the models that it would see."""

    def __init__(self, folder: Path, *configs: NotifyConfig, alarms: tuple[Alarm, ...] = ()) -> None:
        self.bus = Bus()
        self.models: dict[str, dict[str, Any]] = {"yolo": {"version": "v1", "epoch": 3, "state": "STABLE"}}
        self.notifier = Notifier(
            configs, "node-7", folder / "notify", self.bus, lambda: self.models, lambda: 9.0
        )
        self.notifier.start(alarms)

    def alarm(self, alarm: Alarm) -> None:
        """It has changed."""
        self.bus.publish(AlarmChanged(alarm))

    def delivered(self, *counts: int) -> bool:
        """Whether each receiver has so many messages."""
        return [s["delivered"] for s in self.notifier.status()] == list(counts)


def _alarm(id: str = "a1", severity: Severity = "critical") -> Alarm:
    what = Condition("person-in-cell", "present", severity, "a person", "look there", pipeline="line-1")
    return Alarm(id, what, "raised", active=True, raised_at=5.0, changed_at=5.0)


def _over(alarm: Alarm) -> Alarm:
    return replace(alarm, state="cleared", active=False, closed_at=8.0, change=2, changed_at=8.0)


def _events(listener: Listener) -> list[Any]:
    return [json.loads(payload) for payload in listener.payloads("node-7/events")]


def _run(steps: Callable[[], Any]) -> None:
    asyncio.run(steps())


def test_an_alarm_is_retained_while_it_is_open(tmp_path: Path, broker: Mosquitto) -> None:
    """Who comes later sees what is open; each change is an event, with an id of its own."""

    async def steps() -> None:
        with listening(broker.port) as first:
            plant = Plant(tmp_path, NotifyMqtt(url=broker.url))
            plant.alarm(_alarm("a1"))
            plant.alarm(_alarm("a2"))
            # Of one that is over before the broker has heard of it, nothing is retained that is to be taken back.
            await until(lambda: first.payloads("alarms/a1") and first.payloads("alarms/a2"))
            plant.alarm(_over(_alarm("a1")))
            await until(lambda: len(_events(first)) == 3)
            await until(lambda: first.payloads("alarms/a1")[-1:] == [b""])
            with listening(broker.port, "edgeagent/+/alarms/+") as late:
                await until(lambda: late.messages)
            ((topic, payload, retained),) = late.messages
            assert (topic, retained) == ("edgeagent/node-7/alarms/a2", True)
            head = {"id": "node-7/alarm/a2/1", "node": "node-7", "kind": "alarm", "time": 5.0}
            assert json.loads(payload) == {**head, "alarm": _alarm("a2").as_dict()}
            assert [e["id"] for e in _events(first)] == [
                "node-7/alarm/a1/1", "node-7/alarm/a2/1", "node-7/alarm/a1/2"
            ]  # fmt: skip
            await plant.notifier.close()
            await until(lambda: first.payloads("node-7/status")[-1:] == [b"offline"])

    _run(steps)


def test_what_is_now_is_known_again_after_an_outage(tmp_path: Path, broker: Mosquitto) -> None:
    """The broker has forgotten all; what was raised and over meanwhile shows as events, not as an alarm."""

    async def steps() -> None:
        plant = Plant(tmp_path, NotifyMqtt(url=broker.url), alarms=(_alarm("before"),))
        plant.alarm(_alarm("seen"))
        await until(lambda: plant.delivered(1))
        broker.kill()
        plant.alarm(_alarm("meanwhile"))
        plant.alarm(_over(_alarm("meanwhile")))
        plant.alarm(_over(_alarm("seen")))
        await until(
            lambda: plant.notifier.status()[0]["error"] and plant.notifier.status()[0]["waiting"] == 3
        )
        broker.start()
        with listening(broker.port) as listener:
            await until(lambda: plant.delivered(4))
            await until(lambda: listener.payloads("alarms/before") and listener.payloads("models/yolo"))
            with listening(broker.port, "edgeagent/node-7/#") as late:
                await until(lambda: len(late.messages) == 3)
                assert {topic.rpartition("node-7/")[2] for topic, _, _ in late.messages} == {
                    "alarms/before", "models/yolo", "status"
                }  # fmt: skip
        await plant.notifier.close()

    _run(steps)


def test_a_model_s_state_is_retained_and_its_updates_are_events(tmp_path: Path, broker: Mosquitto) -> None:
    """The state only when it differs; of the audit log what the plant wants to hear."""

    async def steps() -> None:
        with listening(broker.port) as listener:
            plant = Plant(tmp_path, NotifyMqtt(url=broker.url))
            await until(lambda: len(listener.payloads("models/yolo")) == 1)
            plant.bus.publish(StageEntered("yolo", "v2", "", Stage.FETCHING))  # nothing is other than it was
            plant.bus.publish(AuditAppended(replace(SWAPPED, event="rebuild", result="rebuilt")))
            plant.models = {"yolo": {"version": "v2", "epoch": 4, "state": "PROBATION"}}
            plant.bus.publish(AuditAppended(SWAPPED))
            await until(lambda: len(listener.payloads("models/yolo")) == 2 and _events(listener))
            now = json.loads(listener.payloads("models/yolo")[-1])
            assert (now["kind"], now["model"]) == ("model", {"model": "yolo", **plant.models["yolo"]})
            (event,) = _events(listener)
            assert (event["kind"], event["time"]) == ("update", 9.0)
            assert event["update"] == {
                "model": "yolo", "event": "update", "result": "swapped", "from_version": "v1", "to_version": "v2",
                "digest": "", "epoch": 4, "who": "anna", "why": "better",
            }  # fmt: skip
            await plant.notifier.close()

    _run(steps)


def _posts(receiver: Receiver) -> list[str]:
    return [body["id"] for body in receiver.taken]


def test_a_receiver_gets_each_message_once_it_is_there(tmp_path: Path) -> None:
    """Also what happened before a restart. A node's own hook would take a swap for a version to promote."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)

    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda body: (503, {}, b"")
            config = NotifyWebhook(url=receiver.url, secret_file=secret, alarms="warning")
            plant = Plant(tmp_path, config)
            for alarm in (_alarm("mild", "info"), _alarm("bad", "warning")):
                plant.alarm(alarm)
            plant.bus.publish(AuditAppended(SWAPPED))
            await until(lambda: receiver.posts and plant.notifier.status()[0]["waiting"] == 2)
            await plant.notifier.close()
            receiver.answer = lambda body: (200, {}, b"")
            again = Plant(tmp_path, config)
            await until(lambda: len(receiver.taken) == 2)
            await again.notifier.close()
            assert _posts(receiver)[0] == "node-7/alarm/bad/1"
            headers, body = receiver.posts[-1]
            sent = check_delivery("generic", SECRET, headers, body, now=0, tolerance_s=1e12).sent
            assert sent
            when = {"update.result": ["swapped"]}
            assert pick("generic", "{update.model}", "{update.to_version}", when, body) == (
                Asked("yolo", "v2"),
            )

    _run(steps)


def test_who_wants_no_updates_gets_none(tmp_path: Path) -> None:
    """And who wants no alarms none of these."""

    async def steps() -> None:
        with receiving() as one, receiving() as other:
            plant = Plant(
                tmp_path,
                NotifyWebhook(url=one.url, name="one", updates=False),
                NotifyWebhook(url=other.url, name="other", alarms="off"),
            )
            plant.bus.publish(AuditAppended(SWAPPED))
            plant.alarm(_alarm())
            await until(lambda: plant.delivered(1, 1))
            await plant.notifier.close()
            assert (one.taken[0]["kind"], other.taken[0]["kind"]) == ("alarm", "update")

    _run(steps)


def test_mistakes_in_the_configuration_are_said_with_their_place() -> None:
    """Kinds, names, fields of each kind."""

    def problems(*receivers: dict[str, Any]) -> list[str]:
        with pytest.raises(ConfigError) as e:
            parse_config({"notify": list(receivers)})
        return e.value.problems

    assert problems({"type": "pager"}) == ["notify[0]: 'pager' is not known; allowed: type mqtt or webhook"]
    assert problems({}) == ["notify[0]: type is missing; allowed: type mqtt or webhook"]
    found = problems({"type": "mqtt", "url": "http://broker", "alarmz": "off"})
    assert [p.split(";")[0] for p in found] == [
        "notify[0].url: is no address of a broker",
        "notify[0].alarmz: is not known, did you mean alarms?",
    ]
    twice = {"type": "webhook", "url": "http://mes/in"}
    assert problems(twice, twice) == ["notify: webhook is there twice; allowed: a name for each"]
