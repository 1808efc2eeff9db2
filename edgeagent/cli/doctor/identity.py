# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's id: its own, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, WARN, Finding
from edgeagent.core.model import parse_json
from edgeagent.core.presence import holder_of

_ANYBODYS = frozenset(
    {"localhost", "node", "debian", "ubuntu", "raspberrypi", "jetson", "nvidia", "orangepi", "rockchip", "linux",
     "fedora", "edge", "edgeagent", "press-07", "demo", "test", "example"}
)  # fmt: skip
"""Names that systems and our own examples come with."""
_TODO = "set node.id: pins, roll-outs and the fleet know a node by it"


def own_name(x: Examination) -> Iterator[Finding]:
    """Whether it says which machine this is."""
    node = x.config.node.id
    if node.partition(".")[0].lower() in _ANYBODYS:
        where = ", which is this host's name" if node == x.machine.hostname else ""
        yield Finding(WARN, "node.id", f"{node!r}{where}: other machines have it, too", _TODO)


def alone(x: Examination) -> Iterator[Finding]:
    """Whether another node has it, by what stands in the config store."""
    if x.presence is None:
        return
    holder = holder_of(x.presence)
    where = f", with its status at {holder.url}" if holder.url else ""
    try:
        said = parse_json(x.presence.decode())
    except (ValueError, RecursionError):
        said = None
    conflict = isinstance(said, dict) and said.get("conflict") is True
    node = x.config.node.id
    if conflict:
        yield Finding(FAIL, "node.id", f"two nodes say that they are {node!r}{where}", _TODO)
    elif not x.runs_on:
        yield Finding(
            WARN,
            "node.id",
            f"a node {node!r} is there already{where}, and none runs on this state folder",
            f"if it isn't one that was stopped within the last minute: {_TODO}",
        )
