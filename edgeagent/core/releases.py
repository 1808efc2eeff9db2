# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model store holds of one model: each version with what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeagent.core.model import Manifest
from edgeagent.core.store_documents import Withdrawal


@dataclass(frozen=True)
class Release:
    """One version. manifest: None where it is broken, then fault says how; tags: that name it, sorted."""

    version: str
    manifest: Manifest | None
    fault: str = ""
    tags: tuple[str, ...] = ()
    withdrawal: Withdrawal | None = None

    def to_json(self) -> dict[str, Any]:
        """As `edgeagent versions --json` prints it; null where the manifest doesn't tell."""
        m, w = self.manifest, self.withdrawal
        return {
            "version": self.version,
            "created": m and m.created,
            "digest": m and m.digest,
            "sequence": m and m.sequence,
            "tags": list(self.tags),
            "metrics": dict(m.metrics) if m else None,
            "note": m and m.note,
            "withdrawn": w and {"reason": w.reason, "by": w.by, "at": w.at},
            "error": self.fault or None,
        }


def in_order(releases: list[Release]) -> list[Release]:
    """The broken ones first, then from the oldest to the newest."""
    return sorted(releases, key=lambda r: (r.manifest.sequence if r.manifest else -1, r.version))
