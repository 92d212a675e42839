"""Shapes of C3 to C7, in their own frames, millimetres."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Prim, bar, box, plate, tube, vertebral_body
from inference.synthetic.shape import Jitter, Traits, Vertebra, spinous

Array = NDArray[Any]
_SIDES = ((-1, "right"), (1, "left"))


class _Size(NamedTuple):
    """Mean sizes of a level, mm: `run` from the body's front to the spinous tip, which ends at height `drop`.

    `tilt` is how much taller the body's back is than its front, `pillar` half the articular pillar's height.
    """

    depth: float
    width: float
    uncus: float
    canal_ap: float
    canal_width: float
    run: float
    across: float
    drop: float
    tilt: float
    pillar: float
    lamina: float
    spine: tuple[float, float]


_SIZES = {
    "C3": _Size(14.3, 19.2, 25.0, 16.1, 20.7, 43.0, 49.0, -8.0, 0.3, 5.0, 1.65, (2.4, 4.0)),
    "C4": _Size(14.6, 20.5, 27.0, 15.5, 23.0, 40.7, 49.8, -13.3, 0.7, 4.95, 1.3, (2.1, 3.5)),
    "C5": _Size(15.2, 21.5, 27.8, 15.2, 22.8, 43.4, 51.8, -12.0, 1.1, 5.3, 1.8, (2.5, 4.2)),
    "C6": _Size(15.3, 23.5, 28.0, 14.7, 23.2, 46.6, 51.2, -13.0, 1.0, 5.0, 1.6, (2.6, 4.4)),
    "C7": _Size(15.0, 25.2, 28.5, 15.6, 22.4, 55.3, 58.4, -11.5, 0.8, 5.4, 2.5, (3.2, 5.0)),
}
_FORAMEN_Y = 2.4


def subaxial(j: Jitter, level: str, traits: Traits) -> Vertebra:
    """C3 to C7: body with uncinates, pedicles, pillars, transverse processes with foramina, laminae, spine."""
    size = _SIZES[level]
    s = j.s
    h, b = traits.height_mm / 2 / s, size.depth / 2
    prims = [_body(j, size, traits)]
    marks: dict[str, Array] = {
        "body": np.zeros(3),
        "front": np.array([0, -b, 0]) * s,
        "corner": np.array([0, -b, -h]) * s,
        "upper-corner": np.array([0, -b, h]) * s,
        "rear-wall": np.array([0, b, 0]) * s,
    }
    for side, name in _SIDES:
        prims += _uncinate(j, size, side, h)
        prims += _side(j, level, size, side, name, marks)
    back = b + size.canal_ap
    start = j.mid(back + 2.3, -3.0)
    end = j.mid(size.run - b + j.rng.normal(0, 1.2) - 3.4, size.drop, 0.8)
    end = start + (end - start) * traits.spinous
    long = level == "C7" or (level == "C6" and j.rng.random() < 0.5)
    wide, tall = size.spine
    prims += spinous(j, start, end, fork_mm=0.0 if long else j.u(1.8, 4.8), wide=wide, tall=tall, marks=marks)
    canal = np.array([0, b + size.canal_ap / 2 + 0.15, 0]) * s
    half = (j.r(size.canal_width / 2, 0.03) * j.w, j.r(size.canal_ap / 2 - 0.1, 0.03))
    prims.append(tube(canal - [0, 0, 14 * s], canal + np.array([0, 0, 14 * s]), *half, k=1.0))
    marks["canal"] = canal
    return Vertebra(prims=prims, marks=marks)


def _body(j: Jitter, size: _Size, traits: Traits) -> Prim:
    return vertebral_body(
        [0, 0, 0],
        width=j.r(size.width + 2.2, 0.04) * j.w,
        depth=j.r(size.depth + 1.4, 0.04),
        height=traits.height_mm,
        flare=0.8 * j.s,
        waist=j.u(0.4, 1.1) * j.s,
        arch=j.u(0.8, 1.6) * j.s,
        tilt_top_mm=(0.42 * size.tilt + 0.1) * j.s,
        tilt_bottom_mm=(0.42 * size.tilt - 0.1) * j.s,
        wedge_mm=traits.squash.wedge_mm,
        dip_mm=traits.squash.dip_mm,
    )


def _uncinate(j: Jitter, size: _Size, side: int, h: float) -> list[Prim]:
    lip = size.uncus / 2 - 1.7
    rise = j.u(0.6, 2.0)
    low, high = j.p(side * lip, -2.5, h + 0.2), j.p(side * (lip - 0.3), 4.8, h + rise)
    return [bar(low, high, j.r(1.8), j.r(2.4), k=2.5)]


def _pillar(centre: Array, half: tuple[float, float, float], r: float, slope_deg: float) -> Prim:
    """An articular pillar: upright front and back, facets sloping down backwards. A box on skewed axes."""
    prim = box(np.zeros(3), half, r, k=2)
    angle = np.radians(slope_deg)
    skew = np.array([[1, 0, 0], [0, 1, 0], [0, np.sin(angle), np.cos(angle)]])
    return replace(prim, inv=np.hstack([skew, (-skew @ centre)[:, None]]))


def _side(j: Jitter, level: str, size: _Size, side: int, name: str, marks: dict[str, Array]) -> list[Prim]:
    """Pedicle, pillar, transverse process with its foramen, and lamina of one side."""
    s, low = j.s, level == "C7"
    b, a = size.depth / 2, size.width / 2
    back = b + size.canal_ap
    pillar = j.p(side * (size.canal_width / 2 + 6.3), b + 6.9, -0.5)
    thin = 0.8 if low else 1.0
    end = j.p(side * (size.across / 2 - 2.3), 8.5 if low else 6.0, 1.0 if low else -2.5, 0.8)
    front = j.p(side * (size.across / 2 - (9.0 if low else 5.5)), 0.7 if low else -2.7, -3.2, 0.6)
    hole = j.p(side * (a + 4.6), _FORAMEN_Y, 0)
    root = pillar + np.array([0, -2 * s, 1.2 * s])
    outer, inner = j.p(side * (size.canal_width / 2 + 4.2), back - 4.2, -2.0), j.p(side * 2.0, back + 1.7, -3.0, 0.3)
    prims = [
        _pillar(pillar, (j.r(5.4), j.r(4.9), j.r(size.pillar, 0.04)), 1.9 * s, 45 + j.rng.normal(0, 5)),
        bar(j.p(side * (a - 2.5), b - 3.0, 1.5), root, j.r(2.5), j.r(3.4), k=2),
        bar(j.p(side * (a - 2), -1.1, -2.2), front, j.r(1.95 * thin), j.r(2.5 * thin), k=2),
        bar(front, end, j.r(1.8), j.r(2.4 * thin), k=2),
        bar(pillar - np.array([0, 2 * s, 1 * s]), end, j.r(2.5), j.r(3.4 if low else 2.6), k=2),
        tube(hole - [0, 0, 9 * s], hole + np.array([0, 0, 9 * s]), j.r(2.75 * (0.8 if low else 1), 0.12), k=1),
        plate(outer, inner, j.r(size.lamina), j.r(5.0), lean_deg=j.u(8, 24), k=2.5),
    ]
    marks |= {
        f"pillar-{name}": pillar,
        f"tp-tip-{name}": end,
        f"foramen-{name}": hole,
        f"tp-{name}": 0.5 * (end + hole),
        f"lamina-{name}": 0.5 * (outer + inner),
        f"pedicle-{name}": np.array([side * (a + 1.2), b + 0.6, 1.8]) * s,
        f"tp-front-{name}": front,
    }
    return prims
