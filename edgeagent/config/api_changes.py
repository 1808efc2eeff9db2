# SPDX-License-Identifier: AGPL-3.0-or-later
"""What may be changed in the configuration through the API (`api.changes`), and what it may name.

Whoever may change the configuration has the node open cameras and files, connect to other machines and write, as the
node's user. So a change names none of the machine's files and sends records to no host unless the configuration file
itself says that it may.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from edgeagent.sinks.port import SinkConfig
from edgeagent.sinks.registry import BUILT_IN
from edgeagent.util.settings import Section

if TYPE_CHECKING:
    from edgeagent.config.schema import PipelineConfig

_CAMERA = re.compile(r"(file://)?/dev/video[0-9]{1,4}\Z")


class ApiChangesConfig(Section):
    """Changes of pipelines and of models' settings through the API.

    allow: null allows them where the API asks for a token or a client's certificate. folders: below these a change may
    name files. hosts: names and addresses, with * for any characters, that a change may name; with none it may name any
    camera, and no receiver of records.
    """

    allow: bool | None = None
    folders: list[Path] = Field(default=[], max_length=100)
    hosts: list[str] = Field(default=[], max_length=1000)


def objections(
    pipeline: PipelineConfig, before: PipelineConfig | None, allowed: ApiChangesConfig
) -> Iterator[str]:
    """What of a pipeline a change may not name: one line each, as of any mistake. before: as it is now, None for a new
    one; what stays as it is may name what it likes."""
    url = pipeline.source.url
    if (before is None or url != before.source.url) and (why := _source_objection(url, allowed)):
        yield f"source.url: {why}"
    known: Sequence[SinkConfig] = before.sinks if before else ()
    for place, sink in enumerate(pipeline.sinks):
        if sink not in known:
            yield from (f"sinks[{place}]{where}: {why}" for where, why in _sink_objections(sink, allowed))


def _source_objection(url: str, allowed: ApiChangesConfig) -> str:
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme == "synthetic" or _CAMERA.match(url):
        return ""
    if scheme in ("", "file"):
        return _file_objection(Path(url.removeprefix("file://")), allowed)
    return _host_objection(url, allowed, bool(allowed.hosts))


def _sink_objections(sink: SinkConfig, allowed: ApiChangesConfig) -> Iterator[tuple[str, str]]:
    if not any(isinstance(sink, row.config) for row in BUILT_IN):
        kinds = ", ".join(row.name for row in BUILT_IN)
        yield (
            ".type",
            f"a change through the API can't add or change a sink of another package; allowed: {kinds}",
        )
        return
    for where, value in _leaves(sink):
        why = ""
        if isinstance(value, Path):
            why = _file_objection(value, allowed)
        elif isinstance(value, str) and "://" in value:
            why = _host_objection(value, allowed, True)
        if why:
            yield where, why


def _file_objection(path: Path, allowed: ApiChangesConfig) -> str:
    """Links are followed: what counts is where a file really is."""
    if "\0" in str(path):
        return "has a zero byte; allowed: a path"
    real = os.path.realpath(path)
    if any(os.path.commonpath([real, os.path.realpath(f)]) == os.path.realpath(f) for f in allowed.folders):
        return ""
    below = ", ".join(map(str, allowed.folders)) or "no folder: api.changes.folders names none"
    return f"{str(path)!r} is a file of this machine; allowed through the API: below {below}"


def _host_objection(url: str, allowed: ApiChangesConfig, is_needed: bool) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    if "\\" in url or any(c.isspace() for c in url):
        host = ""  # whoever opens it may read another one there
    if not is_needed or (host and any(fnmatchcase(host, pattern.lower()) for pattern in allowed.hosts)):
        return ""
    hosts = ", ".join(allowed.hosts) or "none: api.changes.hosts names none"
    return f"the host {host!r}; allowed through the API: {hosts}"


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Each single value, and where it stands."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(below, f"{where}.{name}")
    elif isinstance(value, list | tuple | set):
        for place, below in enumerate(value):
            yield from _leaves(below, f"{where}[{place}]")
    else:
        yield where, value
