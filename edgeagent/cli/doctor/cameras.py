# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sources: whether a frame comes, and if none does, which of the usual reasons it is."""

from __future__ import annotations

import grp
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from edgeagent.cli.doctor import rtsp
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import OK, WARN, Finding, attempt
from edgeagent.config import PipelineConfig, SourceConfig
from edgeagent.sinks.registry import sink_type
from edgeagent.workers.probe import probe_source

_DECODED = frozenset(("H264", "H265", "HEVC", "JPEG", "MP4V-ES", "MPV", "AV1", "VP8", "VP9"))


def sources(x: Examination, probe: Callable[[SourceConfig], str] = probe_source) -> Iterator[Finding]:
    """One frame of each; and whether the sinks of its pipeline take something."""
    for pipeline in x.config.pipelines:
        found = attempt(f"source of {pipeline.name}", partial(probe, pipeline.source))
        if found.level == OK:
            if size := re.match(r"(\d{1,5})x(\d{1,5})", found.text):
                x.sizes[pipeline.name] = int(size[1]), int(size[2])
        elif better := _reason(x, pipeline.source.url):
            found = replace(found, text=f"{found.text} ({better[0]})", todo=better[1])
        yield found
        yield from _sinks(pipeline)
    if not x.config.pipelines:
        yield Finding(WARN, "pipelines", "there are none, so this node will serve nothing", "add one")


def _sinks(pipeline: PipelineConfig) -> Iterator[Finding]:
    for config in pipeline.sinks:
        try_out = sink_type(config.type).try_out
        if try_out:
            yield attempt(f"sink of {pipeline.name}", partial(try_out, config))


def _reason(x: Examination, url: str) -> tuple[str, str] | None:
    """Why it gives nothing and the remedy, where more can be found out than the worker said."""
    if url.startswith("/dev/"):
        return _device(x, Path(url))
    if url.startswith("rtsp://"):
        return _rtsp(url)
    return None


def _device(x: Examination, path: Path) -> tuple[str, str] | None:
    device = x.machine.root / path.relative_to("/")
    try:
        about = device.stat()
    except FileNotFoundError:
        there = sorted(f.name for f in (x.machine.root / "dev").glob("video*"))
        has = f"there are {', '.join(there)}" if there else "there is no camera at all"
        return f"{path} is not there; {has}", "check cable and number; in a container: --device=/dev/video0"
    except OSError:
        return None
    if x.machine.uid != 0 and about.st_gid not in x.machine.groups and not about.st_mode & 0o006:
        group = str(about.st_gid)
        with suppress(KeyError):
            group = grp.getgrgid(about.st_gid).gr_name
        todo = f"usermod -aG {group} USER and a new login; in a unit SupplementaryGroups={group}"
        return f"this user is not in the group {group}", todo
    return None


def _rtsp(url: str) -> tuple[str, str] | None:
    answer, parts = rtsp.describe(url), urlsplit(url)
    if answer is None:
        return None
    match answer.status:
        case 401 | 403 if parts.username:
            return (
                "401: user or password is wrong",
                "correct them; special characters percent-encoded (%40 for @)",
            )
        case 401 | 403:
            return "401: it asks for user and password", "rtsp://USER:PASSWORD@… in source.url"
        case 404 | 454:
            return (
                f"404: it has no stream at {parts.path or '/'}",
                "take the path from the camera's manual or page",
            )
        case 200 if answer.codecs and not _DECODED & {c.upper() for c in answer.codecs}:
            return f"its codec is {', '.join(answer.codecs)}", "set the camera to H.264 or MJPEG"
        case 200 if not answer.codecs:
            return "its stream has no video", "choose another path, or switch video on at the camera"
        case 453 | 503:
            return (
                f"{answer.status}: it has no room for another viewer",
                "close others, or allow more at the camera",
            )
    return None
