# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which old versions go: only what nobody needs, and of which that is known."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgeagent.core.model import Contract, Manifest, WeightFile
from edgeagent.core.prune import judge, some
from edgeagent.core.releases import Release, in_order
from edgeagent.core.store_documents import Withdrawal

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OLD = "2026-01-01T00:00:00Z"
CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)


def release(n: int, created: str = OLD, *tags: str, withdrawn: bool = False) -> Release:
    """The n-th version."""
    files = (WeightFile("best.onnx", "a" * 64, 5, "onnx"),)
    manifest = Manifest("yolo", f"v{n}", n, created, CONTRACT, files)
    return Release(f"v{n}", manifest, "", tags, Withdrawal("blind", "", "") if withdrawn else None)


def goes(*releases: Release, keep: int = 1, **needed: str) -> list[str]:
    """The versions that go; needed: what for, by version."""
    judged = judge(releases, {v: [what] for v, what in needed.items()}, keep, 30.0, NOW)
    assert [j.release for j in judged] == list(releases)
    return [j.release.version for j in judged if not j.stays]


def stays(*releases: Release, **needed: str) -> str:
    """Why the first one stays."""
    return judge(releases, {v: [what] for v, what in needed.items()}, 1, 30.0, NOW)[0].stays


def test_the_newest_stay() -> None:
    """By the order of publishing, whatever they are called; of few versions none goes, and never all."""
    versions = [release(n) for n in range(1, 6)]
    assert goes(*versions, keep=2) == ["v1", "v2", "v3"]
    assert goes(*versions, keep=5) == []
    assert goes(release(1), keep=0) == []
    assert goes() == []


def test_a_withdrawn_version_is_none_of_the_newest() -> None:
    """Else there might be no other left to go back to."""
    versions = [release(1), release(2), release(3, withdrawn=True), release(4, withdrawn=True)]
    assert goes(*versions, keep=1) == ["v1", "v3", "v4"]


def test_what_is_needed_stays_with_the_reasons() -> None:
    """Tagged, and by whatever else."""
    newest = release(9)
    assert goes(release(1, OLD, "stable"), release(2), release(3), newest, v2="current") == ["v3"]
    assert stays(release(1, OLD, "a", "b"), newest, v1="pin of n1") == "tagged a, b; pin of n1"
    assert stays(newest) == "among the newest"


@pytest.mark.parametrize(
    ("created", "why"),
    [
        ("2026-10-30T12:00:00Z", ""),
        ("2026-10-30T12:00:01Z", "created 2026-10-30T12:00:01Z"),
        ("2026-10-30T13:00:00+01:00", ""),
        ("2026-10-30", ""),
        ("2031-01-01T00:00:00Z", "created 2031-01-01T00:00:00Z"),
        ("yesterday", "its age can't be known, for it was created at 'yesterday'"),
        ("", "its age can't be known, for it was created at ''"),
    ],
)
def test_what_is_young_stays(created: str, why: str) -> None:
    """Also what a wrong clock dated ahead, and what can't be told; a date without a zone is in UTC."""
    assert stays(release(1, created), release(9)) == why


def test_what_is_broken_stays() -> None:
    """Nobody knows which files it has; and it comes first, so that it isn't taken for the newest."""
    broken = Release("v3", None, "not JSON")
    assert stays(broken, release(9)).startswith(
        "broken, so it can't be known what is to be removed: not JSON"
    )
    assert [r.version for r in in_order([release(2), broken, release(1)])] == ["v3", "v1", "v2"]


def test_some_of_many() -> None:
    """A plant has hundreds of nodes."""
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some([str(n) for n in range(300)]) == "0, 1, 2 and 297 more"
