# SPDX-License-Identifier: AGPL-3.0-or-later
"""One carton of the rendered line: its plan (sizes, print, defects), and the sprite drawn from that plan.

A plan is cheap and free of pixels, so the ground truth needs no drawing. All lengths of a plan are in units
of the scene (the frame is 360 units high), relative to the top left corner of the carton's upper face.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES: tuple[str, ...] = ("scratch", "dent", "missing_label")
SCRATCH, DENT, MISSING_LABEL = range(3)

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Point = tuple[float, float]
Rect = tuple[float, float, float, float]  # x0, y0, x1, y1

SIDE = 16.0  # height of the side face that the oblique camera sees below the upper face
MARGIN = 26.0  # room around the carton in its sprite: shadow and rotation
SUPERSAMPLING = 2
ANNOTATION_MARGIN = 2.5  # boxes are drawn this much around the defect, as a person would

_BOARDS = (
    (104, 150, 186),
    (122, 168, 202),
    (92, 134, 168),
    (196, 208, 214),
)  # BGR: three krafts, white-lined
_BRANDS = ("NORDKRAFT", "ALPENMILCH", "KAFFEEHAUS", "BLUEPORT", "TERRA FOODS", "MEDILINE")
_ACCENTS = ((60, 40, 170), (150, 80, 20), (50, 110, 30), (30, 30, 30), (20, 110, 200))


@dataclass(frozen=True)
class Defect:
    """A defect: class index, outline (scratch: polyline, dent: centre, label: corners), reach around it."""

    cls: int
    tiny: bool
    points: tuple[Point, ...]
    reach: float


@dataclass(frozen=True)
class Carton:
    """The plan of one carton; `angle` in degrees, `style` seeds the purely decorative choices."""

    part: int
    width: float
    height: float
    angle: float
    shift: Point
    label: Rect
    defects: tuple[Defect, ...]
    style: int

    def boxes(self) -> list[tuple[Defect, Rect]]:
        """Each defect with its box, in units relative to the centre of the upper face."""
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        found = []
        for defect in self.defects:
            x, y = (np.array(defect.points) - (self.width / 2, self.height / 2)).T
            turned_x, turned_y = x * cos + y * sin, y * cos - x * sin
            reach = defect.reach + ANNOTATION_MARGIN
            box = (
                turned_x.min() - reach,
                turned_y.min() - reach,
                turned_x.max() + reach,
                turned_y.max() + reach,
            )
            found.append((defect, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))))
        return found


@lru_cache(maxsize=64)
def plan(seed: int, part: int) -> Carton:
    """Decide everything about carton `part` of line `seed`; the same arguments give the same carton."""
    rng = np.random.default_rng((seed, part))
    width, height = rng.uniform(128, 172), rng.uniform(130, 186)
    label_w, label_h = rng.uniform(62, 78), rng.uniform(50, 62)
    left = rng.uniform(12, width - label_w - 12)
    top = rng.uniform(12, 20) if rng.random() < 0.5 else height - label_h - rng.uniform(12, 20)
    label = (left, top, left + label_w, top + label_h)
    defects = _plan_defects(rng, width, height, label)
    return Carton(
        part=part,
        width=width,
        height=height,
        angle=rng.uniform(-4, 4),
        shift=(rng.uniform(-14, 14), rng.uniform(-20, 20)),
        label=label,
        defects=defects,
        style=int(rng.integers(2**31)),
    )


def _plan_defects(rng: np.random.Generator, width: float, height: float, label: Rect) -> tuple[Defect, ...]:
    """Up to three defects clear of each other and of the label; the small ones also of the tape."""
    defects: list[Defect] = []
    taken: list[Rect] = []
    if rng.random() < 0.14:
        x0, y0, x1, y1 = label
        defects.append(Defect(MISSING_LABEL, False, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.0))
        taken.append(label)
    tape = (width / 2 - 13, 0.0, width / 2 + 13, height)
    for _ in range(int(rng.choice((0, 1, 2), p=(0.3, 0.45, 0.25)))):
        tiny = bool(rng.random() < 0.5)
        cls = SCRATCH if rng.random() < 0.5 else DENT
        for _attempt in range(30):
            defect = _scratch(rng, width, height, tiny) if cls == SCRATCH else _dent(rng, width, height, tiny)
            around = _around(defect)
            inside = min(around) > 4 and around[2] < width - 4 and around[3] < height - 4
            clear = [*taken, label, tape] if tiny else [*taken, label]
            if inside and not any(_touch(around, other) for other in clear):
                defects.append(defect)
                taken.append(around)
                break
    return tuple(defects)


def _scratch(rng: np.random.Generator, width: float, height: float, tiny: bool) -> Defect:
    length = rng.uniform(10, 14) if tiny else rng.uniform(34, 80)
    direction = rng.uniform(0, math.pi)
    x, y = rng.uniform(6, width - 6), rng.uniform(6, height - 6)
    points = [(x, y)]
    steps = 2 if tiny else 6
    for _ in range(steps):
        turn = direction + rng.normal(0, 0.15 if tiny else 0.28)
        x, y = x + math.cos(turn) * length / steps, y + math.sin(turn) * length / steps
        points.append((x, y))
    return Defect(SCRATCH, tiny, tuple(points), 1.2)


def _dent(rng: np.random.Generator, width: float, height: float, tiny: bool) -> Defect:
    radius = rng.uniform(4.4, 6.0) if tiny else rng.uniform(12, 21)
    return Defect(DENT, tiny, ((rng.uniform(0, width), rng.uniform(0, height)),), radius)


def _around(defect: Defect) -> Rect:
    x, y = np.array(defect.points).T
    r = defect.reach + 3
    return float(x.min() - r), float(y.min() - r), float(x.max() + r), float(y.max() + r)


def _touch(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@dataclass(frozen=True)
class Sprite:
    """A drawn carton: premultiplied BGR and what it leaves of the background (255 = all), both h×w×3;
    `centre` is the pixel of the sprite under the centre of the carton's upper face."""

    colour: Image
    leaves: Image
    centre: tuple[int, int]


def draw(carton: Carton, scale: float, smear: float) -> Sprite:
    """Draw the carton at `scale` pixels a unit, smeared along the belt by `smear` units of motion blur."""
    k = scale * SUPERSAMPLING
    style = np.random.default_rng(carton.style)
    face = _board(style, round(carton.width * k), round(carton.height * k), k)
    missing = any(d.cls == MISSING_LABEL for d in carton.defects)
    _tape(face, style, k)
    _prints(face, style, carton, k)
    if missing:
        _bare_patch(face, style, carton.label, k)
    else:
        _label(face, style, carton.label, k)
    for defect in carton.defects:
        if defect.cls == DENT:
            _draw_dent(face, defect, k, style)
        elif defect.cls == SCRATCH:
            _draw_scratch(face, defect, k, style)
    return _compose(carton, face, k, smear)


def _compose(carton: Carton, face: Image, k: float, smear: float) -> Sprite:
    """Put face, side face and shadow on a canvas, turn it, blur it, bring it down to its final size."""
    margin, side = round(MARGIN * k), round(SIDE * k)
    h, w = face.shape[:2]
    rows, cols = (2 * margin + h + side) // 2 * 2, (2 * margin + w) // 2 * 2
    colour = np.zeros((rows, cols, 3), np.float32)
    alpha = np.zeros((rows, cols), np.float32)
    body = (slice(margin, margin + h + side), slice(margin, margin + w))
    colour[margin : margin + h, body[1]] = face
    fade = np.linspace(0.62, 0.40, side, dtype=np.float32)[:, None, None]
    colour[margin + h : margin + h + side, body[1]] = face[h - 3 : h - 2] * fade
    alpha[body] = 1.0
    turn = cv2.getRotationMatrix2D((margin + w / 2, margin + h / 2), carton.angle, 1.0)
    colour, alpha = cv2.warpAffine(colour, turn, (cols, rows)), cv2.warpAffine(alpha, turn, (cols, rows))
    shadow = np.roll(alpha, (round(7 * k), round(6 * k)), (0, 1))
    shadow = 0.55 * cv2.blur(cv2.blur(shadow, (round(9 * k), round(9 * k))), (round(7 * k), round(7 * k)))
    alpha = alpha + (1 - alpha) * shadow
    kernel = (max(1, round(smear * k)), 1)
    half = (cols // SUPERSAMPLING, rows // SUPERSAMPLING)
    colour = cv2.resize(cv2.blur(colour, kernel), half, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(cv2.blur(alpha, kernel), half, interpolation=cv2.INTER_AREA)
    leaves = np.rint(255 * (1 - alpha)).clip(0, 255).astype(np.uint8)
    return Sprite(
        colour=np.rint(colour).clip(0, 255).astype(np.uint8),
        leaves=np.repeat(leaves[:, :, None], 3, axis=2),
        centre=(round((margin + w / 2) / SUPERSAMPLING), round((margin + h / 2) / SUPERSAMPLING)),
    )


def _put(target: Image, values: NDArray[np.floating[Any]]) -> None:
    """Round `values` into 8-bit pixels of `target`."""
    target[:] = np.rint(values).clip(0, 255)


def _board(style: np.random.Generator, w: int, h: int, k: float) -> Image:
    """Cardboard: tint, flutes showing through, fibres, clouds, worn edges."""
    tint = np.array(_BOARDS[style.choice(4, p=(0.35, 0.3, 0.2, 0.15))], np.float32) * style.uniform(
        0.93, 1.07
    )
    fibres = style.standard_normal((h, w // 6 + 1), np.float32)
    relief = cv2.resize(fibres, (w, h)) * 2.2
    clouds = style.standard_normal((5, 5), np.float32)
    relief += cv2.resize(clouds, (w, h), interpolation=cv2.INTER_CUBIC) * 3.0
    relief += 1.4 * np.sin(np.arange(w, dtype=np.float32) * (2 * math.pi / (4.2 * k)))
    face = tint + relief[:, :, None]
    board = face.clip(0, 255).astype(np.uint8)
    cv2.rectangle(board, (0, 0), (w - 1, h - 1), (tint * 1.12).tolist(), max(1, round(1.6 * k)))
    return board


def _tape(face: Image, style: np.random.Generator, k: float) -> None:
    """Packing tape over the flaps, with its glare."""
    h, w = face.shape[:2]
    x0, x1 = round(w / 2 - 11 * k), round(w / 2 + 11 * k)
    cv2.line(face, (w // 2, 0), (w // 2, h), (70, 92, 112), max(1, round(1.1 * k)))
    clear = style.random() < 0.6
    tone = np.array((228, 232, 234) if clear else (92, 138, 178), np.float32)
    strength = 0.20 if clear else 0.6
    glare = 1 + 0.06 * np.cos(np.linspace(0, math.pi * 3, x1 - x0, dtype=np.float32))[None, :, None]
    _put(face[:, x0:x1], (face[:, x0:x1] * (1 - strength) + tone * strength) * glare)


def _prints(face: Image, style: np.random.Generator, carton: Carton, k: float) -> None:
    """What is printed on the board itself: handling marks and a line of text, away from the label."""
    ink = (52, 66, 84)
    h, w = face.shape[:2]
    below = carton.label[1] < carton.height / 2
    base = h - round(10 * k) if below else round(30 * k)
    x = round(12 * k)
    for mark in style.permutation(3)[:2]:
        _mark(face, int(mark), x, base, k, ink)
        x += round(22 * k)
    text = f"{style.choice(('LOT', 'PAL', 'REF'))} {style.integers(1000, 9999)}"
    at = (w - round(50 * k), base - round(2 * k))
    cv2.putText(face, text, at, cv2.FONT_HERSHEY_DUPLEX, 0.26 * k, ink, max(1, round(0.5 * k)), cv2.LINE_AA)


def _mark(face: Image, mark: int, x: int, base: int, k: float, ink: tuple[int, int, int]) -> None:
    def at(dx: float, dy: float) -> tuple[int, int]:
        return x + round(dx * k), base - round(dy * k)

    thick = max(1, round(1.3 * k))
    cv2.rectangle(face, at(0, 0), at(17, 20), ink, max(1, round(0.8 * k)), cv2.LINE_AA)
    if mark == 0:  # this side up
        for dx in (5.0, 12.0):
            cv2.arrowedLine(face, at(dx, 4), at(dx, 17), ink, thick, cv2.LINE_AA, tipLength=0.4)
    elif mark == 1:  # fragile: a glass
        cv2.fillPoly(face, [np.array([at(4, 17), at(13, 17), at(10, 9), at(7, 9)])], ink, cv2.LINE_AA)
        cv2.line(face, at(8.5, 9), at(8.5, 4), ink, thick, cv2.LINE_AA)
        cv2.line(face, at(5, 3.5), at(12, 3.5), ink, thick, cv2.LINE_AA)
    else:  # keep dry: an umbrella
        cv2.ellipse(face, at(8.5, 10), (round(6.5 * k), round(6.5 * k)), 0, 180, 360, ink, -1, cv2.LINE_AA)
        cv2.line(face, at(8.5, 10), at(8.5, 3), ink, thick, cv2.LINE_AA)


def _label(face: Image, style: np.random.Generator, rect: Rect, k: float) -> None:
    """The printed label: brand on a coloured bar, lines of text, a 2-D code and a barcode."""
    x0, y0, x1, y1 = (round(v * k) for v in rect)
    h, w = y1 - y0, x1 - x0
    paper = np.full((h, w, 3), (232, 238, 240), np.uint8)
    bar = round(h * 0.24)
    accent = _ACCENTS[style.integers(len(_ACCENTS))]
    paper[:bar] = accent
    brand = str(style.choice(_BRANDS))
    at, ink = (round(3 * k), bar - round(3.4 * k)), (245, 245, 245)
    cv2.putText(
        paper, brand, at, cv2.FONT_HERSHEY_DUPLEX, 0.27 * k, ink, max(1, round(0.55 * k)), cv2.LINE_AA
    )
    for row in range(3):
        y = bar + round((5 + 4.6 * row) * k)
        cursor = round(3 * k)
        while cursor < w * 0.62:
            word = round(style.uniform(3, 9) * k)
            cv2.rectangle(paper, (cursor, y - round(1.5 * k)), (min(cursor + word, w), y), (70, 66, 64), -1)
            cursor += word + round(1.6 * k)
    cells = np.where(style.random((9, 9)) < 0.5, 30, 235).astype(np.uint8)
    cells[:, 0] = cells[-1, :] = 30
    size = round(13 * k)
    code = cv2.resize(cells, (size, size), interpolation=cv2.INTER_NEAREST)
    right = w - round(3 * k)
    paper[bar + round(2 * k) : bar + round(2 * k) + size, right - size : right] = code[:, :, None]
    strips = np.where(style.random(46) < 0.5, 25, 236).astype(np.uint8)
    strips[[0, 1, -2, -1]] = 25
    top, bottom = bar + round(19 * k), h - round(3 * k)
    wide = w - round(8 * k)
    stripes = cv2.resize(strips[None], (wide, bottom - top), interpolation=cv2.INTER_NEAREST)
    paper[top:bottom, round(4 * k) : round(4 * k) + wide] = stripes[:, :, None]
    cv2.rectangle(face, (x0 + 1, y0 + 2), (x1 + 1, y1 + 2), (74, 100, 122), max(1, round(k)))
    face[y0:y1, x0:x1] = paper


def _bare_patch(face: Image, style: np.random.Generator, rect: Rect, k: float) -> None:
    """Where a label should be: a clean rectangle and the beads of glue that wait for it."""
    x0, y0, x1, y1 = (round(v * k) for v in rect)
    _put(face[y0:y1, x0:x1], face[y0:y1, x0:x1] * np.float32(1.07))
    cv2.rectangle(face, (x0, y0), (x1, y1), (84, 112, 136), max(1, round(0.7 * k)), cv2.LINE_AA)
    beads = face[y0:y1, x0:x1].copy()
    for row in np.linspace(0.2, 0.8, 4):
        y = round((y1 - y0) * row)
        wave = [
            (round(x), y + round(style.normal(0, 0.9 * k))) for x in np.linspace(5 * k, x1 - x0 - 5 * k, 9)
        ]
        cv2.polylines(beads, [np.array(wave)], False, (196, 214, 224), max(1, round(2.4 * k)), cv2.LINE_AA)
    cv2.addWeighted(face[y0:y1, x0:x1], 0.35, beads, 0.65, 0, dst=face[y0:y1, x0:x1])


def _draw_dent(face: Image, defect: Defect, k: float, style: np.random.Generator) -> None:
    """A crater lit from the upper left: dark where it falls away from the light, bright on the far wall."""
    (cx, cy), radius = defect.points[0], defect.reach
    r = round(radius * k)
    x0, y0 = round(cx * k) - r, round(cy * k) - r
    patch = face[max(0, y0) : y0 + 2 * r, max(0, x0) : x0 + 2 * r]
    rows, cols = patch.shape[:2]
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    u, v = (x - r) / r, (y - r) / r
    angle = style.uniform(0, math.pi)
    squeeze = 1 + 0.18 * np.cos(2 * (np.arctan2(v, u) - angle))
    d2 = (u * u + v * v) * squeeze
    bowl = np.exp(-d2 * 3.0) * (d2 < 1.3)
    slope = (u * 0.6 + v * 0.8) * bowl
    depth = 2.6 if defect.tiny else 2.1
    shade = (1 + depth * slope - (0.32 if defect.tiny else 0.13) * bowl).clip(0.25, 1.6)
    _put(patch, patch * shade[:, :, None])


def _draw_scratch(face: Image, defect: Defect, k: float, style: np.random.Generator) -> None:
    """A torn line: the light core of the board beside a dark edge, its width uneven."""
    points = np.array(defect.points) * k
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        thick = max(1, round((style.uniform(1.4, 1.8) if defect.tiny else style.uniform(0.9, 1.9)) * k))
        a, b = (round(ax), round(ay)), (round(bx), round(by))
        lower = round(1.0 * k)
        cv2.line(face, (a[0], a[1] + lower), (b[0], b[1] + lower), (48, 66, 84), thick, cv2.LINE_AA)
        cv2.line(face, a, b, (214, 228, 236), thick, cv2.LINE_AA)
