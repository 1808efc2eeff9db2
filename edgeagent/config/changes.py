# SPDX-License-Identifier: AGPL-3.0-or-later
"""From one configuration to another while frames flow: what changes, and what has to wait for a restart. Pure.

What can't be taken over in a running node is left as it was, as a whole, and said by name; so there is always one
configuration that is in force (`Changes.config`), and it is that which the next one is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from edgeagent.config.models import ModelConfig
from edgeagent.config.schema import Config, PipelineConfig
from edgeagent.core.text import clean

IN_PLACE = ("log", "pipelines", "models", "alarms")
"""Sections that are taken over as a whole."""
UPDATE_IN_PLACE = (
    "mode",
    "golden",
    "gates",
    "shadow",
    "probation",
    "sentinel",
    "switch",
    "judge",
    "fetch_seconds",
    "gate_seconds",
    "convert_seconds",
    "retry_seconds",
    "settle_seconds",
)
"""Fields of `update` that are taken over: for versions that are prepared, and watches that begin, from then on."""

_MAX_VALUE = 200
_NOTHING: Any = object()


@dataclass(frozen=True)
class PipelineChange:
    """A pipeline that stays, with other settings. fields: those of `PipelineConfig` that differ."""

    before: PipelineConfig
    now: PipelineConfig
    fields: frozenset[str]


@dataclass(frozen=True)
class Changes:
    """What becomes of a running node.

    config: what is in force when it is done. added, removed: pipelines; one that goes to another model is removed and
    added. models_added, models_removed: that no pipeline has used before, or uses any more. said: what changes, a line
    each, without secrets. restart: names of the fields that differ, and count from the next start on only.
    """

    config: Config
    added: tuple[PipelineConfig, ...] = ()
    removed: tuple[PipelineConfig, ...] = ()
    changed: tuple[PipelineChange, ...] = ()
    models_added: tuple[str, ...] = ()
    models_removed: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


def changes_between(before: Config, wanted: Config) -> Changes:
    """What is to be done for `wanted` to be in force where `before` is, as far as that goes without a restart."""
    config = in_force(before, wanted)
    was, now = ({p.name: p for p in c.pipelines} for c in (before, config))
    moved = {name for name in was.keys() & now.keys() if was[name].model != now[name].model}
    models_before, models_now = ({p.model: None for p in c.pipelines} for c in (before, config))
    return Changes(
        config,
        added=tuple(p for name, p in now.items() if name not in was or name in moved),
        removed=tuple(p for name, p in was.items() if name not in now or name in moved),
        changed=tuple(
            PipelineChange(was[name], p, fields)
            for name, p in now.items()
            if name in was and name not in moved and (fields := _fields(was[name], p))
        ),
        models_added=tuple(m for m in models_now if m not in models_before),
        models_removed=tuple(m for m in models_before if m not in models_now),
        said=tuple(_said(before, config)),
        restart=tuple(sorted({name for name, *_ in _differences(_dump(config), _dump(wanted))})),
    )


def in_force(before: Config, wanted: Config) -> Config:
    """`wanted`, with the fields of `before` where these can't be changed without a restart."""
    update = before.update.model_copy(update={name: getattr(wanted.update, name) for name in UPDATE_IN_PLACE})
    return before.model_copy(update={name: getattr(wanted, name) for name in IN_PLACE} | {"update": update})


def _fields(before: PipelineConfig, now: PipelineConfig) -> frozenset[str]:
    return frozenset(n for n in PipelineConfig.model_fields if getattr(before, n) != getattr(now, n))


def _said(before: Config, now: Config) -> Iterator[str]:
    was, are = ({p.name: p for p in c.pipelines} for c in (before, now))
    for name, pipeline in are.items():
        if name not in was:
            yield f"pipelines.{name} added: {pipeline.model} on {_shown(pipeline.source.url)}"
    for name in was:
        if name not in are:
            yield f"pipelines.{name} removed"
    both = was.keys() & are.keys()
    models = before.models.keys() | now.models.keys()
    old, new = (
        _dump(config)
        | {"pipelines": {name: _pipeline(pipelines[name]) for name in both}}
        | {"models": {name: _dump(config.models.get(name, ModelConfig())) for name in sorted(models)}}
        for config, pipelines in ((before, was), (now, are))
    )
    for difference in _differences(old, new):
        yield _in_words(*difference)


def _in_words(name: str, before: Any, now: Any) -> str:
    for value, verb in ((now, "added"), (before, "removed")):
        if (before if value is now else now) is _NOTHING:
            kind = value.get("type") if isinstance(value, Mapping) else None
            return f"{name} {verb}" + (f": {kind}" if isinstance(kind, str) else "")
    shown = _shown(before), _shown(now)
    # Of a sink a text may be a secret; and where both look the same, what differs is one.
    is_secret = ".sinks." in name and isinstance(now, str)
    return f"{name} changed" if is_secret or shown[0] == shown[1] else f"{name}: {shown[0]} → {shown[1]}"


def _pipeline(pipeline: PipelineConfig) -> dict[str, Any]:
    """Sinks by their place: what differs in one is said of that one."""
    dump = _dump(pipeline)
    for name in ("sinks", "alarms"):
        if isinstance(found := dump.get(name), list):
            dump[name] = {str(place): value for place, value in enumerate(found)}
    return dump


def _dump(section: BaseModel) -> dict[str, Any]:
    return section.model_dump(mode="json")


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Names of the fields that differ, such as `update.probation.seconds`, with both values."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        if before != now:
            yield path, before, now
        return
    for name in dict.fromkeys([*before, *now]):
        below = f"{path}.{name}" if path else str(name)
        yield from _differences(before.get(name, _NOTHING), now.get(name, _NOTHING), below)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "none"
    return clean(str(value), _MAX_VALUE)
