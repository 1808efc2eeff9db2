# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model store holds of one model: each version with what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from edgeagent.core.model import Manifest
from edgeagent.core.store_documents import Withdrawal
from edgeagent.core.text import MAX_BY, FreeText, cut

MAX_ITEMS = 50
"""Tags and metrics of a version that a list shows."""
MAX_NAME = 128


@dataclass(frozen=True)
class Release:
    """One version. manifest: None where it is broken, then fault says how; tags: that name it, sorted."""

    version: str
    manifest: Manifest | None
    fault: str = ""
    tags: tuple[str, ...] = ()
    withdrawal: Withdrawal | None = None

    def row(self) -> ReleaseRow:
        """What is shown of it, without the manifest."""
        m = self.manifest
        return ReleaseRow(
            version=self.version,
            created=m.created if m else None,
            digest=m.digest if m else None,
            sequence=m.sequence if m else None,
            tags=self.tags,
            metrics=dict(m.metrics) if m else None,
            note=m.note if m else None,
            withdrawn=self.withdrawal,
            error=self.fault or None,
        )

    def to_json(self) -> dict[str, Any]:
        """As `edgeagent versions --json` prints it; null where the manifest doesn't tell."""
        return self.row().to_json()


@dataclass(frozen=True)
class ReleaseRow:
    """What is shown of a version; None where its manifest doesn't tell. created: ISO 8601; error: what is broken."""

    version: str
    created: str | None
    digest: str | None
    sequence: int | None
    tags: tuple[str, ...]
    metrics: Mapping[str, float] | None
    note: FreeText | None
    withdrawn: Withdrawal | None
    error: FreeText | None

    def shortened(self) -> ReleaseRow:
        """As much of it as anybody reads in a list."""
        metrics = self.metrics and {cut(k, MAX_NAME): v for k, v in islice(self.metrics.items(), MAX_ITEMS)}
        w = self.withdrawn
        return replace(
            self,
            created=self.created and cut(self.created, MAX_NAME),
            tags=self.tags[:MAX_ITEMS],
            metrics=metrics,
            note=self.note and cut(self.note, MAX_BY),
            withdrawn=w and Withdrawal(cut(w.reason, MAX_BY), cut(w.by, MAX_BY), cut(w.at, MAX_NAME)),
            error=self.error and cut(self.error, MAX_BY),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "tags": list(self.tags)}


def in_order(releases: list[Release]) -> list[Release]:
    """The broken ones first, then from the oldest to the newest."""
    return sorted(releases, key=lambda r: (r.manifest.sequence if r.manifest else -1, r.version))
