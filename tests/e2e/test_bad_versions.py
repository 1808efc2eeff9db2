# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions that must not serve: refused with the reason, the worker that tried them gone, the line undisturbed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeagent.core.store_documents import Withdrawal
from edgeagent.store.remote import RemoteStore
from edgeagent.store.withdrawals import let_in, withdraw
from edgeagent.testing import children, wait_for
from tests.support import weights
from tests.support.line import CONVEYOR, NodeHarness, assert_seamless

SLOW_S = 250.0  # to try a network that takes long for each frame, beside a line


@contextmanager
def undisturbed(line: NodeHarness) -> Iterator[None]:
    """v1 serves before and after, by the same worker in the same epoch; whatever was started meanwhile is gone, but for
    the one worker that waits for the next version."""
    before = line.model()["active"], line.engine_pid("v1")
    yield
    assert (line.model()["active"], line.engine_pid("v1")) == before
    node = line.pid
    staying = {w["pid"] for kind in ("capture", "engine") for w in line.workers(kind)}
    assert len(staying) == 2

    def only_those_that_stay() -> bool:
        spares = [w["pid"] for w in line.workers("spare")]
        return len(spares) == 1 and set(children(node)) == {*staying, *spares}

    wait_for(only_those_that_stay, "the candidate's processes gone")
    line.promote("v1")
    line.wait_state("STABLE")
    line.wait_more(3)


def refused(line: NodeHarness, version: str, *reasons: str) -> dict[str, Any]:
    """Promote, and see it refused for these reasons, in status, history and metrics."""
    rejected = line.metric('edgeagent_swaps_total{model="yolo",result="rejected"}')
    before = len([r for r in line.history("rejected") if r["to_version"] == version])
    line.promote(version)
    record = line.wait_history("rejected", version, after=before)
    model = line.model()
    assert (model["aspired"], model["active"]["version"]) == (version, "v1")
    for reason in reasons:
        assert reason in record["why"]
        assert reason in model["last_error"]
    assert version in [r["version"] for r in model["rejected"]]
    line.wait_metric('edgeagent_swaps_total{model="yolo",result="rejected"}', rejected + 1)
    return record


def manifest(line: NodeHarness, version: str, **changes: Any) -> Path:
    """Publish a good version, then put a changed manifest over it; its path."""
    line.publish(version)
    path = line.store / "yolo" / version / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))
    return path


def weight_file(line: NodeHarness, version: str) -> Path:
    """The weights of a published version, in the store."""
    (found,) = (line.store / "yolo" / version).glob("*.onnx")
    return found


# -- the store does not hold what it should ------------------------------------------------------------


def broken_manifest(line: NodeHarness) -> None:
    """A manifest that ends in the middle."""
    manifest(line, "broken-manifest").write_text('{"schema": 1, ')


def file_missing(line: NodeHarness) -> None:
    """The manifest is there, the weights are not."""
    line.publish("file-missing")
    weight_file(line, "file-missing").unlink()


def bit_flipped(line: NodeHarness) -> None:
    """One bit of the weights is another."""
    line.publish("bit-flipped")
    path = weight_file(line, "bit-flipped")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "reasons"),
    [
        (lambda line: None, ["yolo/nowhere", "not in the store"]),
        (broken_manifest, ["manifest of yolo/broken-manifest", "not JSON"]),
        (file_missing, ["file yolo-file-missing-", ".onnx of yolo/file-missing", "does not have it"]),
        (bit_flipped, ["file yolo-bit-flipped-", "sha256"]),
    ],
    ids=lambda v: v.__name__.replace("<lambda>", "nowhere") if callable(v) else "",
)
def test_store_without_it(line: NodeHarness, make: Callable[[NodeHarness], None], reasons: list[str]) -> None:
    """What the store lacks, or holds otherwise than promised, is refused by file and reason: no version, no manifest,
    no file, another content. Every way to be wrong is in tests/unit/store/test_fetch.py."""
    make(line)
    with undisturbed(line):
        refused(
            line,
            reasons[0].rsplit("/", 1)[1] if "/" in reasons[0] else make.__name__.replace("_", "-"),
            *reasons,
        )


@pytest.mark.parametrize("damage", ["absent", "broken manifest", "wrong weights"])
def test_store_put_right_is_fetched_anew(line: NodeHarness, damage: str) -> None:
    """A refused version is tried again, without a new intent, when the store's content changes."""
    version = "repaired-" + damage.replace(" ", "-")
    whole = line.folder / version
    if damage != "absent":
        line.publish(version)
        shutil.copytree(line.store / "yolo" / version, whole)
        broken = (
            weight_file(line, version)
            if damage == "wrong weights"
            else line.store / "yolo" / version / "manifest.json"
        )
        broken.write_bytes(b"broken")
    refused(line, version)
    line.wait_more(3)
    if damage == "absent":
        line.publish(version)
    else:
        shutil.copyfile(whole / broken.name, broken)
    line.wait_served(version)
    line.swap_to("v1")


def test_a_withdrawn_version_is_refused_until_it_is_let_in(line: NodeHarness) -> None:
    """Before anything of it is fetched, and also when all of it is on the node; let in, it needs no new intent."""
    store = RemoteStore(str(line.store))
    line.publish("withdrawn")
    withdrawal = Withdrawal("finds no dents", "eve", "2026-11-29T12:00:00Z")
    withdraw(store, "yolo", "withdrawn", withdrawal)
    with undisturbed(line):
        record = refused(line, "withdrawn", "yolo/withdrawn: withdrawn: finds no dents (eve, 2026")
        assert list(record["stages"]) == ["fetching"]
    line.promote("withdrawn")
    line.wait_state("REJECTED")
    let_in(store, "yolo", "withdrawn")
    line.wait_served("withdrawn")
    line.swap_to("v1")
    withdraw(store, "yolo", "withdrawn", withdrawal)
    with undisturbed(line):
        refused(line, "withdrawn", "withdrawn: finds no dents")


def test_same_content_again_is_refused_once_more_and_no_more(line: NodeHarness) -> None:
    """The store's files have new dates and the old content: the quarantine by digest holds, without endless retries."""
    line.publish("nan", weights.nan_onnx(line.folder / "nan.onnx"))
    with undisturbed(line):
        first = refused(line, "nan", "gate smoke")
        weight_file(line, "nan").touch()
        again = line.wait_history("rejected", "nan", after=1)
        assert again["digest"] == first["digest"]
        assert "quarantined" in again["why"]
        line.wait_more(90)  # three times the period at which the store is looked at
        assert len([r for r in line.history("rejected") if r["to_version"] == "nan"]) == 2


# -- the weights themselves ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "build", "gate", "reasons"),
    [
        ("garbage", weights.garbage, "contract", ["not an ONNX model"]),
        ("headless", weights.headless_onnx, "contract", ["head"]),
        ("external", weights.external_data_onnx, "contract", ["external data"]),
        ("nans", weights.nan_onnx, "smoke", ["NaN"]),
        pytest.param(
            *("for-ever", weights.never_ending_onnx, "smoke", ["no sign of life for 30 s"]),
            marks=pytest.mark.soak,
        ),
        ("crash", weights.crashing_onnx, "smoke", ["SIGFPE"]),
        ("glutton", weights.memory_eating_onnx, "smoke", ["the limit is 400 MB"]),
    ],
)
def test_weights_refused_at_their_gate(
    line: NodeHarness, version: str, build: Callable[[Path], Path], gate: str, reasons: list[str]
) -> None:
    """Weights that don't load, never end, crash, eat memory or give no numbers: refused by the gate's name."""
    line.publish(version, build(line.folder / f"{version}.onnx"))
    with undisturbed(line):
        record = refused(line, version, f"gate {gate}", *reasons)
    assert record["digest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("version", "changes", "reasons"),
    [
        ("permuted", {"names": ("dent", "scratch", "label")}, ["the same names in another order", "'dent'"]),
    ],
)
def test_other_class_names_are_refused(
    line: NodeHarness, version: str, changes: dict[str, Any], reasons: list[str]
) -> None:
    """Class names that differ from those that serve, in content or order: the gate says which."""
    line.publish(version, **changes)
    with undisturbed(line):
        refused(line, version, "gate contract", *reasons)


def test_manifest_that_claims_the_right_names_is_found_out(line: NodeHarness) -> None:
    """The manifest says what is wanted, the weights say otherwise."""
    path = weights.detection_onnx(line.folder / "liar.onnx", names=("dent", "scratch", "label"))
    line.publish("liar", path)
    with undisturbed(line):
        refused(line, "liar", "gate contract", "the manifest", "the weights", "another order")


def test_other_task_is_refused(line: NodeHarness) -> None:
    """Weights of another task, under a manifest that says detect; and a manifest of another task."""
    line.publish("segments", weights.detection_onnx(line.folder / "segments.onnx", task="segment"))
    manifest(line, "classifies", task="classify")
    with undisturbed(line):
        refused(line, "segments", "gate contract", "segment")
        refused(line, "classifies", "task is 'classify'")


def test_quarantine_is_lifted_by_a_new_intent(line: NodeHarness) -> None:
    """Writing the key again, with the value that it has, tries the version again."""
    with undisturbed(line):
        refused(line, "nans", "gate smoke")
        refused(line, "nans", "gate smoke")


def test_no_frame_noticed(line: NodeHarness) -> None:
    """After all of that: every frame of the line was served once, in order, by versions that had earned it."""
    found = line.wait_more(3)
    assert_seamless(found)
    assert {r["version"] for r in found} <= {
        "v1",
        "repaired-absent",
        "repaired-broken-manifest",
        "repaired-wrong-weights",
        "withdrawn",  # until it was
    }


def test_what_cannot_hold_the_camera_s_rate_is_refused(harness: NodeHarness) -> None:
    """It would leave the line without most of its results; it may all the same if the operator wants it so."""
    harness.config["update"] |= {"gate_seconds": 600, "load_seconds": 600}
    harness.config["pipelines"][0]["source"] = {"url": CONVEYOR, "live": True}
    harness.publish("v1")
    harness.publish("slow", weights.never_ending_onnx(harness.folder / "slow.onnx", 100_000))
    harness.promote("v1")
    node = harness.start("v1")
    harness.wait_more(5)
    harness.promote("slow")
    harness.wait_state("REJECTED", timeout_s=SLOW_S)
    assert "allow_slow" in node.model()["last_error"]
    assert node.active() == "v1"
    harness.promote('{"version": "slow", "allow_slow": true}')
    node.wait_active("slow", timeout_s=SLOW_S)


def test_new_contract_on_the_operators_word(harness: NodeHarness) -> None:
    """`allow_new_contract` lets other class names in; roll-back brings the old ones back without it."""
    harness.publish("v1")
    harness.publish("new-names", names=("torn", "dent", "label"))
    harness.promote("v1")
    node = harness.start("v1")
    harness.wait_state("STABLE")
    harness.promote('{"version": "new-names", "allow_new_contract": true, "by": "Kim"}')
    found = harness.wait_served("new-names")
    assert found[-1]["detections"][0]["name"] == "torn"
    assert node.post("/rollback")[0] == 200
    assert harness.wait_served("v1")[-1]["detections"][0]["name"] == "scratch"
