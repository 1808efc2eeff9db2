# SPDX-License-Identifier: AGPL-3.0-or-later
"""A configuration as it is shown, without its secrets; and those put in again, when what was shown comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeagent.core.text import redact
from edgeagent.errors import UsageError
from edgeagent.sinks.port import SinkConfig
from edgeagent.sinks.registry import sink_type

HIDDEN = "***"
_SECRET = re.compile(r"(?i)(?:password|passwd|secret|token|credential|api_?key|access_?key|private_?key)")
_FREE = ("options", "storage_options")
"""Mappings whose names other packages choose: all their values are hidden."""


def shown(value: Any, name: str = "", hidden: bool = False) -> Any:
    """Plain values, as JSON has them, without secrets: passwords in URLs, values whose name says that they are one."""
    if isinstance(value, Mapping):
        hidden = hidden or name in _FREE
        return {key: shown(below, str(key), hidden) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [shown(below, name, hidden) for below in value]
    if hidden and value is not None:
        return HIDDEN
    if not isinstance(value, str):
        return value
    is_secret = bool(value) and _SECRET.search(name) is not None and not name.endswith("_file")
    return HIDDEN if is_secret else redact(value)


def put_back(given: Mapping[str, Any], before: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """A pipeline as it was given, with the secrets of `before`, the same pipeline as it was, where it was shown without
    them.

    A secret goes only where it was: to a camera or sink of which nothing has changed; else somebody could have it sent
    to another host. Raises UsageError where one is missing; where: how the message names the pipeline.
    """
    pipeline = dict(given)
    before = before or {}
    if isinstance(pipeline.get("source"), Mapping) and isinstance(before.get("source"), Mapping):
        url = before["source"].get("url")
        if pipeline["source"].get("url") == shown(url):
            pipeline["source"] = {**pipeline["source"], "url": url}
    if isinstance(pipeline.get("sinks"), list) and isinstance(before.get("sinks"), list):
        pipeline["sinks"] = [_sink(sink, before["sinks"]) for sink in pipeline["sinks"]]
    for name in ("source", "sinks"):
        if lost := _hidden_in(pipeline.get(name), name):
            what = f"{where}.{lost}: a secret was shown as {HIDDEN} and what it belongs to has changed"
            raise UsageError("the pipeline", f"{what}; allowed: the secret itself", "give it anew")
    return pipeline


def _sink(given: Any, known: list[Any]) -> Any:
    for sink in known:
        if isinstance(given, Mapping) and isinstance(sink, Mapping):
            full = shown(_in_full(sink))
            as_default = {name: value for name, value in full.items() if name not in sink}
            if {**as_default, **given} == full:
                return sink
    return given


def _in_full(sink: Mapping[str, Any]) -> Mapping[str, Any]:
    """A sink of the file with all its fields, as it is shown; as it stands there where it is wrong."""
    try:
        config: SinkConfig = sink_type(str(sink.get("type"))).config.model_validate(sink)
    except ValueError:
        return sink
    return config.model_dump(mode="json")


def _hidden_in(value: Any, where: str) -> str:
    """Where a secret is hidden, "" if none is."""
    if isinstance(value, Mapping):
        found = (_hidden_in(below, f"{where}.{name}") for name, below in value.items())
    elif isinstance(value, list):
        found = (_hidden_in(below, f"{where}[{place}]") for place, below in enumerate(value))
    else:
        return where if isinstance(value, str) and HIDDEN in value else ""
    return next(filter(None, found), "")
