# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sources that are absent, go, come back, end, or hold what can't be read: said, retried, and no other line notices."""

from __future__ import annotations

from typing import Any

import cv2

from edgeagent.testing import wait_for
from tests.support import films
from tests.support.line import CONVEYOR, PIPELINE, NodeHarness, assert_seamless
from tests.support.mjpeg import MjpegCamera


def pipeline(harness: NodeHarness, name: str = PIPELINE) -> dict[str, Any]:
    """One pipeline's part of the status."""
    status: dict[str, Any] = harness.status()["pipelines"][name]
    return status


def wait_source(harness: NodeHarness, state: str, name: str = PIPELINE) -> dict[str, Any]:
    """Until the source is in this state; its pipeline's part of the status."""

    def look() -> dict[str, Any] | None:
        status = pipeline(harness, name)
        return status if status["state"] == state else None

    return wait_for(look, f"source {state}")


def test_camera_absent_then_there_then_gone_then_back(harness: NodeHarness) -> None:
    """An MJPEG camera that comes and goes: its state and metric follow, and the other line loses nothing."""
    up = f'edgeagent_pipeline_up{{pipeline="{PIPELINE}"}}'
    camera = MjpegCamera()
    camera.start()
    camera.stop()  # its port is known now, and nobody listens there
    harness.config["pipelines"][0]["source"] = {"url": camera.url, "stall_seconds": 5}
    harness.add_pipeline("line-2", "yolo", {"url": CONVEYOR, "live": False})
    harness.publish("v1")
    harness.promote("v1")
    node = harness.start("v1")
    absent = wait_source(harness, "absent")
    assert "cannot connect" in absent["why"]
    harness.wait_more(10, "line-2")
    harness.wait_metric(up, 0)
    assert not node.is_ready()
    with camera:
        wait_source(harness, "running")
        harness.wait_more(10)
        harness.wait_metric(up, 1)
    wait_source(harness, "lost")
    harness.wait_metric(up, 0)
    with camera:
        wait_source(harness, "running")
        found = harness.wait_more(10)
        assert [r["seq"] for r in found] == sorted({r["seq"] for r in found})
        assert {r["version"] for r in found} == {"v1"}
        other = harness.wait_more(5, "line-2")
    assert_seamless(other)
    assert pipeline(harness, "line-2")["dropped"] == 0


def test_files_end_and_unreadable_images_are_counted(harness: NodeHarness) -> None:
    """A film that ends, and a folder with a broken image, beside a line that knows nothing of it."""
    film = films.video(harness.folder / "film.mp4", 20)
    folder = films.folder(harness.folder / "images", 12)
    (folder / "part 5.png").write_bytes(b"no picture")
    harness.config["pipelines"][0]["source"] = {"url": str(film)}
    harness.add_pipeline("images", "yolo", {"url": str(folder)})
    (harness.folder / "uploads").mkdir()
    harness.add_pipeline("uploads", "yolo", {"url": str(harness.folder / "uploads"), "watch": True})
    harness.add_pipeline("line-2", "yolo", {"url": CONVEYOR, "live": False})
    harness.publish("v1")
    harness.promote("v1")
    node = harness.start("v1")
    ended = wait_source(harness, "ended")
    assert "20 frames" in ended["why"]
    assert_seamless(harness.wait_records(lambda r: len(r) == 20, "the whole film"))
    wait_source(harness, "ended", "images")
    found = harness.wait_records(lambda r: len(r) == 11, "the images that can be read", "images")
    assert [r["seq"] for r in found] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    status = pipeline(harness, "images")
    assert status["dropped_by"] == {"unreadable": 1}
    assert "part 5.png" in status["last_error"]
    harness.wait_metric('edgeagent_frames_dropped_total{pipeline="images",reason="unreadable"}', 1)
    assert_seamless(harness.wait_more(10, "line-2"))
    wait_source(harness, "waiting", "uploads")
    assert node.is_ready()


def test_folder_that_comes_later_and_live_source_under_a_slow_model(harness: NodeHarness) -> None:
    """A folder that isn't there yet is waited for, and so are pictures that come into it later; a live source faster
    than the model drops, counts, goes on."""
    from tests.support.weights import never_ending_onnx

    folder = harness.folder / "images"
    harness.config["pipelines"][0]["source"] = {"url": str(folder), "watch": True, "stall_seconds": 2}
    harness.add_pipeline("live", "slow", {"url": CONVEYOR})
    harness.publish("v1")
    harness.publish("slow", never_ending_onnx(harness.folder / "slow.onnx", 100_000), model="slow")
    harness.promote("v1")
    harness.promote("slow", "slow")
    node = harness.start("v1")
    absent = wait_source(harness, "absent")
    assert str(folder) in absent["why"]
    films.folder(folder, 3)
    assert_seamless(harness.wait_records(lambda r: len(r) == 3, "the images"))
    wait_source(harness, "waiting")
    assert cv2.imwrite(str(folder / "later.png"), films.picture(3))
    assert_seamless(harness.wait_records(lambda r: len(r) == 4, "the image that came later"))
    node.wait_active("slow", "slow")
    found = harness.wait_more(10, "live")
    seqs = [r["seq"] for r in found]
    assert seqs == sorted(set(seqs))
    wait_for(lambda: pipeline(harness, "live")["dropped_by"].get("busy"), "dropped frames counted")
    node.stop()
    found = harness.records("live")
    assert found[-1]["seq"] >= len(found)  # a dropped frame leaves a gap
