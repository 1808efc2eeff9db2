# SPDX-License-Identifier: AGPL-3.0-or-later
"""Letterbox: a frame into the network's input and boxes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.runtimes.detection.letterbox import PADDING, InputBatch, Letterbox, LetterboxGeometry


@pytest.mark.parametrize(
    ("frame", "size", "scaled", "corner"),
    [
        ((720, 1280), (640, 640), (360, 640), (140, 0)),
        ((1080, 810), (640, 640), (640, 480), (0, 80)),
        ((37, 100), (320, 320), (118, 320), (101, 0)),
        ((301, 777), (640, 640), (248, 640), (196, 0)),
        ((101, 100), (64, 64), (64, 63), (0, 0)),  # the odd pixel goes to the right
        ((1, 3000), (640, 640), (1, 640), (319, 0)),  # never thinner than a pixel, and the odd one goes below
        ((480, 640), (384, 640), (384, 512), (0, 64)),
    ],
)
def test_a_frame_stands_where_ultralytics_puts_it(
    frame: tuple[int, int], size: tuple[int, int], scaled: tuple[int, int], corner: tuple[int, int]
) -> None:
    """Figures computed with ultralytics 8.4.190 LetterBox(auto=False)."""
    assert LetterboxGeometry.of(frame, size) == LetterboxGeometry(frame, scaled, corner)


def test_pixels_become_rgb_planes_in_0_to_1() -> None:
    """A frame of the network's own size arrives unscaled, red plane first."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 51, 102, 255
    letterbox = Letterbox((32, 64))
    letterbox.fill(image)
    assert letterbox.tensor.shape == (1, 3, 32, 64)
    assert letterbox.tensor.dtype == np.float32
    np.testing.assert_allclose(letterbox.tensor[0].mean(axis=(1, 2)), [1.0, 0.4, 0.2], atol=1e-6)


def test_padding_is_grey_again_after_another_frame_size() -> None:
    """What a tall frame covered is padding when a wide one follows."""
    letterbox = Letterbox((64, 64))
    letterbox.fill(np.full((64, 32, 3), 255, np.uint8))
    letterbox.fill(np.full((32, 64, 3), 255, np.uint8))
    plane = letterbox.tensor[0, 0]
    np.testing.assert_array_equal(plane[16:48], 1.0)
    np.testing.assert_array_equal(plane[:16], np.float32(PADDING) / np.float32(255))
    np.testing.assert_array_equal(plane[48:], np.float32(PADDING) / np.float32(255))


def test_the_buffer_is_filled_in_place() -> None:
    """Runtimes may keep the tensor: it is the same memory for every frame, of whatever size."""
    letterbox = Letterbox((64, 64))
    before = letterbox.tensor
    letterbox.fill(np.zeros((20, 30, 3), np.uint8))
    letterbox.fill(np.full((40, 30, 3), 255, np.uint8))
    assert letterbox.tensor is before


def test_pictures_stand_one_behind_the_other() -> None:
    """Each in its own place, until there is no room; cleared, the same memory takes others."""
    pictures = InputBatch(2, (64, 64))
    memory = pictures.tensor
    pictures.add(np.full((64, 64, 3), 255, np.uint8))
    pictures.add(np.full((32, 64, 3), 51, np.uint8))
    np.testing.assert_array_equal(pictures.tensor[0], 1.0)
    np.testing.assert_allclose(pictures.tensor[1, :, 16:48], 0.2, atol=1e-6)
    assert pictures.geometries == [
        LetterboxGeometry.of((64, 64), (64, 64)),
        LetterboxGeometry.of((32, 64), (64, 64)),
    ]
    assert len(pictures.letterbox_ms) == 2
    with pytest.raises(IndexError):
        pictures.add(np.zeros((64, 64, 3), np.uint8))

    pictures.clear()
    pictures.add(np.full((32, 64, 3), 102, np.uint8))
    np.testing.assert_allclose(pictures.tensor[0, :, 16:48], 0.4, atol=1e-6)
    assert pictures.geometries == [LetterboxGeometry.of((32, 64), (64, 64))]
    assert len(pictures.letterbox_ms) == 1
    assert pictures.tensor is memory


sides = st.integers(1, 3000)


@given(frame=st.tuples(sides, sides), size=st.tuples(st.integers(32, 1280), st.integers(32, 1280)))
def test_the_scaled_frame_maps_back_onto_the_whole_frame(
    frame: tuple[int, int], size: tuple[int, int]
) -> None:
    """The corners of the picture inside the input are the corners of the frame, for any pair of sizes."""
    geometry = LetterboxGeometry.of(frame, size)
    (top, left), (height, width) = geometry.corner, geometry.scaled
    assert top >= 0
    assert left >= 0
    assert top + height <= size[0]
    assert left + width <= size[1]
    box = np.array([[left, top, left + width, top + height]], np.float32)
    np.testing.assert_allclose(geometry.to_frame(box), [[0, 0, frame[1], frame[0]]], rtol=1e-5, atol=1e-3)


def test_clip_cuts_boxes_at_the_border() -> None:
    """A box that leaves the frame on all sides becomes the frame."""
    geometry = LetterboxGeometry.of((100, 200), (64, 64))
    box = np.array([[-5, -6, 300, 400]], np.float32)
    np.testing.assert_array_equal(geometry.clip(box), [[0, 0, 200, 100]])
