# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scene of the demo: cartons with printed labels and known defects on a moving belt, seen by a camera.

Every frame is a pure function of (seed, index), so a frame and its ground truth can be had in any order and
in any process. Another seed is another line with parts that were never seen before.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeagent.scenes.carton import CLASSES, SIDE, Carton, Image, Sprite, draw, plan

__all__ = ["CLASSES", "VISIBLE_FRACTION", "Conveyor", "Truth"]

VISIBLE_FRACTION = 0.6  # a defect counts as visible once this much of its box is inside the frame

_UNITS = 360.0  # the frame is this many units high, whatever its pixels
_BELT = (44.0, 316.0)  # upper and lower edge of the belt
_PITCH = 216.0  # between two cartons
_SPEED = 170.0  # of the belt, units a second
_REACH = 130.0  # no carton reaches further from its centre, shadow included
_EXPOSURE_S = 1 / 70
_SPRITES = 12  # kept drawn; about four are in view
_NOISE_TILES = 3
_NOISE_SLACK = 64  # the noise tile is shifted by up to this many pixels from frame to frame


@dataclass(frozen=True)
class Truth:
    """A visible defect: class index into `CLASSES`, box in pixels, clipped to the frame, carton number."""

    cls: int
    xyxy: tuple[float, float, float, float]
    tiny: bool
    part: int


class Conveyor:
    """A packaging line under a fixed camera. Not thread-safe: sprites of recent cartons are kept."""

    def __init__(self, seed: int = 0, width: int = 640, height: int = 360, fps: float = 30.0) -> None:
        """Prepare the line of `seed` (any int) for frames of `width`×`height` pixels, `fps` frames a second.

        Raises ValueError if a side is under 64 pixels or `fps` is not above 0.
        """
        if width < 64 or height < 64 or not fps > 0:
            raise ValueError(
                f"conveyor of {width}x{height} at {fps} fps: sides must be 64 pixels or more, fps above 0"
            )
        self.seed = seed & 0xFFFFFFFF
        self.width, self.height, self.fps = width, height, fps
        self._scale = height / _UNITS
        self._sprites: OrderedDict[int, Sprite] = OrderedDict()
        rng = np.random.default_rng((self.seed, 0xBE17))
        self._phases = rng.uniform(0, 2 * math.pi, 3)
        self._scenery = _scenery(width, height, self._scale)
        self._belt = _belt(rng, width, self._rows[1] - self._rows[0], self._scale)
        self._light = _light(rng, width, height)
        shape = (height + _NOISE_SLACK, width + _NOISE_SLACK)
        self._noise = [_noise(rng, shape) for _ in range(_NOISE_TILES)]

    def frame(self, index: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Render frame `index` (0 or more) as height×width×3 BGR, into `out` if given (it is also returned).

        Raises ValueError for a negative index or an `out` of another shape or type.
        """
        frame = self._canvas(index, out)
        travel = self._travel(index)
        top, bottom = self._rows
        period = self._belt.shape[1] - self.width
        at = period - travel % period
        frame[:top] = self._scenery[:top]
        frame[bottom:] = self._scenery[bottom:]
        frame[top:bottom] = self._belt[:, at : at + self.width]
        for carton, (x, y) in self._in_view(travel):
            self._paste(frame, self._sprite(carton), x, y)
        return self._expose(frame, index)

    def truth(self, index: int, visible: float = VISIBLE_FRACTION) -> list[Truth]:
        """The defects in frame `index` of whose box some, and at least `visible` of 1, is inside the frame."""
        found = []
        for carton, (x, y) in self._in_view(self._travel(index)):
            for defect, box in carton.boxes():
                x0, y0, x1, y1 = (v * self._scale + (x, y)[i % 2] for i, v in enumerate(box))
                left, right = max(0.0, x0), min(float(self.width), x1)
                if left < right and right - left >= visible * (x1 - x0):
                    found.append(Truth(defect.cls, (left, y0, right, y1), defect.tiny, carton.part))
        return found

    @property
    def _rows(self) -> tuple[int, int]:
        return round(_BELT[0] * self._scale), round(_BELT[1] * self._scale)

    def _canvas(self, index: int, out: Image | None) -> Image:
        if index < 0:
            raise ValueError(f"frame {index}: a frame index is 0 or more")
        shape = (self.height, self.width, 3)
        if out is None:
            return np.empty(shape, np.uint8)
        if out.shape != shape or out.dtype != np.uint8:
            raise ValueError(f"out is {out.shape} {out.dtype}, must be {shape} uint8")
        return out

    def _travel(self, index: int) -> int:
        """How far the belt has moved by frame `index`, in pixels; its speed breathes a little."""
        seconds = index / self.fps
        return round((_SPEED * seconds + 9.0 * math.sin(0.9 * seconds)) * self._scale)

    def _in_view(self, travel: int) -> list[tuple[Carton, tuple[int, int]]]:
        """The cartons that the camera may see, each with the pixel of its centre."""
        moved, span = travel / self._scale, self.width / self._scale
        first = max(0, math.floor((moved - _REACH) / _PITCH - 0.5))
        last = math.ceil((moved + span + _REACH) / _PITCH - 0.5)
        middle = (_BELT[0] + _BELT[1] - SIDE) / 2
        seen = []
        for part in range(first, last + 1):
            carton = plan(self.seed, part)
            x = round((span - (part + 0.5) * _PITCH + carton.shift[0]) * self._scale) + travel
            if -_REACH * self._scale < x < self.width + _REACH * self._scale:
                seen.append((carton, (x, round((middle + carton.shift[1]) * self._scale))))
        return seen

    def _sprite(self, carton: Carton) -> Sprite:
        sprite = self._sprites.get(carton.part)
        if sprite is None:
            sprite = self._sprites[carton.part] = draw(carton, self._scale, _SPEED * _EXPOSURE_S)
            if len(self._sprites) > _SPRITES:
                self._sprites.popitem(last=False)
        self._sprites.move_to_end(carton.part)
        return sprite

    def _paste(self, frame: Image, sprite: Sprite, x: int, y: int) -> None:
        x, y = x - sprite.centre[0], y - sprite.centre[1]
        h, w = sprite.colour.shape[:2]
        x0, x1, y0, y1 = max(0, x), min(self.width, x + w), max(0, y), min(self.height, y + h)
        if x0 >= x1 or y0 >= y1:
            return
        part = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
        under = cv2.multiply(frame[y0:y1, x0:x1], sprite.leaves[part], scale=1 / 255)
        frame[y0:y1, x0:x1] = cv2.add(under, sprite.colour[part])

    def _expose(self, frame: Image, index: int) -> Image:
        """What lamp and sensor do to the scene: uneven light that drifts and flickers, and noise."""
        seconds = index / self.fps
        hashed = ((index + 1) * 2654435761 ^ self.seed * 40503) & 0xFFFFFFFF
        slow, slower, _ = (
            math.sin(p + seconds * w) for p, w in zip(self._phases, (0.86, 0.27, 0.0), strict=True)
        )
        flicker = ((hashed >> 8 & 0xFF) / 255 - 0.5) * 0.05
        cv2.multiply(frame, self._light, dst=frame, scale=(1 + 0.06 * slow + 0.12 * slower + flicker) / 200)
        more, less = self._noise[hashed % _NOISE_TILES]
        dy, dx = (hashed >> 16) % _NOISE_SLACK, (hashed >> 23) % _NOISE_SLACK
        part = (slice(dy, dy + self.height), slice(dx, dx + self.width))
        cv2.add(frame, more[part], dst=frame)
        cv2.subtract(frame, less[part], dst=frame)
        return frame


def _scenery(width: int, height: int, scale: float) -> Image:
    """What does not move: aluminium rails with bolts, a hazard stripe, the dark floor beyond."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / scale
    grain = np.sin(y * 9.1) * 4 + np.sin(y * 23.7 + x * 0.01) * 3
    image = np.full((height, width, 3), (44, 40, 38), np.float32)
    for low, high in ((14.0, _BELT[0]), (_BELT[1], 346.0)):
        rows = (y >= low) & (y < high)
        round_profile = 150 + 46 * np.sin((y - low) / (high - low) * math.pi) + grain
        image[rows] = (round_profile[:, :, None] * np.array((1.0, 0.985, 0.96), np.float32))[rows]
    stripe = (y >= 337) & (y < 346)
    hazard = ((x + y) % 28 < 14)[:, :, None]
    image[stripe] = np.where(hazard, (38.0, 178.0, 214.0), (34.0, 34.0, 36.0))[stripe]
    for bolt in np.arange(26.0, width / scale, 92.0):
        for row in (29.0, 327.0):
            at = (round(bolt * scale), round(row * scale))
            cv2.circle(image, at, max(1, round(4.2 * scale)), (96, 94, 92), -1, cv2.LINE_AA)
            cv2.circle(image, at, max(1, round(3.0 * scale)), (178, 178, 176), -1, cv2.LINE_AA)
            cv2.circle(image, at, max(1, round(1.4 * scale)), (70, 70, 70), -1, cv2.LINE_AA)
    return image.clip(0, 255).astype(np.uint8)


def _belt(rng: np.random.Generator, width: int, rows: int, scale: float) -> Image:
    """One turn of the belt's texture, followed by its first `width` columns so that any view is one slice."""
    period = round(900 * scale)
    y, x = np.mgrid[:rows, :period].astype(np.float32) / scale
    tone = 62 + 5 * np.sin((x + y) * (2 * math.pi / 7.5)) * np.sin((x - y) * (2 * math.pi / 7.5))
    tone += rng.standard_normal((rows, period), np.float32) * 3.0
    wear = rng.standard_normal((6, 14), np.float32)
    tone += cv2.resize(wear, (period, rows), interpolation=cv2.INTER_CUBIC) * 4
    for _ in range(26):  # scuffs along the belt, and the splice across it
        at, row = rng.uniform(0, period), rng.uniform(0, rows)
        end = (round(at + rng.uniform(20, 120) * scale), round(row + rng.normal(0, 3) * scale))
        cv2.line(tone, (round(at), round(row)), end, float(rng.uniform(68, 84)), 1, cv2.LINE_AA)
    splice = round(450 * scale)
    cv2.line(
        tone, (splice, 0), (splice + round(24 * scale), rows), 34.0, max(1, round(2 * scale)), cv2.LINE_AA
    )
    edge = np.minimum(y, rows / scale - y)
    tone *= 0.55 + 0.45 * np.clip(edge / 9, 0, 1)
    tone = np.tile(tone, (1, 1 + -(-width // period)))[:, : period + width]
    tone = cv2.blur(tone, (max(1, round(_SPEED * _EXPOSURE_S * scale)), 1))
    tint = np.array((1.06, 1.0, 0.92), np.float32)
    return (tone[:, :, None] * tint).clip(0, 255).astype(np.uint8)


def _light(rng: np.random.Generator, width: int, height: int) -> Image:
    """The lamp's field, 200 = as it is: a soft hot spot, falling off towards the corners, slightly warm."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = x / width - rng.uniform(0.4, 0.6), y / height - rng.uniform(0.35, 0.5)
    field: NDArray[np.float32] = 222 * np.exp(-(u * u * 1.1 + v * v * 0.9)) - 4
    return (field[:, :, None] * np.array((0.97, 1.0, 1.01), np.float32)).clip(0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Image, Image]:
    """Sensor noise, mostly luminance, as what to add and what to subtract (8-bit arithmetic saturates)."""
    noise = 3.6 * rng.standard_normal((*shape, 1), np.float32) + 1.8 * rng.standard_normal(
        (*shape, 3), np.float32
    )
    noise = np.rint(noise)
    return noise.clip(0, 255).astype(np.uint8), (-noise).clip(0, 255).astype(np.uint8)
