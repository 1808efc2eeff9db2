# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of itself in the config store: the most important of its status, in a few bytes.

Every writing of a key stays in the store's history and is sent to whoever watches, so it is small and holds nothing
that changes all the time. Where the whole status is, it says.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

from edgeagent.status.schema import ModelStatus, Status

MAX_BYTES = 512
_WELL = ("running", "ended", "waiting")


def summarize(status: Status, url: str, ts: float) -> bytes:
    """At most MAX_BYTES of JSON: fields of the status under their names there, as many as fit.

    What is not as it should be comes first; `left_out` counts what found no place.
    url: where the whole of it can be asked for. ts: when it is written, Unix seconds.
    """
    offers = list(_offers(status, url))
    # `left_out` begins with the longest number that it can become.
    summary: dict[str, Any] = {"ts": int(ts), "left_out": len(offers), "models": {}, "pipelines": {}}
    summary["left_out"] = sum(not _put_if_it_fits(summary, path, value) for path, value in offers)
    return _encode(summary)


def status_url(api_url: str | None) -> str:
    """Where others find the whole status of the node whose API is at `api_url`; "" while it has none."""
    if api_url is None:
        return ""
    name = socket.gethostname()
    for everywhere in ("//0.0.0.0:", "//[::]:"):  # it listens on all addresses; this name is one of them
        api_url = api_url.replace(everywhere, f"//{name}:")
    return f"{api_url}/api/status"


def _offers(status: Status, url: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Places in the summary and what goes there, the most important first."""
    yield ("node",), status.node
    if status.instance:
        yield ("instance",), status.instance
    if url:
        yield ("status_url",), url
    if status.id_conflict:
        yield ("conflict",), True
    if status.disk_error:
        yield ("disk_error",), status.disk_error[:60]
    for name, model in sorted(status.models.items(), key=lambda item: (_is_well(item[1]), item[0])):
        yield ("models", name), _model(model)
    lines = sorted(status.pipelines.items(), key=lambda item: (item[1].state in _WELL, item[0]))
    for name, pipeline in lines:
        yield ("pipelines", name), {"state": pipeline.state}
    for name, model in sorted(status.models.items()):
        if model.active:
            yield ("models", name, "active", "digest"), model.active.digest


def _is_well(model: ModelStatus) -> bool:
    return model.state == "STABLE" and model.held is None


def _model(model: ModelStatus) -> dict[str, Any]:
    active, held = model.active, model.held
    said: dict[str, Any] = {
        "aspired": model.aspired,
        "state": model.state,
        "active": active and {"version": active.version, "epoch": active.epoch},
    }
    return said | ({"held": {"kind": held.kind, "version": held.version}} if held else {})


def _put_if_it_fits(summary: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:
    *folders, name = path
    place = summary
    for folder in folders:
        if folder not in place:
            return False  # a part of what was left out
        place = place[folder]
    place[name] = value
    if len(_encode(summary)) <= MAX_BYTES:
        return True
    del place[name]
    return False


def _encode(summary: dict[str, Any]) -> bytes:
    return json.dumps(summary, separators=(",", ":")).encode()
