# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every source that can be resumed promises: each frame once, in order, found again by its position."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeagent.scenes.conveyor import Conveyor
from edgeagent.workers.source import Image, Source, SourceError, UnreadableFrameError
from edgeagent.workers.sources import open_source
from tests.support import films
from tests.support.live_stream import LiveStream
from tests.support.mjpeg import MjpegCamera
from tests.support.rtsp import RtspCamera

FRAMES = 14
KINDS = ("avi", "mp4", "mkv", "folder", "image", "synthetic", "file url")


@dataclass(frozen=True)
class Case:
    """A source, how many frames to look at (all of them, if it ends), and how to see that a frame is the right one."""

    url: str
    frames: int
    ends: bool
    is_frame: Callable[[Image, int], bool]
    size: tuple[int, int]


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """One of each kind."""
    kind = request.param
    if kind == "synthetic":
        line = Conveyor(3, 160, 128, 30.0)
        url = "synthetic://conveyor?seed=3&fps=30&width=160&height=128"
        return Case(url, FRAMES, False, lambda image, n: bool((image == line.frame(n)).all()), (128, 160))
    url, count = str(tmp_path / f"film.{kind}"), FRAMES
    if kind == "folder":
        url = str(films.folder(tmp_path / "parts", FRAMES))
    elif kind == "image":
        url, count = str(tmp_path / "one.png"), 1
        cv2.imwrite(url, films.picture(0))
    elif kind == "file url":
        url = films.video(tmp_path / "a film.avi", FRAMES).as_uri()
    else:
        films.video(Path(url), FRAMES)
    return Case(url, count, True, lambda image, n: films.number(image) == n, (120, 160))


@pytest.fixture
def source(case: Case) -> Iterator[Source]:
    """It, open."""
    with closing(open_source(case.url, 0, 5)) as source:
        yield source


def test_every_frame_once_and_in_order(case: Case, source: Source) -> None:
    """From the first to the last, with position counting along; then the end, again and again."""
    for n in range(case.frames):
        assert source.position == n
        assert source.grab() == 1
        assert case.is_frame(source.retrieve(None), n)
    if case.ends:
        assert (source.grab(), source.grab()) == (0, 0)
        assert source.position == case.frames == source.total


def test_every_frame_has_the_size_and_form(case: Case, source: Source) -> None:
    """Height × width × BGR, bytes."""
    source.grab()
    image = source.retrieve(None)
    assert (image.shape, image.dtype) == ((*case.size, 3), np.uint8)


@pytest.mark.parametrize("position", [0, 1, 7, FRAMES - 1])
def test_a_position_is_found_again(case: Case, source: Source, position: int) -> None:
    """What a respawned worker does: it goes on exactly there."""
    if position >= case.frames:
        pytest.skip("it has only one frame")
    source.seek(position, lambda: None)
    for n in range(position, case.frames):
        assert source.grab() == 1
        assert case.is_frame(source.retrieve(None), n)
    assert source.position == case.frames


def test_a_position_behind_the_end_is_the_end(case: Case, source: Source) -> None:
    """The worker died after the last frame: nothing is shown twice."""
    if not case.ends:
        pytest.skip("it has no end")
    source.seek(case.frames, lambda: None)
    assert source.grab() == 0


def test_frames_may_be_passed_by(case: Case, source: Source) -> None:
    """Grabbing without retrieving leaves a frame out, and the next is the right one."""
    if case.frames < 3:
        pytest.skip("it has only one frame")
    source.grab()
    source.grab()
    source.grab()
    assert case.is_frame(source.retrieve(None), 2)


def test_a_slot_of_another_size_is_no_harm(case: Case, source: Source) -> None:
    """Where the frame doesn't fit the array offered, it comes in another, whole."""
    out = np.zeros((10, 10, 3), np.uint8)
    source.grab()
    image = source.retrieve(out)
    assert image is not out
    assert case.is_frame(image, 0)
    assert not out.any()


def test_rendering_goes_straight_into_the_slot() -> None:
    """Synthetic frames are written in place: no copy between scene and ring."""
    out = np.zeros((120, 160, 3), np.uint8)
    with closing(open_source("synthetic://conveyor?width=160&height=120", 0, 5)) as source:
        source.grab()
        assert source.retrieve(out) is out
    assert out.any()


def test_a_broken_image_never_shows_the_one_before(tmp_path: Path) -> None:
    """Cut short, empty, not an image, gone since the folder was read: each is unreadable, and the next is fine."""
    folder = films.folder(tmp_path / "parts", 6)
    whole = (folder / "part 1.png").read_bytes()
    (folder / "part 1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "part 2.png").write_bytes(b"")
    (folder / "part 3.png").write_bytes(b"no image")
    empty = r"part 2\.png: is empty, 0 bytes"
    out = np.zeros((120, 160, 3), np.uint8)
    with closing(open_source(str(folder), 0, 5)) as source:
        (folder / "part 4.png").unlink()
        source.grab()
        assert films.number(source.retrieve(out)) == 0
        for n in range(1, 5):
            source.grab()
            with pytest.raises(UnreadableFrameError, match=empty if n == 2 else f"part {n}.png"):
                source.retrieve(out)
        source.grab()
        assert films.number(source.retrieve(out)) == 5


def test_a_jpeg_cut_short_is_unreadable(tmp_path: Path) -> None:
    """Decoders show the lower half grey; a part would pass for good."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    path = tmp_path / "a.jpg"
    path.write_bytes(data[: len(data) * 2 // 3])
    with closing(open_source(str(path), 0, 5)) as source:
        source.grab()
        with pytest.raises(UnreadableFrameError):
            source.retrieve(None)


def test_what_is_not_an_image_is_no_frame(tmp_path: Path) -> None:
    """Hidden files, folders and notes between the images are passed over."""
    folder = films.folder(tmp_path / "parts", 2)
    (folder / "notes.txt").write_text("hello")
    (folder / ".part 0.png").write_bytes(b"half copied")
    (folder / "sub.png").mkdir()
    with closing(open_source(str(folder), 0, 5)) as source:
        assert source.total == 2


def test_frames_behind_broken_data_are_found(tmp_path: Path) -> None:
    """FFmpeg stops in the middle of a damaged file; what is behind the damage is not the end."""
    path = films.video(tmp_path / "film.mp4", 60)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 300] = np.random.default_rng(1).bytes(300)
    path.write_bytes(data)
    seen: list[int] = []
    with closing(open_source(str(path), 0, 5)) as source:
        while source.grab():
            seen.append(source.position - 1)
        assert source.position <= 60
    assert seen[-1] >= 55
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mpg", "mpeg2video")])
def test_interlaced_video_is_seen_as_it_is(tmp_path: Path, name: str, codec: str) -> None:
    """Each frame once and in order; none is black, or the one before."""
    path = films.interlaced(tmp_path / name, 12, codec)
    with closing(open_source(str(path), 0, 5)) as source:
        seen = []
        while source.grab():
            seen.append(films.number(source.retrieve(None)))
        assert seen == list(range(12))
        assert source.position == 12


def test_deinterlacing_leaves_no_comb(tmp_path: Path) -> None:
    """A bar that moves between two moments: a frame that weaves both shows teeth, one that is whole does not."""
    av = pytest.importorskip("av")
    path = tmp_path / "bar.mp4"
    options = {"flags": "+ilme+ildct", "x264-params": "interlaced=1", "qp": "5"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for i in range(6):
            woven = np.zeros((128, 160, 3), np.uint8)
            woven[0::2, 20 * i : 20 * i + 20] = 255
            woven[1::2, 20 * i + 10 : 20 * i + 30] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(woven, format="bgr24")))
        container.mux(stream.encode())
    with closing(open_source(str(path), 0, 5)) as source:
        for _ in range(4):
            source.grab()
        image = source.retrieve(None)[16:-16].astype(int)
    teeth = np.abs(image[1:-1] - (image[:-2] + image[2:]) / 2)
    assert image.max() > 200
    assert teeth.max() < 60


def test_a_film_made_upright_is_shown_upright(tmp_path: Path) -> None:
    """A phone films sideways and says so in the file's header."""
    data = films.video(tmp_path / "film.mp4", 3).read_bytes()
    one, zero, end = (n.to_bytes(4, "big") for n in (0x10000, 0, 0x40000000))
    track = data.index(b"tkhd")
    at = data.index(one + zero * 3 + one + zero * 3 + end, track)
    turned = zero + one + zero + (-0x10000).to_bytes(4, "big", signed=True) + zero * 4 + end
    path = tmp_path / "turned.mp4"
    path.write_bytes(data[:at] + turned + data[at + 36 :])
    with closing(open_source(str(path), 0, 5)) as source:
        source.grab()
        source.grab()
        image = source.retrieve(None)
    assert image.shape == (160, 120, 3)
    assert image[:64].mean() + 15 < image[96:].mean()  # picture 1: its left half, the darker one, is on top


def test_a_stream_may_change_its_size_and_orientation() -> None:
    """In one connection: each picture has the size that it was sent in."""
    with MjpegCamera(width=160, height=120) as camera, closing(open_source(camera.url, 0, 5)) as source:
        source.grab()
        assert source.retrieve(None).shape == (120, 160, 3)
        camera.width, camera.height = 120, 160
        shapes = [(120, 160, 3)]
        while shapes[-1] != (160, 120, 3):
            source.grab()
            shapes.append(source.retrieve(None).shape)
        assert set(shapes) == {(120, 160, 3), (160, 120, 3)}
        assert camera.connections == 1


@pytest.mark.parametrize("kind", [LiveStream, RtspCamera])
def test_a_compressed_stream_may_change_its_size(kind: type[LiveStream]) -> None:
    """As a camera does whose resolution is set while it sends."""
    with kind(size=(320, 240)) as camera, closing(open_source(camera.url, 0, 5)) as source:
        source.grab()
        camera.size = (160, 120)
        shapes = [source.retrieve(None).shape]
        while shapes[-1] != (120, 160, 3):
            source.grab()
            shapes.append(source.retrieve(None).shape)
        assert set(shapes) == {(240, 320, 3), (120, 160, 3)}
        assert camera.connections == 1


@pytest.mark.parametrize("kind", [LiveStream, RtspCamera])
def test_what_the_network_held_back_is_known_to_be_old(kind: type[LiveStream]) -> None:
    """By the times in the stream: held for two seconds, then handed on at once."""
    with kind() as camera, closing(open_source(camera.url, 0, 30)) as source:

        def next_ages() -> tuple[float, float]:
            source.grab()
            taken = camera.taken[films.number(source.retrieve(None))]
            return source.age_s, time.monotonic() - taken

        while next_ages()[0] > 0.5:
            pass  # what was buffered while the stream was opened; of unknown age, or old
        camera.held = True
        time.sleep(2)
        camera.held = False
        said, true = zip(*[next_ages() for _ in range(20)], strict=True)
    assert max(true) > 1.5
    assert list(said) == pytest.approx(list(true), abs=0.5)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_camera_that_counts_frames_is_late_unless_its_times_are_not_trusted(trusted: bool) -> None:
    """Its stream says half the time that passes."""
    with LiveStream() as camera:
        camera.pace = 0.5
        with closing(open_source(camera.url, 0, 5, trusted)) as source:
            ages = []
            for _ in range(60):
                source.grab()
                ages.append(source.age_s)
    assert (min(ages[-10:]) > 0.5) is trusted
    assert trusted or min(ages[-10:]) < 0.1


@pytest.mark.parametrize("kind", [LiveStream, RtspCamera])
def test_an_interlaced_stream_is_seen_as_it_is(kind: type[LiveStream]) -> None:
    """Neither black nor the picture before."""
    with kind(size=(160, 128)) as camera:
        camera.interlaced = True
        with closing(open_source(camera.url, 0, 5)) as source:
            seen = []
            for _ in range(20):
                source.grab()
                seen.append(films.number(source.retrieve(None)))
    assert seen == list(range(seen[0], seen[0] + 20))


def test_a_stream_that_falls_silent_gives_no_frame_more() -> None:
    """Not even those that FFmpeg still has: they are as old as the silence."""
    times: list[float] = []

    def watch(source: Source) -> None:
        while True:
            source.grab()
            times.append(time.monotonic())

    with LiveStream() as camera, closing(open_source(camera.url, 0, 2)) as source:
        source.grab()
        times.append(time.monotonic())
        camera.silent = True
        with pytest.raises(SourceError, match="sends nothing any more, for 2 s") as e:
            watch(source)
        assert e.value.state == "lost"
        assert time.monotonic() - times[-1] > 1  # whoever looks at it may be late


def test_the_url_of_a_picture_is_no_camera() -> None:
    """It gives one picture and ends: said so, and nothing is shown of it."""
    with MjpegCamera() as camera, pytest.raises(SourceError, match="gives one picture and ends") as e:
        open_source(camera.picture_url, 0, 2)
    assert e.value.state == "unreadable"


@pytest.mark.parametrize(
    ("make", "state", "why"),
    [
        (lambda p: p / "none.mp4", "absent", "no such file"),
        (lambda p: (p / "empty").mkdir() or p / "empty", "absent", "holds no images"),
        (lambda p: (p / "x.mp4").write_text("no") and p / "x.mp4", "unreadable", "is broken"),
        (lambda p: (p / "y.mp4").touch() or p / "y.mp4", "unreadable", "is broken"),
        (lambda p: "/dev/video99", "absent", "no such device"),
        (lambda p: "rtsp://user:geheim@127.0.0.1:1/stream", "absent", "cannot connect to 127.0.0.1"),
        (lambda p: "http://127.0.0.1:99999/stream", "absent", "cannot connect"),
        (lambda p: "synthetic://beach", "absent", "'beach' is not a scene"),
        (lambda p: "synthetic://conveyor?speed=3", "absent", "'speed' is not known"),
        (lambda p: "synthetic://conveyor?fps=fast", "absent", "fast"),
        (lambda p: "synthetic://conveyor?width=1", "absent", "64 pixels"),
        (lambda p: "synthetic://conveyor?fps=nan", "absent", "synthetic"),
        (lambda p: "synthetic://conveyor?seed=inf", "absent", "synthetic"),
    ],
)
def test_what_cannot_be_opened_says_why(
    tmp_path: Path, make: Callable[[Path], object], state: str, why: str
) -> None:
    """Each with its state, a reason that a person understands, and without the password."""
    pytest.importorskip("av")
    with pytest.raises(SourceError, match=why) as e:
        open_source(str(make(tmp_path)), 0, 1)
    assert e.value.state == state
    assert "geheim" not in e.value.why
