# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds for every test."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("honest", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("honest")

ORDER = ("unit", "contract", "oracle", "integration", "e2e")
"""Folders of tests, the quickest to tell first."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What fails soonest runs first; within a folder the order stays."""
    tests = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(tests).parts[0]
        return ORDER.index(folder) if folder in ORDER else len(ORDER)

    items.sort(key=place)
