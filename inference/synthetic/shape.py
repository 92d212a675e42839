"""What every vertebra is built with: its primitives and landmarks, the traits it is given, and its variation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Prim, bar, ellipsoid

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vertebra:
    """Primitives of one vertebra in its own frame and its landmarks (mm, same frame).

    `marks` names the places where fractures, decoys and wear go.
    """

    prims: list[Prim]
    marks: dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Squash:
    """How a broken body is deformed before it is cut, mm."""

    wedge_mm: float = 0.0
    dip_mm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a person gives to one vertebra; `height_mm` is its body's height as the spine curve placed it.

    `spinous` lengthens the spinous process, `rough_mm` is the size of the bone's own unevenness over `rough_cell_mm`.
    """

    scale: float = 1.0
    width: float = 1.0
    height_mm: float = 13.0
    spinous: float = 1.0
    rough_mm: float = 0.6
    rough_cell_mm: float = 8.0
    variant: str = ""
    squash: Squash = Squash()


class Jitter:
    """Draws per-primitive variation; `s` scales everything, `w` lateral distances as well."""

    def __init__(self, rng: np.random.Generator, scale: float, width: float) -> None:
        self.rng, self.s, self.w = rng, scale, width

    def p(self, x: float, y: float, z: float, sd: float = 0.45) -> Array:
        """A jittered point."""
        at = np.array([x * self.w, y, z]) * self.s
        return at + self.rng.normal(0, sd * self.s, 3)

    def mid(self, y: float, z: float, sd: float = 0.4) -> Array:
        """A jittered point near the midline."""
        return np.array([self.rng.normal(0, 0.3), y + self.rng.normal(0, sd), z + self.rng.normal(0, sd)]) * self.s

    def r(self, value: float, sd: float = 0.07) -> float:
        """A jittered size."""
        return float(value * self.s * np.clip(self.rng.normal(1, sd), 0.7, 1.35))

    def u(self, low: float, high: float) -> float:
        """A uniform draw, unscaled."""
        return float(self.rng.uniform(low, high))


def skewed(shape: Vertebra, rng: np.random.Generator) -> Vertebra:
    """The vertebra a little sheared and stretched, so that left differs from right; heights along z stay."""
    warp = np.eye(4)
    warp[:2, :3] += rng.normal(0, 0.018, (2, 3))
    warp[2, :2] = rng.normal(0, 0.012, 2)
    back = np.linalg.inv(warp)
    prims = [replace(p, inv=p.inv @ back) for p in shape.prims]
    marks = {name: (warp @ np.append(at, 1.0))[:3] for name, at in shape.marks.items()}
    return Vertebra(prims=prims, marks=marks)


def spinous(
    j: Jitter, start: Array, end: Array, *, fork_mm: float, wide: float, tall: float, marks: dict[str, Array]
) -> list[Prim]:
    """A spinous process between two points, forked by `fork_mm` to either side where that is above 0."""
    out = []
    if fork_mm > 0:
        fork = start + (end - start) * j.u(0.45, 0.65)
        out.append(bar(start, fork, j.r(wide), j.r(tall), k=2.5))
        for side in (-1, 1):
            tip = end + np.array([side * fork_mm * j.u(0.6, 1.3), 0, 0]) * j.s + j.rng.normal(0, 0.8, 3)
            out.append(bar(fork, tip, j.r(wide * 0.78), j.r(tall * 0.62), k=2))
    else:
        out.append(bar(start, end, j.r(wide), j.r(tall), taper=0.85, k=2.5))
        out.append(ellipsoid(end, (j.r(wide * 1.4), j.r(wide * 1.3), j.r(tall * 0.85)), k=2.5))
    marks |= {"spinous-base": start, "spinous-tip": end, "spinous": 0.45 * start + 0.55 * end}
    return out
