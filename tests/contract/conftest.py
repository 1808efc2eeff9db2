# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers and stores that the contract suites share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.intent_sources import WITH_LEASES, Backend, Servers
from tests.support.model_stores import KINDS, Store, open_store
from tests.support.s3_store import s3_server


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One server of each kind of intent source; each test finds it running and empty."""
    servers = Servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """One S3 server; started only if it is used."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty model store of each kind."""
    with open_store(request.param, tmp_path / "store", lambda: request.getfixturevalue("s3_endpoint")) as it:
        yield it


@pytest.fixture(params=WITH_LEASES)
def leasing(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Backend]:
    """Each kind that has leases."""
    made = servers.backend(request.param)
    yield made
    made.close()
