# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sources that are absent, go, come back, end, or hold what can't be read: said, retried, and no other line notices."""

from __future__ import annotations

from typing import Any

from tests.support import films
from tests.support.line import CONVEYOR, PIPELINE, Factory, assert_seamless
from tests.support.mjpeg import MjpegCamera
from tests.support.node import wait_for


def pipeline(factory: Factory, name: str = PIPELINE) -> dict[str, Any]:
    """One pipeline's part of the status."""
    status: dict[str, Any] = factory.node.status()["pipelines"][name]
    return status


def wait_source(factory: Factory, state: str, name: str = PIPELINE) -> dict[str, Any]:
    """Until the source is in this state; its pipeline's part of the status."""

    def look() -> dict[str, Any] | None:
        status = pipeline(factory, name)
        return status if status["state"] == state else None

    return wait_for(look, f"source {state}")


def test_camera_absent_then_there_then_gone_then_back(factory: Factory) -> None:
    """An MJPEG camera that comes and goes: its state and metric follow, and the other line loses nothing."""
    up = f'edgeagent_pipeline_up{{pipeline="{PIPELINE}"}}'
    camera = MjpegCamera()
    camera.start()
    camera.stop()  # its port is known now, and nobody listens there
    factory.config["pipelines"][0]["source"] = {"url": camera.url, "stall_seconds": 5}
    factory.add_pipeline("line-2", "yolo", {"url": CONVEYOR, "live": False})
    factory.publish("v1")
    factory.promote("v1")
    node = factory.start("v1")
    absent = wait_source(factory, "absent")
    assert "cannot connect" in absent["why"]
    factory.wait_more(10, "line-2")
    assert factory.metric(up) == 0
    assert not node.is_ready()
    with camera:
        wait_source(factory, "running")
        factory.wait_more(10)
        wait_for(lambda: factory.metric(up) == 1, "shown as up")
    wait_source(factory, "lost")
    wait_for(lambda: factory.metric(up) == 0, "shown as down")
    with camera:
        wait_source(factory, "running")
        found = factory.wait_more(10)
        assert [r["seq"] for r in found] == sorted({r["seq"] for r in found})
        assert {r["version"] for r in found} == {"v1"}
        other = factory.wait_more(5, "line-2")
    assert_seamless(other)
    assert pipeline(factory, "line-2")["dropped"] == 0


def test_files_end_and_unreadable_images_are_counted(factory: Factory) -> None:
    """A film that ends, and a folder with a broken image, beside a line that knows nothing of it."""
    film = films.video(factory.folder / "film.mp4", 20)
    folder = films.folder(factory.folder / "images", 12)
    (folder / "part 5.png").write_bytes(b"no picture")
    factory.config["pipelines"][0]["source"] = {"url": str(film)}
    factory.add_pipeline("images", "yolo", {"url": str(folder)})
    factory.add_pipeline("line-2", "yolo", {"url": CONVEYOR, "live": False})
    factory.publish("v1")
    factory.promote("v1")
    node = factory.start("v1")
    ended = wait_source(factory, "ended")
    assert "20 frames" in ended["why"]
    assert_seamless(factory.wait_records(lambda r: len(r) == 20, "the whole film"))
    wait_source(factory, "ended", "images")
    found = factory.wait_records(lambda r: len(r) == 11, "the images that can be read", "images")
    assert [r["seq"] for r in found] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    status = pipeline(factory, "images")
    assert status["dropped_by"] == {"unreadable": 1}
    assert "part 5.png" in status["last_error"]
    assert factory.metric('edgeagent_frames_dropped_total{pipeline="images",reason="unreadable"}') == 1
    assert_seamless(factory.wait_more(10, "line-2"))
    assert node.is_ready()


def test_folder_that_comes_later_and_live_source_under_a_slow_model(factory: Factory) -> None:
    """A folder that isn't there yet is waited for; a live source faster than the model drops, counts, goes on."""
    from tests.support.weights import never_ending_onnx

    folder = factory.folder / "images"
    factory.config["pipelines"][0]["source"] = {"url": str(folder)}
    factory.add_pipeline("live", "slow", {"url": CONVEYOR})
    factory.publish("v1")
    factory.publish("slow", never_ending_onnx(factory.folder / "slow.onnx", 100_000), model="slow")
    factory.promote("v1")
    factory.promote("slow", "slow")
    node = factory.start("v1")
    absent = wait_source(factory, "absent")
    assert str(folder) in absent["why"]
    films.folder(folder, 3)
    assert_seamless(factory.wait_records(lambda r: len(r) == 3, "the images"))
    node.wait_active("slow", "slow")
    found = factory.wait_more(10, "live")
    seqs = [r["seq"] for r in found]
    assert seqs == sorted(set(seqs))
    wait_for(lambda: pipeline(factory, "live")["dropped_by"].get("busy"), "dropped frames counted")
    node.stop()
    found = factory.records("live")
    assert found[-1]["seq"] >= len(found)  # a dropped frame leaves a gap
