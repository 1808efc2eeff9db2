# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that the contract suites share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.intent_sources import Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One server of each kind of intent source; each test finds it running and empty."""
    servers = Servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.close()
