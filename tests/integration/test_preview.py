# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a pipeline shows over HTTP: a real ring, a real worker, a real server and clients that read or don't."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edgeagent.config.preview import PreviewConfig
from edgeagent.observe.metrics import Metrics
from edgeagent.serving import preview as preview_module
from edgeagent.serving.preview import Previews
from edgeagent.serving.tap import TAP_FRAMES, Tap
from edgeagent.web import preview_routes
from edgeagent.web.app import create_app
from edgeagent.web.preview_routes import add_previews
from edgeagent.web.server import ApiServer
from edgeagent.workers.bootstrap import LEAST_NICE
from edgeagent.workers.colours import colour_of
from tests.support.ring_camera import Camera, until
from tests.support.sinks import record

MJPG, JPG = "/api/pipelines/line-1/preview.mjpg", "/api/pipelines/line-1/snapshot.jpg"
BOXES = ((40.0, 60.0, 140.0, 140.0, 0.9, 0.0), (200.0, 60.0, 300.0, 140.0, 0.5, 1.0))


class ShownLine:
    """A pipeline whose frames come when the test says."""

    def __init__(self) -> None:
        self.tap, self.camera = Tap(), Camera()
        self.source_state = "lost: unplugged"
        self.grey: int | None = 100

    def shows(self, version: str = "v1") -> None:
        """One frame with two boxes, all grey beneath, or noise."""
        frame = self.camera.takes(self.grey)
        seen = replace(record(frame.seq), version=version, names=("划痕", "dent"), boxes=BOXES)
        self.tap.offer(frame, seen, time.monotonic())
        frame.release()


class Served:
    """The API over one line that films for ever."""

    def __init__(self, config: PreviewConfig, idle_s: float) -> None:
        self.line = ShownLine()
        self.previews = Previews(config, {"line-1": self.line}, idle_s=idle_s)
        app = create_app(None, Metrics())  # type: ignore[arg-type]  # no test asks for anything else of the node
        add_previews(app, self.previews)
        self.server = ApiServer(app, "127.0.0.1", 0)
        self.films = True

    async def film(self) -> None:
        """Fifty frames a second."""
        while True:
            if self.films:
                self.line.shows()
            await asyncio.sleep(0.02)

    def connect(self, path: str, receive_bytes: int = 0) -> tuple[http.client.HTTPConnection, Any]:
        """Ask, from a thread."""
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=60)
        if receive_bytes:
            connection.sock = socket.socket()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            connection.sock.connect((self.server.host, self.server.port))
        connection.request("GET", path)
        return connection, connection.getresponse()


def run(
    test: Callable[[Served], Awaitable[None]],
    config: PreviewConfig = PreviewConfig(),  # noqa: B008  (it is frozen)
    idle_s: float = 60.0,
) -> None:
    """A test with a served line; afterwards nothing of it is left."""

    async def run() -> None:
        served = Served(config, idle_s)
        await served.server.start()
        filming = asyncio.create_task(served.film())
        try:
            await test(served)
        finally:
            served.previews.end_viewers()
            await served.server.stop()
            filming.cancel()
            await served.previews.close()
        assert served.previews.worker is None
        assert served.line.camera.in_use == 0

    asyncio.run(run())


def next_part(answer: Any) -> tuple[dict[str, str], Any]:
    """Headers and picture of the next part of a stream."""
    assert answer.readline() == b"--edgeagent-picture\r\n"
    headers = {}
    while (line := answer.readline().decode().strip()) != "":
        name, _, value = line.partition(": ")
        headers[name] = value
    data = answer.read(int(headers["Content-Length"]))
    assert answer.readline() == b"\r\n"
    return headers, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def is_near(picture: Any, y: int, x: int, colour: tuple[int, int, int]) -> bool:
    """Whether the pixel has this colour, but for what JPEG costs."""
    return bool(np.abs(picture[y - 1 : y + 2, x].astype(int) - colour).max(axis=1).min() < 60)


def nobody_watches(tap: Tap) -> bool:
    """Whether all frames are to be had."""
    try:
        tap.subscribe(lambda frame, _record: frame.release(), fps=1.0, frames=TAP_FRAMES).close()
    except ValueError:
        return False
    return True


def test_a_stream_shows_frames_with_their_boxes() -> None:
    """Scaled, with boxes in the colours of their classes, a line below, and whose they are in the headers."""

    async def test(served: Served) -> None:
        def look() -> None:
            connection, answer = served.connect(f"{MJPG}?width=160&fps=60")
            assert answer.status == 200
            assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=edgeagent-picture"
            assert answer.headers["cache-control"] == "no-store"
            seqs = []
            for _ in range(3):
                headers, picture = next_part(answer)
                assert picture.shape == (96, 160, 3)
                assert headers["X-Edgeagent-Version"] == "v1"
                assert abs(float(headers["X-Edgeagent-Time"]) - 1.5) < 0.001
                seqs.append(int(headers["X-Edgeagent-Seq"]))
                for index, middle in ((0, 45), (1, 125)):
                    assert is_near(picture, 70, middle, colour_of(index)), "its lower edge, at half the scale"
                assert abs(int(picture[60, 85].mean()) - 100) < 8, "the ground as it was"
                assert picture[-3:].mean() < 75, "the line below"
            assert seqs == sorted(set(seqs))
            worker = served.previews.worker
            assert worker
            assert os.getpriority(os.PRIO_PROCESS, worker.pid) == LEAST_NICE, "once it has started"
            connection.close()

        await asyncio.to_thread(look)
        await until(lambda: served.previews.viewers == 0, "that it sees that nobody looks")

    run(test)


def test_one_picture_without_boxes_and_one_with() -> None:
    """In the frame's own size; whoever comes next gets another picture."""

    async def test(served: Served) -> None:
        def look(path: str) -> Any:
            connection, answer = served.connect(path)
            assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
            assert answer.headers["x-edgeagent-version"] == "v1"
            picture = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
            connection.close()
            return picture

        plain = await asyncio.to_thread(look, f"{JPG}?boxes=false")
        drawn = await asyncio.to_thread(look, JPG)
        assert plain.shape == drawn.shape == (192, 320, 3)
        assert np.abs(plain.astype(int) - 100).max() < 4
        assert is_near(drawn, 140, 90, colour_of(0))

    run(test)


def test_no_more_than_may_look_and_all_end_with_the_node() -> None:
    """The others get words; a snapshot is had beside them."""

    async def test(served: Served) -> None:
        def look() -> list[tuple[http.client.HTTPConnection, Any]]:
            looking = [served.connect(MJPG) for _ in range(2)]
            for _, answer in looking:
                next_part(answer)
            late, answer = served.connect(MJPG)
            assert answer.status == 503
            error = json.loads(answer.read())["error"]
            assert "2 look already" in error["why"]
            assert "max_viewers" in error["todo"]
            late.close()
            assert served.connect(JPG)[1].status == 200
            assert served.connect(MJPG.replace("line-1", "line-2"))[1].status == 404
            return looking

        looking = await asyncio.to_thread(look)
        served.previews.end_viewers()
        for connection, answer in looking:
            rest = await asyncio.to_thread(answer.read)
            assert rest.endswith(b"--edgeagent-picture\r\n"), "the last picture is whole"
            connection.close()

    run(test, PreviewConfig(max_viewers=2))


def test_a_camera_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream stays open, nothing is shown again, and a snapshot says how the camera is."""
    monkeypatch.setattr(preview_module, "SNAPSHOT_S", 0.3)

    async def test(served: Served) -> None:
        seen = [0]

        def look_beyond(answer: Any, seq: int) -> None:
            while seen[-1] <= seq:
                seen.append(int(next_part(answer)[0]["X-Edgeagent-Seq"]))

        connection, answer = await asyncio.to_thread(served.connect, f"{MJPG}?fps=60")
        await asyncio.to_thread(look_beyond, answer, 0)
        served.films = False
        coming = asyncio.create_task(asyncio.to_thread(look_beyond, answer, served.line.camera.seq))
        _, refused = await asyncio.to_thread(served.connect, JPG)
        assert refused.status == 503
        assert "lost: unplugged" in json.loads(refused.read())["error"]["why"]
        assert not coming.done()
        served.films = True
        await coming
        assert seen == sorted(set(seen))
        connection.close()

    run(test)


def test_who_never_reads_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the connection; nobody else waits meanwhile, and then there is room again."""
    monkeypatch.setattr(preview_routes, "UNREAD_S", 0.5)

    async def test(served: Served) -> None:
        served.line.grey = None  # large pictures: a few fill what is between, however slowly they are made

        def look() -> Any:
            return served.connect(f"{MJPG}?fps=60&width=320", receive_bytes=2048)

        silent, answer = await asyncio.to_thread(look)
        assert answer.status == 200, "a viewer"
        await until(lambda: served.previews.viewers == 0, "its end")
        await until(lambda: not served.server.held, "the end of its connection")
        silent.close()

    run(test, PreviewConfig(quality=100))


def test_the_worker_ends_when_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does the tap's subscription; the next who looks starts another."""
    monkeypatch.setattr(preview_module, "_LINGER_S", 0.1)

    async def test(served: Served) -> None:
        def look() -> None:
            connection, answer = served.connect(JPG)
            assert answer.status == 200
            connection.close()

        assert served.previews.worker is None
        for _ in range(2):
            await asyncio.to_thread(look)
            await until(lambda: served.previews.worker is None, "its end")
            await until(lambda: nobody_watches(served.line.tap), "the end of the subscription")

    run(test, idle_s=0.0)
