# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent evaluate` and `publish --golden`, typed in a shell: real weights, in a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.core.model import parse_manifest
from edgeagent.store.cache import Cache, golden_files
from edgeagent.store.fetch import fetch_version
from edgeagent.store.remote import RemoteStore
from tests.support.golden import golden_set
from tests.support.weights import detection_onnx, nan_onnx


def edgeagent(*args: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "edgeagent", *map(str, args)]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Beside how far it is, which is said where it takes long."""
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose object the weights find; made once."""
    return golden_set(tmp_path_factory.mktemp("golden") / "set", 20, 0)


def test_good_weights_pass_with_all_figures(data: Path, tmp_path: Path) -> None:
    """As JSON for a pipeline."""
    weights = detection_onnx(tmp_path / "w.onnx")
    done = edgeagent("evaluate", weights, "--golden", data, "--against", weights, "--json")
    assert (done.returncode, errors(done)) == (0, [])
    found = json.loads(done.stdout)
    assert (found["passed"], found["reasons"], found["pictures"]) == (True, [], 20)
    assert found["classes"][0] | {"recall": 1.0} == found["classes"][0]
    assert (found["compared"]["lost"], found["compared"]["p_value"]) == (0, 1.0)
    assert found["precision"]["map50"] == pytest.approx(1.0)
    assert (found["objects_needed"], found["unseen"], found["limits"]["min_recall"]) == (
        12,
        ["dent", "label"],
        0.3,
    )


def test_blind_weights_are_refused_in_words(data: Path, tmp_path: Path) -> None:
    """As a table for people; exit code 1."""
    good, blind = detection_onnx(tmp_path / "v1.onnx"), detection_onnx(tmp_path / "v2.onnx", boxes=())
    done = edgeagent("evaluate", blind, "--golden", data / "data.yaml", "--against", good)
    assert done.returncode == 1
    assert "scratch" in done.stdout
    assert "refused: class 'scratch': 0 of 20 objects found, recall 0 is below min_recall 0.3" in done.stdout
    assert "20 of 20 objects lost that the active version finds" in done.stdout


def test_thresholds_confidence_and_what_is_wrong(data: Path, tmp_path: Path) -> None:
    """Exit code 2, and one line that says why; the confidence is the pipeline's."""
    weights = detection_onnx(tmp_path / "w.onnx")
    assert edgeagent("evaluate", weights, "--golden", data, "--confidence", "0.95").returncode == 1
    picture = golden_set(tmp_path / "broken", 20, 0) / "images/0007.png"
    picture.write_text("no picture")
    for args, why in (
        (("--golden", tmp_path / "nowhere"), "is not there"),
        (("--golden", picture.parent.parent), "0007.png: can't be opened as a picture"),
        (("--golden", data, "--threshold", "min_recal=0.9"), "--threshold min_recal:"),
        (("--golden", data, "--threshold", "min_recall=2"), "--threshold min_recall:"),
        (
            ("--golden", golden_set(tmp_path / "other", 20, 0, names=("hole",))),
            "the set names 'hole', the version",
        ),
    ):
        done = edgeagent("evaluate", weights, *args)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        (error,) = errors(done)
        assert why in error


def test_weights_that_give_no_numbers(data: Path, tmp_path: Path) -> None:
    """They fail: nothing is wrong with what was typed."""
    done = edgeagent("evaluate", nan_onnx(tmp_path / "nan.onnx"), "--golden", data)
    assert done.returncode == 1
    assert len(errors(done)) == 1


def test_what_is_published_is_what_a_node_has(data: Path, tmp_path: Path) -> None:
    """Every file of the set, by its path, beside the weights."""
    weights, store = detection_onnx(tmp_path / "w.onnx"), tmp_path / "store"
    args = ("publish", weights, "--model", "yolo", "--version", "v1", "--store", store)
    done = edgeagent(*args, "--golden", data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("golden set: 20 pictures, 20 objects\npublished yolo/v1")
    remote = RemoteStore(str(store))
    assert len(parse_manifest(remote.read_manifest("yolo", "v1"), "yolo", "v1").golden) == 41
    cached = fetch_version(remote, Cache(tmp_path / "cache"), "yolo", "v1", lambda progress: None)
    files = golden_files(cached.verified)
    assert set(files) == {"data.yaml"} | {
        f"{kind}/{n:04}.{suffix}"
        for n in range(20)
        for kind, suffix in (("images", "png"), ("labels", "txt"))
    }
    assert all(path.is_file() for path in files.values())
    assert len(cached.verified.golden) == 20


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("pictures alone", "has neither data.yaml nor images/"),
        ("other classes", "the set names 'hole', the weights 'scratch', 'dent', 'label'"),
        ("no labels", "has no labels: all are empty"),
        ("broken picture", "0003.png: can't be opened as a picture"),
    ],
)
def test_a_wrong_set_is_not_published(tmp_path: Path, kind: str, why: str) -> None:
    """Before anything is in the store."""
    names = ("hole",) if kind == "other classes" else ("scratch", "dent", "label")
    made = golden_set(tmp_path / "set", 20, 0, names=names, text="" if kind == "no labels" else None)
    if kind == "broken picture":
        (made / "images/0003.png").write_text("no picture")
    weights, store = detection_onnx(tmp_path / "w.onnx"), tmp_path / "store"
    args = ("publish", weights, "--model", "yolo", "--version", "v1", "--store", store)
    done = edgeagent(*args, "--golden", made / "images" if kind == "pictures alone" else made)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert not list(tmp_path.glob("store/*"))
