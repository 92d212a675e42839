"""Sizes of generated vertebrae, taken from rendered labels as a reader would take them from a CT.

Each vertebra is rendered in its own frame, so that heights run along its axis. `PUBLISHED` is what they are compared
with: means of 38 women's CTs (models.md 5.1), mm and cm3; where a range is published its middle is given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.anatomy import LABELS, Anatomy
from inference.synthetic.curve import ALL_LEVELS
from inference.synthetic.grid import Grid
from inference.synthetic.render import render

Array = NDArray[Any]
Sizes = dict[str, float]

PUBLISHED: dict[str, Sizes] = {
    "C1": {"ap": 41.6, "width": 73.4, "height": 24.0, "volume_cm3": 9.7, "canal_ap": 31.0, "canal_width": 30.5},
    "C2": {"ap": 44.6, "width": 50.4, "height": 46.9, "volume_cm3": 12.5, "body_depth": 13.5, "body_width": 18.0}
    | {"tip_to_base": 33.3, "dens_ap": 11.2, "dens_width": 10.1, "disc_front": 4.2, "disc_back": 3.1},
    "C3": {"ap": 41.1, "width": 49.9, "height": 22.2, "volume_cm3": 8.2, "body_depth": 13.9, "body_width": 18.5}
    | {"uncus_width": 25.0, "canal_ap": 16.1, "canal_width": 22.0, "front_height": 12.9, "back_height": 13.2}
    | {"run": 43.6, "disc_front": 4.4, "disc_back": 2.9},
    "C4": {"ap": 39.6, "width": 51.7, "height": 28.4, "volume_cm3": 8.7, "body_depth": 14.4, "body_width": 22.0}
    | {"uncus_width": 27.0, "canal_ap": 15.5, "canal_width": 24.0, "front_height": 12.3, "back_height": 13.0}
    | {"run": 43.0, "disc_front": 4.3, "disc_back": 2.9},
    "C5": {"ap": 42.8, "width": 52.7, "height": 24.5, "volume_cm3": 9.0, "body_depth": 14.8, "body_width": 23.0}
    | {"uncus_width": 28.0, "canal_ap": 15.2, "canal_width": 24.0, "front_height": 11.6, "back_height": 12.7}
    | {"run": 44.2, "disc_front": 4.0, "disc_back": 3.0},
    "C6": {"ap": 46.2, "width": 52.1, "height": 27.0, "volume_cm3": 9.5, "body_depth": 15.4, "body_width": 23.5}
    | {"uncus_width": 29.0, "canal_ap": 14.7, "canal_width": 24.5, "front_height": 11.8, "back_height": 12.5}
    | {"run": 50.3, "disc_front": 4.5, "disc_back": 2.8},
    "C7": {"ap": 56.6, "width": 60.0, "height": 27.2, "volume_cm3": 11.3, "body_depth": 14.6, "body_width": 24.5}
    | {"canal_ap": 15.6, "canal_width": 24.0, "front_height": 13.0, "back_height": 13.3, "run": 57.8},
}
# Overrides of `draw_spec` for a mean, healthy woman in a neutral posture.
MEAN_PERSON: dict[str, Any] = {
    "coverage": "cspine",
    "scale": 1.0,
    "width_scale": 1.0,
    "spinous_scale": (1.0,) * 7,
    "c1_variant": "",
    "lordosis_deg": 11.0,
    "scoliosis_deg": 0.0,
    "neck_turn_deg": 0.0,
    "neck_bend_deg": 0.0,
    "head_turn_deg": 0.0,
    "head_nod_deg": 0.0,
    "disc_scale": (1.0,) * 6,
    "disc_wear": (0.0,) * 6,
    "facet_wear": 0.0,
    "fused": "",
    "fused_kind": "",
    "ossification": "",
}


class _Picture:
    """One vertebra's labels in its own frame; `at` and `run` work in millimetres about the frame's origin."""

    def __init__(self, anatomy: Anatomy, level: str, spacing_mm: float) -> None:
        frame = anatomy.curve.frames[level]
        near = ALL_LEVELS[max(ALL_LEVELS.index(level) - 1, 0) : ALL_LEVELS.index(level) + 2]
        bones = tuple(b for b in anatomy.bones if b.name in near)
        alone = replace(anatomy, soft=(), over=(), outside=(), bones=bones)
        corners = (np.linalg.inv(frame) @ _corners(*anatomy.boxes_lps_mm[level]))[:3]
        lo, hi = corners.min(axis=1), corners.max(axis=1)
        centre = (frame @ np.append((lo + hi) / 2, 1.0))[:3]
        grid = Grid.around(centre, hi - lo + 4, spacing_mm, frame[:3, :3])
        self.step = spacing_mm
        self.labels = render(alone, grid, ideal=True).labels
        self.own: Array = self.labels == LABELS[level]
        self.origin = (np.linalg.inv(frame) @ grid.affine_lps)[:3, 3][::-1]

    def index(self, axis: int, mm: float) -> int:
        """The sample along an axis (0 z, 1 y, 2 x) nearest to a coordinate."""
        return int(np.clip(round((mm - self.origin[axis]) / self.step), 0, self.own.shape[axis] - 1))

    def mm(self, axis: int, index: float) -> float:
        return float(self.origin[axis] + index * self.step)

    def line(self, axis: int, bone: Array, **at: float) -> Array:
        """The samples along one axis through a point given by the other two, smoothed over 1.5 mm across."""
        where: list[Any] = [0, 0, 0]
        for number, name in enumerate("zyx"):
            if number == axis:
                where[number] = slice(None)
            else:
                i = self.index(number, at[name])
                reach = max(1, round(0.75 / self.step)) if name == "x" else 0
                where[number] = slice(max(i - reach, 0), i + reach + 1)
        block = bone[tuple(where)]
        out: Array = np.moveaxis(block, axis, 0).reshape(block.shape[axis], -1).mean(axis=1) > 0.5
        return out

    def run(self, axis: int, start: float, bone: Array | None = None, **at: float) -> tuple[float, float]:
        """The ends, mm, of the unbroken run of bone through a coordinate; equal where there is none."""
        line = self.line(axis, self.own if bone is None else bone, **at)
        i = self.index(axis, start)
        if not line[i]:
            return start, start
        outside = np.flatnonzero(~line)
        lower, upper = outside[outside < i], outside[outside > i]
        first = lower[-1] + 0.5 if len(lower) else -0.5
        last = upper[0] - 0.5 if len(upper) else len(line) - 0.5
        return self.mm(axis, first), self.mm(axis, last)

    def length(self, axis: int, start: float, bone: Array | None = None, **at: float) -> float:
        low, high = self.run(axis, start, bone, **at)
        return high - low


def _corners(lo: Array, hi: Array) -> Array:
    x, y, z = np.meshgrid(*zip(lo, hi, strict=True), indexing="ij")
    return np.stack([x.ravel(), y.ravel(), z.ravel(), np.ones(8)])


def _overall(p: _Picture) -> Sizes:
    spans = []
    for axis in range(3):
        there = np.flatnonzero(p.own.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append((there[-1] - there[0] + 1) * p.step)
    volume = float(p.own.sum()) * p.step**3 / 1000
    return {"ap": spans[1], "width": spans[2], "height": spans[0], "volume_cm3": volume}


def _atlas(p: _Picture) -> Sizes:
    free = ~p.own
    return {
        "canal_ap": p.length(1, 0.0, free, z=0.0, x=0.0),
        "canal_width": p.length(2, 0.0, free, z=0.0, y=4.0),
    }


def _axis(p: _Picture) -> Sizes:
    front, back = p.run(1, 0.0, z=-3.0, x=0.0)
    middle = (front + back) / 2
    low, high = p.run(0, 0.0, y=middle, x=0.0)
    dens = high - 8.0
    tip = max(p.run(0, 0.0, y=y, x=0.0)[1] for y in np.arange(-2.0, 3.0, 0.5))
    return {
        "body_depth": back - front,
        "body_width": p.length(2, 0.0, z=low + 2.0, y=front + 0.3 * (back - front)),
        "tip_to_base": tip - low,
        "dens_ap": p.length(1, middle, z=dens, x=0.0),
        "dens_width": p.length(2, 0.0, z=dens, y=middle),
    }


def _subaxial(p: _Picture) -> Sizes:
    front, back = p.run(1, 0.0, z=0.0, x=0.0)
    depth = back - front
    low, high = p.run(0, 0.0, y=(front + back) / 2, x=0.0)
    inner = p.own[:, p.index(1, front + 1.5) : p.index(1, back - 1.5)]
    rim = inner[p.index(0, high - 2.0) : p.index(0, high + 0.5)].any(axis=(0, 1))
    spread = np.flatnonzero(rim)
    gaps = [p.length(1, back + 5.0, ~p.own, z=z, x=0.0) for z in np.arange(low, 0.5, p.step)]
    mid = p.own[:, :, p.index(2, -7.0) : p.index(2, 7.0)].any(axis=(0, 2))
    along = np.flatnonzero(mid)
    return {
        "body_depth": depth,
        "body_width": p.length(2, 0.0, z=0.4 * high, y=front + 0.3 * depth),
        "uncus_width": float(spread[-1] - spread[0] + 1) * p.step,
        "canal_ap": min(gaps),
        "canal_width": p.length(2, 0.0, ~p.own, z=1.5, y=back + 6.0),
        "front_height": p.length(0, 0.0, y=front + 0.2 * depth, x=0.0),
        "back_height": p.length(0, 0.0, y=back - 0.2 * depth, x=0.0),
        "run": float(along[-1] - along[0] + 1) * p.step,
    }


def _disc(p: _Picture, below: int) -> Sizes:
    """Free height under the body at a fifth of its depth from either end, on to the next vertebra."""
    front, back = p.run(1, 0.0, z=-2.0, x=0.0)
    out = {}
    for name, y in (("disc_front", front + 0.2 * (back - front)), ("disc_back", back - 0.2 * (back - front))):
        low = p.run(0, -2.0, y=y, x=0.0)[0]
        line = p.line(0, p.labels == below, y=y, x=0.0)
        there = np.flatnonzero(line[: p.index(0, low)])
        out[name] = low - p.mm(0, there[-1] + 0.5) if len(there) else float("nan")
    return out


def measure(anatomy: Anatomy, level: str, spacing_mm: float = 0.5) -> Sizes:
    """Sizes of C1 to C7 as named in `PUBLISHED`, mm (volume cm3); discs are those under the level."""
    p = _Picture(anatomy, level, spacing_mm)
    more = {"C1": _atlas, "C2": _axis}.get(level, _subaxial)(p)
    discs = _disc(p, LABELS[level] + 1) if level not in ("C1", "C7") else {}
    return _overall(p) | more | discs
