# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a worker gets of the node's environment."""

from __future__ import annotations

from pathlib import Path

from edgeagent.update.worker_task import program_for
from edgeagent.workers.environment import CAMERAS, COMMON, MORE, RUNTIMES, STORES, worker_environment
from edgeagent.workers.tasks.prepare import (
    FetchVersion,
    FindWithdrawn,
    Fingerprint,
    InspectWeights,
    StoreAccess,
)

NODE = {
    "PATH": "/bin",
    "LC_ALL": "C.UTF-8",
    "LD_LIBRARY_PATH": "/opt/cuda/lib64",
    "PYTHONPATH": "/plug-ins",
    "EDGEAGENT_CONFIG_STORE__PASSWORD_FILE": "/secret",
    "DATABASE_PASSWORD": "x",
    "AWS_SECRET_ACCESS_KEY": "y",
    "HTTPS_PROXY": "http://me:z@proxy",
    "https_proxy": "http://me:z@proxy",
    "CUDA_VISIBLE_DEVICES": "0",
    "OMP_NUM_THREADS": "2",
    "NOTIFY_SOCKET": "/run/systemd/notify",
}
ANY = {"PATH", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH"}


def test_by_name_and_by_what_it_does() -> None:
    """Credentials and proxies only for who fetches; what is named nowhere, for nobody."""
    assert set(worker_environment((), NODE)) == ANY
    assert set(worker_environment(CAMERAS, NODE)) == ANY
    assert set(worker_environment(RUNTIMES, NODE)) == ANY | {"CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"}
    fetch = worker_environment(STORES, NODE)
    assert set(fetch) == ANY | {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "https_proxy"}
    assert fetch["HTTPS_PROXY"] == NODE["HTTPS_PROXY"]


def test_the_operator_can_name_more() -> None:
    """For a plug-in that reads one of its own."""
    assert "MINE_A" in worker_environment((), {"MINE_A": "1", "YOURS": "2", MORE: "OTHER MINE_*"})


def test_each_kind_of_worker_has_its_names() -> None:
    """The one that opens weights has no credentials, the one that has them opens no weights."""
    store = StoreAccess("file:///store", {}, 1.0)
    assert program_for(Fingerprint(store, "m", "v")).variables == STORES
    assert program_for(FetchVersion(store, Path("/c"), "m", "v", "", False)).variables == STORES
    assert program_for(FindWithdrawn(store, (("m", "v"),))).variables == STORES
    assert program_for(InspectWeights(Path("/w"))).variables == RUNTIMES
    assert not {*RUNTIMES, *CAMERAS, *COMMON} & {"AWS_*", "https_proxy", "*"}
