# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version that is made ready ahead of the update that is to bring it: what is known of it, and what is told."""

from __future__ import annotations

from dataclasses import dataclass

from edgeagent.core.directive import Directive
from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage


@dataclass(frozen=True)
class Circumstances:
    """What a version is made ready for: beside what serves (its digest, "" for nothing), and for frames of these sizes.
    Beside another, the gates judge it anew; for others, it may be made anew."""

    active: str
    frames: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Preload:
    """A version that is to be fetched, converted, tuned and gated, and then not to serve.

    id: of the work on it, 0 before the first; makes_for: while there is work under way, what it makes the version ready
    for; ready_for: once it is ready. attempt: tries since it was ready last. error: what the last one failed of;
    retry_at: when it is tried again (monotonic seconds), None when at once. gates: what they have found so far.
    """

    directive: Directive
    id: int = 0
    stage: Stage = Stage.ASPIRED
    digest: str = ""
    attempt: int = 0
    retry_at: float | None = None
    error: str = ""
    gates: tuple[GateResult, ...] = ()
    makes_for: Circumstances | None = None
    ready_for: Circumstances | None = None

    @property
    def version(self) -> str:
        """The version that is made ready."""
        return self.directive.version


@dataclass(frozen=True)
class PreloadState:
    """How far a version is that is made ready ahead.

    stage: up to GATING while it is worked on; ASPIRED while that waits; READY when all is done that can be; REJECTED,
    and then it isn't tried again. ready: an update to it would find everything done, up to loading it. why: it waits,
    or was refused, or need not be made ready, "" for none of these.
    """

    version: str
    stage: Stage
    ready: bool
    why: str = ""
