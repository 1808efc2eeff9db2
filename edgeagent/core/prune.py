# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which old versions of a model nobody needs any more. What can't be told keeps a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edgeagent.core.releases import Release


@dataclass(frozen=True)
class Judged:
    """A version, and why it stays; "" for one that goes."""

    release: Release
    stays: str


def judge(
    releases: Sequence[Release],
    needed: Mapping[str, Sequence[str]],
    keep: int,
    younger_days: float,
    now: datetime,
) -> list[Judged]:
    """Each version, in the same order: from the oldest to the newest.

    needed: by version, by what it is, such as "current". keep: so many of the newest stay, withdrawn ones not counted,
    at least one. younger_days: what is younger stays. now: in UTC.
    """
    whole = [r.version for r in releases if r.manifest and not r.withdrawal]
    newest = set(whole[-max(1, keep) :])
    return [Judged(r, _stays(r, needed.get(r.version, ()), newest, younger_days, now)) for r in releases]


def _stays(
    release: Release, needed: Sequence[str], newest: set[str], younger_days: float, now: datetime
) -> str:
    if release.manifest is None:
        return f"broken, so it can't be known what is to be removed: {release.fault}"
    reasons = [f"tagged {', '.join(release.tags)}"] if release.tags else []
    reasons += needed
    if release.version in newest:
        reasons.append("among the newest")
    if reasons:
        return "; ".join(reasons)
    return _is_young(release.manifest.created, younger_days, now)


def _is_young(created: str, younger_days: float, now: datetime) -> str:
    """Why its age keeps it; a date in the future is that of a wrong clock."""
    try:
        at = datetime.fromisoformat(created)
    except ValueError:
        return f"its age can't be known, for it was created at {created[:40]!r}"
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return "" if now - at >= timedelta(days=younger_days) else f"created {created}"


def some(names: Sequence[str], most: int = 3) -> str:
    """A few of many names, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
