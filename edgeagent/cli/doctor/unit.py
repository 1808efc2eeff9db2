# SPDX-License-Identifier: AGPL-3.0-or-later
"""The unit of systemd, where one is installed: whether what the configuration needs is let in."""

from __future__ import annotations

import pwd
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, WARN, Finding

UNIT = "edgeagent.service"
_DROP_IN = "in a drop-in (systemctl edit edgeagent)"
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


def settings(files: Sequence[Path]) -> dict[str, str]:
    """The settings of a unit and its drop-ins; those that are given several times all together, an empty one forgets
    what was before."""
    found: dict[str, str] = {}
    for file in files:
        for line in file.read_text(errors="replace").replace("\\\n", " ").splitlines():
            key, equals, value = line.strip().partition("=")
            if equals and key and key[0] not in "#;[":
                found[key] = f"{found[key]} {value}".strip() if value and found.get(key) else value
    return found


def unit(x: Examination) -> Iterator[Finding]:
    """Everything about it; nothing where there is none."""
    try:
        said = settings(list(x.machine.unit_files(UNIT)))
    except OSError:
        return
    if not said:
        return
    yield from _supervision(said)
    yield from _user(x, said)
    if _is_this(x, said):
        yield from _folders(x, said)
        yield from _devices(x, said)


def _supervision(said: dict[str, str]) -> Iterator[Finding]:
    if said.get("Type") != "notify":
        text = "Type=notify is missing: systemd takes it for ready before it is, and gets no watchdog"
        yield Finding(WARN, UNIT, text, "take the unit in deploy/systemd")
    elif not said.get("WatchdogSec"):
        text = "WatchdogSec= is missing: nobody restarts a node whose frames stand still"
        yield Finding(WARN, UNIT, text, f"WatchdogSec=60 {_DROP_IN}")
    if said.get("MemoryDenyWriteExecute", "no") in ("yes", "true", "1", "on"):
        text = "MemoryDenyWriteExecute= breaks torch and oneDNN, which write code at run time"
        yield Finding(FAIL, UNIT, text, f"MemoryDenyWriteExecute=no {_DROP_IN}")


def _user(x: Examination, said: dict[str, str]) -> Iterator[Finding]:
    """Whether the examination holds for the user that the unit has."""
    name = said.get("User", "root").split()[-1]
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        yield Finding(FAIL, UNIT, f"its user {name} does not exist", "systemd-sysusers, or useradd --system")
        return
    if uid != x.machine.uid:
        text = f"it runs as {name}; what is said here holds for another user"
        yield Finding(WARN, UNIT, text, f"sudo -u {name} edgeagent doctor --config FILE")


def _is_this(x: Examination, said: dict[str, str]) -> bool:
    """Whether it starts a node with the configuration that is examined."""
    try:
        words = shlex.split(said.get("ExecStart", ""))
    except ValueError:
        return False
    return x.file is None or any(Path(word).resolve() == x.file.resolve() for word in words if "/" in word)


def _folders(x: Examination, said: dict[str, str]) -> Iterator[Finding]:
    """Those that are written, and those that are hidden."""
    state = x.config.node.state_dir
    written = {"node.state_dir": state}
    written |= {
        f"pipelines[{n}].sinks[{m}].path": Path(path).parent
        for n, pipeline in enumerate(x.config.pipelines)
        for m, sink in enumerate(pipeline.sinks)
        if (path := getattr(sink, "path", None)) is not None
    }
    if said.get("ProtectSystem") == "strict":
        allowed = [Path(word.lstrip("-+")) for word in said.get("ReadWritePaths", "").split()]
        allowed += [Path("/var/lib") / word for word in said.get("StateDirectory", "").split()]
        for what, folder in written.items():
            if not any(folder == root or root in folder.parents for root in allowed):
                text = f"ProtectSystem=strict makes {folder} read-only ({what})"
                yield Finding(FAIL, UNIT, text, f"ReadWritePaths={folder} {_DROP_IN}")
    if said.get("ProtectHome", "no") in ("yes", "true", "1", "on", "tmpfs"):
        used = {**written, "model_store.url": Path(x.config.model_store.url)}
        for what, folder in used.items():
            if any(home in folder.parents for home in _HOMES):
                yield Finding(
                    FAIL,
                    UNIT,
                    f"ProtectHome= hides {folder} ({what})",
                    "put it elsewhere, such as below /var/lib",
                )


def _devices(x: Examination, said: dict[str, str]) -> Iterator[Finding]:
    if said.get("DevicePolicy") not in ("closed", "strict") and said.get("PrivateDevices", "no") != "yes":
        return
    allowed = said.get("DeviceAllow", "")
    has_camera = any(p.source.url.startswith("/dev/video") for p in x.config.pipelines)
    if has_camera and "video4linux" not in allowed and "/dev/video" not in allowed:
        todo = f"DeviceAllow=char-video4linux rw {_DROP_IN}, without PrivateDevices="
        yield Finding(FAIL, UNIT, "it lets no camera in", todo)
    if x.config.engine.device.startswith("cuda") and "nvidia" not in allowed:
        todo = f"DeviceAllow=char-nvidia rw {_DROP_IN}, without PrivateDevices="
        yield Finding(FAIL, UNIT, "it lets no GPU in", todo)
