# SPDX-License-Identifier: AGPL-3.0-or-later
"""An examination under way: the configuration, the machine, and what earlier checks found out for later ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from edgeagent.cli.doctor.machine import Machine
from edgeagent.config import Config
from edgeagent.core.directive import Directive
from edgeagent.core.model import Manifest


@dataclass
class Examination:
    """file: that the configuration was read from, None where it wasn't.

    intents: by model, what the node would follow; manifests: by model, of that version; sizes: by pipeline, width and
    height of its frames; works: runtimes that work here; presence: what stands under the node's own key, None where
    nothing does or the config store has none.
    """

    config: Config
    file: Path | None = None
    machine: Machine = field(default_factory=Machine)
    intents: dict[str, Directive] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    works: set[str] = field(default_factory=set)
    presence: bytes | None = None

    @property
    def models(self) -> list[str]:
        """Of all pipelines, each once."""
        return list(dict.fromkeys(p.model for p in self.config.pipelines))

    @property
    def runs_on(self) -> int | None:
        """The process of the node that has the state folder now."""
        return self.machine.lock_holder(self.config.node.state_dir / "lock")

    @property
    def is_running(self) -> bool:
        """Whether that is a node with this very configuration."""
        pid = self.runs_on
        if pid is None or self.file is None:
            return False
        words = self.machine.command(pid)
        files = [w.removeprefix("--config=") for w in words if w.startswith("--config=")]
        files += [after for word, after in pairwise(words) if word == "--config"]
        return any(Path(file).resolve() == self.file.resolve() for file in files)
