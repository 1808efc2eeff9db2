# SPDX-License-Identifier: AGPL-3.0-or-later
"""What versions of the pretended fleet come to, by their names."""

from __future__ import annotations

import pytest

from bench.fleet_crowd import labels_of, node_name
from bench.fleet_engine import FAILS, REFUSED, fate

NODES = [node_name(number) for number in range(1000)]


@pytest.mark.parametrize(("version", "kind", "least", "most"), [
    ("v2", "", 1000, 1000),
    ("v4-fails", FAILS, 1000, 1000),
    ("v4-40-refused", REFUSED, 350, 450),
    ("v4-1-fails", FAILS, 1, 30),
])  # fmt: skip
def test_a_name_says_what_it_comes_to(version: str, kind: str, least: int, most: int) -> None:
    """On all nodes, or about so many in a hundred, and the others are well."""
    fates = [fate(version, node) for node in NODES]
    assert least <= fates.count(kind) <= most
    assert set(fates) <= {kind, ""}


def test_on_a_node_it_is_always_the_same() -> None:
    """A node that tries it again finds no other result."""
    assert [fate("v4-40-refused", node) for node in NODES] == [fate("v4-40-refused", node) for node in NODES]


def test_every_line_has_nodes() -> None:
    """For selectors."""
    assert {labels_of(node)["line"] for node in NODES} == set("abcdefgh")
