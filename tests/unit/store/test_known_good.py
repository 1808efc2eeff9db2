# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the cache says of the versions that have served well."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.core.state import VersionRef
from edgeagent.store.cache import Cache
from edgeagent.store.known_good import known_good, note_known_good
from tests.support.cached import put


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache")


def test_known_good_versions_are_remembered(cache: Cache) -> None:
    """As long as they are here; by their content, not by their name."""
    v1, v2 = put(cache, "v1"), put(cache, "v2")
    refs = [VersionRef(v.manifest.version, v.manifest.digest) for v in (v1, v2)]
    note_known_good(cache, "yolo", refs)
    assert known_good(cache, "yolo") == tuple(refs)
    assert cache.versions("yolo") == [v2, v1]
    v2.weights.unlink()
    assert known_good(cache, "yolo") == (refs[0],)
    assert known_good(cache, "other") == ()
    note_known_good(cache, "other", refs)  # of which nothing came from the cache


@pytest.mark.parametrize("data", [b"", b"[", b"{}", b"[1]", b"\xff", b'[["../x", "y"]]', b"[" * 100_000])
def test_a_damaged_note_of_known_good_versions_is_none(cache: Cache, data: bytes) -> None:
    """It is read when other things are damaged already."""
    put(cache, "v1")
    (cache.root / "versions" / "yolo" / "known-good.json").write_bytes(data)
    assert known_good(cache, "yolo") == ()
