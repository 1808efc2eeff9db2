# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prune` on a store in a folder, beside a config store in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.cli.main import main
from edgeagent.core.fleet_report import Report
from edgeagent.store.remote import RemoteStore
from edgeagent.store.removal import begin_removal
from tests.support.fleet_keys import says
from tests.support.memory_store import MemoryStore
from tests.support.published import publish_bytes

OLD = "2020-01-01T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """yolo/v1 to v5, all of them old."""
    folder = str(tmp_path / "store")
    for n in range(1, 6):
        publish_bytes(folder, f"v{n}", f"{n}".encode(), tmp_path, created=OLD)
    return folder


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """v5 is `current`, v3 serves on a node that is away."""
    keys = MemoryStore()
    monkeypatch.setattr("edgeagent.intent.url.open_store", lambda url, access: keys)
    keys.put("/models/yolo/current", b"v5")
    says(keys, "n1", Report("v3"))
    return keys


def prune(capsys: pytest.CaptureFixture[str], store: str, *args: str) -> tuple[int, list[str], str]:
    """The exit code, the lines on stdout, and what is on stderr."""
    code = main(["prune", "yolo", "--store", store, *args])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


FLEET = ("--config-store", "etcd://fleet", "--keep", "1")


def test_what_nobody_needs_goes(store: str, keys: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before it is done, with why the others stay; done once."""
    assert main(["tag", "yolo", "v2", "stable", "--store", store]) == 0
    capsys.readouterr()
    code, dry, err = prune(capsys, store, *FLEET, "--dry-run")
    assert (code, err) == (0, "")
    assert dry == [
        "yolo/v1: would go, created 2020-01-01T00:00:00Z, 0.0 MB",
        "yolo/v2: stays, tagged stable",
        "yolo/v3: stays, serves on n1",
        "yolo/v4: would go, created 2020-01-01T00:00:00Z, 0.0 MB",
        "yolo/v5: stays, current; among the newest",
        "2 of 5 versions would be removed, 0.0 MB",
    ]
    remote = RemoteStore(store)
    assert len(remote.versions("yolo")) == 5
    code, done, _ = prune(capsys, store, *FLEET)
    assert (code, done[-1]) == (0, "2 of 5 versions removed, 0.0 MB")
    assert remote.versions("yolo") == ["v2", "v3", "v5"]
    assert sorted(path.name for path in Path(store, "yolo").iterdir()) == ["_tags", "v2", "v3", "v5"]
    assert prune(capsys, store, *FLEET)[1][-1] == "0 of 3 versions removed, 0.0 MB"


def test_by_default_little_goes(store: str, keys: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """The ten newest stay, and what is younger than a month."""
    assert prune(capsys, store, *FLEET[:2])[1][-1].startswith("0 of 5 versions")
    assert prune(capsys, store, *FLEET, "--younger", "100000")[1][-1].startswith("0 of 5 versions")


def test_whose_nodes_are_to_be_asked_must_be_said(
    store: str, keys: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or that none are; not both, and not nothing. All never go."""
    code, _, err = prune(capsys, store)
    assert code == 2
    assert "it can't be known which versions nodes serve; give --config-store URL, or --without" in err
    assert prune(capsys, store, *FLEET, "--without-config-store")[0] == 2
    assert prune(capsys, store, "--without-config-store", "--keep", "0")[0] == 2
    code, out, _ = prune(capsys, store, "--without-config-store", "--keep", "1")
    assert (code, out[-1][:6]) == (0, "4 of 5")
    assert RemoteStore(store).versions("yolo") == ["v5"]


def test_in_a_folder_nodes_say_nothing(
    store: str, keys: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """What isn't known is said."""
    code, _, err = prune(capsys, store, "--config-store", "file:///keys", "--dry-run")
    assert code == 0
    assert "warning: config store file:///keys: nodes don't say in a folder what they serve" in err


def test_what_cannot_be_read_stops_it(
    store: str, keys: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tag, a key: each might name any version. A broken version stays."""
    keys.put("/models/yolo/pins/n7", b"{")
    code, _, err = prune(capsys, store, *FLEET)
    assert code == 1
    assert "key /models/yolo/pins/n7" in err
    keys.put("/models/yolo/pins/n7", b"v4")
    tags = Path(store, "yolo/_tags")
    tags.mkdir()
    (tags / "half.json").write_text("{")
    assert prune(capsys, store, *FLEET)[0] == 1
    (tags / "half.json").unlink()
    Path(store, "yolo/v1/manifest.json").write_text("{")
    _, out, _ = prune(capsys, store, *FLEET)
    assert out[0].startswith("yolo/v1: stays, broken, so it can't be known what is to be removed")
    assert RemoteStore(store).versions("yolo") == ["v1", "v3", "v4", "v5"]


def test_what_was_interrupted_is_gone_on_with(
    store: str, keys: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when nothing else is to be removed; what can't be is said."""
    begin_removal(RemoteStore(store), "yolo", "v4")
    Path(store, "yolo/_removed/v0.json").write_text("{")
    dry = prune(capsys, store, "--config-store", "etcd://fleet", "--dry-run")
    assert "yolo/v4: its removal was interrupted, and would be brought to its end" in dry[1]
    assert Path(store, "yolo/v4").is_dir()
    code, _, err = prune(capsys, store, "--config-store", "etcd://fleet")
    assert code == 0
    assert "warning: removal of yolo/v0: " in err
    assert not Path(store, "yolo/v4").exists()
