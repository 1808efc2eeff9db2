# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mistakes of the machine that `doctor` finds: state folder, limits, node id, proxies, packages."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeagent.cli.doctor import examine_with, state
from edgeagent.cli.doctor.checks import CHECKS, Check
from edgeagent.cli.doctor.finding import Finding
from tests.support.examinations import GB, an_examination, at, found, on, only

QUIET = (
    "state-kept", "state-lock", "node-id", "locale", "open-files", "memory", "unit", "secret-files", "token",
    "clear-text", "proxy", "node-id-taken", "opencv", "onnxruntime-builds", "torch", "gpu", "weights",
    "shared-memory", "certificate", "config-store-certificate", "golden", "notify",
)  # fmt: skip


def test_names_are_unique_and_described() -> None:
    """docs/troubleshooting.md has a row for each."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) >= 30
    page = (Path(__file__).parents[4] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert [name for name in names if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("check", QUIET)
def test_a_good_machine_is_left_in_peace(tmp_path: Path, check: str) -> None:
    """What is well is worth no warning."""
    assert found(an_examination(tmp_path), check) == []


def test_a_check_that_fails_stops_no_other(tmp_path: Path) -> None:
    """It is said, and the next one is made."""

    def fails(_: object) -> Any:
        raise KeyError("x")

    well = Check("well", lambda _: iter([Finding("ok", "x", "well")]))
    names = [
        (name, f.level) for name, f in examine_with(an_examination(tmp_path), [Check("broken", fails), well])
    ]
    assert names == [("broken", "FAIL"), ("well", "ok")]


def test_no_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is worth a warning, next to nothing a failure."""
    x = an_examination(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=GB))
    assert only(x, "disk-room").level == "warn"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=50 << 20))
    assert only(x, "disk-room").level == "FAIL"


@pytest.mark.parametrize(
    ("kind", "says"), [("tmpfs", "is in memory"), ("nfs4", "network"), ("overlay", "container")]
)
def test_a_disk_that_keeps_nothing(tmp_path: Path, kind: str, says: str) -> None:
    """The innermost mount counts."""
    x = an_examination(tmp_path)
    mounts = f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:1 / {tmp_path} rw shared:2 - {kind} x rw\n"
    at(x, "proc/self/mountinfo", mounts)
    assert says in only(x, "state-kept").text


def test_two_nodes_on_one_folder(tmp_path: Path) -> None:
    """Another process has the lock: another node, unless it was started with this very configuration."""
    x = an_examination(tmp_path)
    x.file = tmp_path / "edgeagent.yaml"
    with (x.config.node.state_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert only(x, "state-lock").level == "warn"  # whose it is can't be told
        about = os.fstat(lock.fileno())
        place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
        at(
            x,
            "proc/locks",
            f"1: POSIX ADVISORY READ 7 00:00:1 0 EOF\n2: FLOCK ADVISORY WRITE 4711 {place} 0 EOF\n",
        )
        at(x, "proc/4711/cmdline", "\0".join(["edgeagent", "run", "--config", "/etc/other.yaml", ""]))
        finding = only(x, "state-lock")
        assert (finding.level, "4711" in finding.text, "/etc/other.yaml" in finding.text) == (
            "FAIL",
            True,
            True,
        )
        at(x, "proc/4711/cmdline", "\0".join(["edgeagent", "run", f"--config={x.file}", ""]))
        assert found(x, "state-lock") == []
        assert x.is_running


def test_a_slow_disk(tmp_path: Path) -> None:
    """By how long a small write takes."""
    ticks = count(0.0, 0.4)
    (finding,) = state.speed(an_examination(tmp_path), clock=lambda: next(ticks))
    assert (finding.level, "400.0 ms" in finding.text) == ("warn", True)


@pytest.mark.parametrize("name", ["localhost", "raspberrypi", "Ubuntu.fritz.box"])
def test_an_id_that_anybody_has(tmp_path: Path, name: str) -> None:
    """The name that a system comes with says nothing."""
    assert "node.id" in only(an_examination(tmp_path, node={"id": name}), "node-id").todo


def test_an_id_that_another_node_has(tmp_path: Path) -> None:
    """It stands in the config store while none runs here; or both say so."""
    x = an_examination(tmp_path)
    x.presence = json.dumps({"instance": "ab", "status_url": "http://press-13:8080/api/status"}).encode()
    assert "http://press-13:8080" in only(x, "node-id-taken").text
    x.presence = b'{"conflict": true}'
    assert only(x, "node-id-taken").level == "FAIL"
    x.presence = b"\xff"
    assert only(x, "node-id-taken").level == "warn"


def test_too_few_files(tmp_path: Path) -> None:
    """By what the pipelines and models of the node may need."""
    x = an_examination(tmp_path, {"open_files": lambda: 256})
    assert "LimitNOFILE" in only(x, "open-files").todo
    assert found(on(x, open_files=lambda: -1), "open-files") == []  # no limit


def test_too_little_memory(tmp_path: Path) -> None:
    """For two versions of each model; and a limit beyond what the machine has protects nobody."""
    x = an_examination(tmp_path, {"memory": lambda: (16 * GB, GB // 2)})
    assert only(x, "memory").subject == "memory"
    assert only(on(x, memory=lambda: (2 * GB, 2 * GB)), "memory").subject == "engine.memory_limit_mb"


def test_no_room_for_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where frames have to lie in /dev/shm, which is small in a container."""
    x = an_examination(tmp_path, {"has_memfd": lambda: False})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=64 << 20))
    x.sizes["line-1"] = (3840, 2160)
    assert "--shm-size" in only(x, "shared-memory").todo
    x.sizes["line-1"] = (320, 192)
    assert found(x, "shared-memory") == []


def test_an_encoding_that_knows_few_characters(tmp_path: Path) -> None:
    """Names of files may have any."""
    assert "C.UTF-8" in only(an_examination(tmp_path, {"encoding": "ascii"}), "locale").todo


@pytest.mark.parametrize(
    ("no_proxy", "caught"),
    [
        ("", ["model store", "source of line-1"]),
        ("10.0.0.0/8", ["model store"]),
        ("*", []),
        ("store.lan,10.0.0.9", []),
    ],
)
def test_a_proxy_that_catches_the_own_network(tmp_path: Path, no_proxy: str, caught: list[str]) -> None:
    """Model store and camera are near, and would be asked through it; its password isn't shown."""
    environ = {
        "HTTP_PROXY": "http://me:secret@proxy:3128",
        "https_proxy": "http://proxy:3128",
        "NO_PROXY": no_proxy,
    }
    source = {"url": "http://10.0.0.9/mjpg"}
    x = an_examination(
        tmp_path,
        {"environ": environ},
        model_store={"url": "https://store.lan/models"},
        pipelines=[{"name": "line-1", "model": "yolo", "source": source}],
    )
    findings = found(x, "proxy")
    assert [f.subject for f in findings] == caught
    assert "secret" not in str(findings)


def test_packages_over_each_other(tmp_path: Path) -> None:
    """Two builds of OpenCV, two of ONNX Runtime: the remedy names what is wanted here."""
    installed = {"opencv-python", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu"}
    x = an_examination(
        tmp_path,
        {"version": lambda name: "1" if name in installed else None},
        engine={"device": "cuda"},
    )
    assert only(x, "opencv").todo.endswith("pip install opencv-python")
    assert only(x, "onnxruntime-builds").todo.endswith("pip install onnxruntime-gpu")


@pytest.mark.parametrize(
    ("torch", "torchvision", "needs", "level"),
    [
        ("2.14.1", "0.29.2", "torch==2.15.0", "FAIL"),
        ("2.15.0+cpu", "0.29.2", "torch==2.15.0", "warn"),
        ("2.15.0", None, "", "warn"),
        ("2.15.0+cu128", "0.29.2+cu128", "torch==2.15.0", None),
        ("2.15.0", "0.29.2", "torch (==2.15.0)", None),
        (None, None, "", None),
    ],
)
def test_torch_and_torchvision(
    tmp_path: Path, torch: str | None, torchvision: str | None, needs: str, level: str | None
) -> None:
    """The one is made for one release of the other, and for the same devices; a lean install has neither."""
    versions = {"torch": torch, "torchvision": torchvision}
    x = an_examination(tmp_path, {"version": versions.get, "requires": lambda name: ["numpy", needs]})
    assert [f.level for f in found(x, "torch")] == ([level] if level else [])
