# SPDX-License-Identifier: AGPL-3.0-or-later
"""Snapshots are untrusted: none is taken in part, and none is written that couldn't be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.core import snapshot as module
from edgeagent.core.snapshot import Snapshot, encode_snapshot, parse_snapshot, snapshot_path
from edgeagent.core.state import VersionRef
from edgeagent.errors import IntegrityError, UsageError

REF = VersionRef("v7", f"sha256:{'a' * 64}")
SNAPSHOT = Snapshot("monday", "2026-11-29T12:00:00Z", "eve", {"press-1": {"yolo": REF}})
GOOD: dict[str, Any] = json.loads(encode_snapshot(SNAPSHOT))


def test_it_comes_back_as_it_was() -> None:
    """Keys that a newer release adds are passed over."""
    assert parse_snapshot(json.dumps(GOOD | {"more": 1}).encode(), "monday") == SNAPSHOT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "tuesday"}, "of another name"),
        ({"nodes": []}, "nodes are no object"),
        ({"nodes": {"../x": {}}}, r"node '\.\./x' is not a valid name"),
        ({"nodes": {"press-1": []}}, "serves is no object"),
        ({"nodes": {"press-1": {"a/b": {"version": "v7", "digest": ""}}}}, "model 'a/b'"),
        ({"nodes": {"press-1": {"yolo": "v7"}}}, "no object with version and digest"),
        ({"nodes": {"press-1": {"yolo": {"version": "@stable", "digest": ""}}}}, "version '@stable'"),
        ({"nodes": {"press-1": {"yolo": {"version": "v7", "digest": None}}}}, "digest of v7"),
        ({"by": None}, "by is not text"),
        ({"schema": "1"}, "schema is '1'"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], said: str) -> None:
    """With the snapshot's name."""
    with pytest.raises(IntegrityError, match=f"snapshot monday: .*{said}"):
        parse_snapshot(json.dumps(GOOD | change).encode(), "monday")


def test_one_that_is_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """For nobody could read it."""
    monkeypatch.setattr(module, "MAX_SNAPSHOT_BYTES", 100)
    with pytest.raises(UsageError, match="larger than 100 bytes"):
        encode_snapshot(SNAPSHOT)


def test_its_name_stays_in_the_store() -> None:
    """It is a file's."""
    with pytest.raises(UsageError, match=r"snapshot '\.\./x'"):
        snapshot_path("../x")
