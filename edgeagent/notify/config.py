# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is told of alarms and updates: `notify` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny

from edgeagent.core.alarms import Severity
from edgeagent.sinks.delivery import Name
from edgeagent.sinks.http_client import HttpConfig
from edgeagent.sinks.mqtt_client import MqttConfig
from edgeagent.util.settings import Megabytes, Section


class NotifyConfig(Section):
    """One receiver of alarms and updates; each kind has fields of its own beside.

    name: of its queue on the disk, where there are several of a type. alarms: the mildest that it is told of. updates:
    whether it is told what becomes of versions. queue_mb: what may wait for it; then the oldest messages go.
    """

    type: str
    name: Name = ""
    alarms: Severity | Literal["off"] = "info"
    updates: bool = True
    queue_mb: Megabytes = 8

    @property
    def called(self) -> str:
        """What tells it from the others."""
        return self.name or self.type

    def sends_secret_to(self) -> tuple[str, str] | None:
        """The host to which a secret goes that others can read on the way, and which secret; None if none does."""
        return None


class NotifyMqtt(NotifyConfig, MqttConfig):
    """A broker: what is now, retained, and what happens."""

    type: Literal["mqtt"] = "mqtt"

    def sends_secret_to(self) -> tuple[str, str] | None:
        """The password, without TLS."""
        return self.readable_password()


class NotifyWebhook(NotifyConfig, HttpConfig):
    """A receiver over HTTP: what happens, a post each."""

    type: Literal["webhook"] = "webhook"

    def sends_secret_to(self) -> tuple[str, str] | None:
        """The token, without TLS."""
        return self.readable_token()


KINDS: dict[str, type[NotifyConfig]] = {"mqtt": NotifyMqtt, "webhook": NotifyWebhook}


def kind_of(value: object) -> type[NotifyConfig]:
    """What its `type` says. Raises ValueError."""
    name = value.get("type") if isinstance(value, dict) else None
    if name not in KINDS:
        found = f"{str(name)[:60]!r} is not known" if name else "type is missing"
        raise ValueError(f"{found}; allowed: type {' or '.join(KINDS)}")
    return KINDS[name]


def _receiver(value: object) -> object:
    return value if isinstance(value, NotifyConfig) else kind_of(value).model_validate(value)


def _told_apart(receivers: list[NotifyConfig]) -> list[NotifyConfig]:
    names = [receiver.called for receiver in receivers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice[0]} is there twice; allowed: a name for each")
    return receivers


Receivers = Annotated[
    list[Annotated[SerializeAsAny[NotifyConfig], BeforeValidator(_receiver)]],
    Field(max_length=16),
    AfterValidator(_told_apart),
]
