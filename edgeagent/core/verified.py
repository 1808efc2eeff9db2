# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version whose files lie on this node, each hashed: what travels from the fetch to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.core.model import Contract


@dataclass(frozen=True)
class VerifiedVersion:
    """One version of a model, and where its files lie.

    weights: the file that holds the network, in `format`; alternates: the same network in further formats, by format;
    companions: what belongs to an OpenVINO graph among them, by format; golden: pictures of its golden set, to compare
    forms of the weights on; manifest: in the cache, which names all files of that set: see
    `store.cache.golden_files`.
    """

    model: str
    version: str
    digest: str
    contract: Contract
    format: str
    weights: Path
    alternates: Mapping[str, Path] = field(default_factory=dict)
    companions: Mapping[str, Path] = field(default_factory=dict)
    golden: tuple[Path, ...] = ()
    manifest: Path | None = None

    @property
    def files(self) -> Mapping[str, Path]:
        """Its weights, by format; the source first."""
        return {self.format: self.weights, **self.alternates}

    @property
    def takes_any_size(self) -> bool:
        """Whether it can be made for frames of any shape; files in further formats have the size that they have."""
        return self.format == "pt" and not self.alternates
