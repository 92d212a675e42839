"""Shapes of single vertebrae, in their own frames, millimetres.

Mean sizes follow published measurements (parametric studies of healthy necks); every primitive is jittered on its
own so that left differs from right and no two vertebrae are alike. `Vertebra.marks` names the places where
fractures and decoys go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Prim, bar, box, curved, ellipsoid, rotation, tube, vertebral_body

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vertebra:
    """Primitives of one vertebra in its own frame and its landmarks (mm, same frame)."""

    prims: list[Prim]
    marks: dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Squash:
    """How a broken body is deformed before it is cut, mm."""

    wedge_mm: float = 0.0
    dip_mm: float = 0.0


class Jitter:
    """Draws per-primitive variation; `s` scales everything, `w` lateral distances as well."""

    def __init__(self, rng: np.random.Generator, scale: float, width: float) -> None:
        self.rng, self.s, self.w = rng, scale, width

    def p(self, x: float, y: float, z: float, sd: float = 0.45) -> Array:
        """A jittered point."""
        at = np.array([x * self.w, y, z]) * self.s
        return at + self.rng.normal(0, sd * self.s, 3) * (1.0, 1.0, 1.0)

    def mid(self, y: float, z: float, sd: float = 0.4) -> Array:
        """A jittered point near the midline."""
        return np.array([self.rng.normal(0, 0.3), y + self.rng.normal(0, sd), z + self.rng.normal(0, sd)]) * self.s

    def r(self, value: float, sd: float = 0.07) -> float:
        """A jittered size."""
        return float(value * self.s * np.clip(self.rng.normal(1, sd), 0.7, 1.35))


# depth, mid width, upper (uncus) width, canal depth, canal width, front of body to spinous tip, width over processes
_SUBAXIAL = {
    "C3": (13.9, 18.5, 24.5, 16.1, 22.0, 43.0, 49.9),
    "C4": (14.4, 20.5, 26.0, 15.5, 24.0, 42.5, 51.7),
    "C5": (14.8, 22.0, 27.5, 15.2, 24.0, 44.0, 52.7),
    "C6": (15.4, 23.5, 28.5, 14.7, 24.5, 50.0, 53.0),
    "C7": (14.9, 24.5, 28.5, 15.6, 24.5, 57.5, 60.0),
}


def atlas(j: Jitter) -> Vertebra:
    """C1: a ring of two arches and two lateral masses, without body or spinous process."""
    front, back = j.r(-14.4, 0.03), j.r(20.4, 0.04)
    s = j.s
    prims: list[Prim] = []
    marks: dict[str, Array] = {}
    anterior = [j.p(-15, -10.5, 0), j.p(-8, -14.0, 0), np.array([0, front, 0]), j.p(8, -14.0, 0), j.p(15, -10.5, 0)]
    prims += curved(anterior, j.r(2.4), j.r(5.0), k=2)
    prims.append(ellipsoid([0, front - 1.3 * s, -0.5 * s], (j.r(3.5), j.r(2.6), j.r(4.2)), k=2.5))
    arch = [
        j.p(-18, 7, 1.5),
        j.p(-16.5, 12.0, 2.0),
        j.p(-9.5, 18.4, 0),
        np.array([0, back, -0.5 * s]),
        j.p(9.5, 18.4, 0),
        j.p(16.5, 12.0, 2.0),
        j.p(18, 7, 1.5),
    ]
    thin, thick = j.r(2.2), j.r(2.7)
    low, tall = j.r(2.9), j.r(4.3)
    prims += curved(arch, [thin, thick, thick, thick, thick, thin], [low, tall, tall, tall, tall, low], k=2)
    prims.append(ellipsoid([0, back + 1.2 * s, -0.5 * s], (j.r(4), j.r(2.4), j.r(3.4)), k=2.5))
    for side, name in ((-1, "right"), (1, "left")):
        mass = j.p(side * 20.3, -1.0, 0)
        prims.append(box(mass, (j.r(6.4), j.r(9.5), j.r(10.6)), 3.8 * s, rotation(0, side * 6, side * -18), k=2))
        tip = j.p(side * 33.4, 3.5, -3.0, 1.0)
        prims.append(bar(j.p(side * 24, 4.5, -1), tip, j.r(3.0), j.r(3.6), taper=0.9, k=2))
        prims.append(bar(j.p(side * 24, -4, -1), tip, j.r(2.0), j.r(2.4), k=2))
        hole = j.p(side * 28.2, 0.7, 0)
        prims.append(tube(hole - [0, 0, 12], hole + np.array([0, 0, 12]), j.r(2.9, 0.12)))
        groove = j.p(side * 15.5, 12.0, 6.5)
        prims.append(
            bar(groove - [side * 6 * s, 3 * s, 0], groove + np.array([side * -2 * s, 3 * s, 0]), 2.6 * s, op="-", k=1.5)
        )
        marks[f"mass-{name}"] = mass
        marks[f"tp-{name}"] = 0.5 * (tip + hole)
        marks[f"foramen-{name}"] = hole
        marks[f"tp-tip-{name}"] = tip
        marks[f"arch-{name}"] = np.array([side * 12.5, 16.5, 0.5]) * s
    ring = np.array([0, 4.0, 0]) * s
    half = j.r(14.2, 0.03) * j.w
    prims.append(tube(ring - [0, 0, 14], ring + np.array([0, 0, 14]), half, abs(ring[1] - front) - j.r(2.4), k=2.0))
    canal = np.array([0, back - j.r(2.7) - 11.5 * s, 0])
    prims.append(tube(canal - [0, 0, 14], canal + np.array([0, 0, 14]), half, 11.5 * s, k=1.0))
    marks |= {"front": np.array([0, front, 0]), "back": np.array([0, back, 0]), "canal": ring}
    return Vertebra(prims=prims, marks=marks)


def axis(j: Jitter, height: float) -> Vertebra:
    """C2: body, dens, sloping upper facets, a big bifid spinous process."""
    s = j.s
    h = height / 2
    tip = j.p(0, 1.2, 24.0, 0.8)
    base = j.p(0, -0.6, 5.0, 0.3)
    waist = base + (tip - base) * 0.35
    wide, deep = j.r(4.7), j.r(5.4)
    prims = [
        vertebral_body(
            [0, 0, -0.5 * s], width=j.r(18.5) * j.w, depth=j.r(14.0), height=height, flare=0.5, waist=0.6, arch=1.5
        ),
        box([0, -0.6 * s, 3.5 * s], (j.r(8.0), j.r(6.3), j.r(5.0)), 4.0 * s, k=3),
        bar(base, waist, wide * 0.95, deep * 0.92, up=(0, 1, 0), k=2.5),
        bar(waist, tip - [0, 0, 4 * s], wide, deep, up=(0, 1, 0), taper=0.86, k=2.0),
    ]
    marks = {"dens-base": base, "dens-tip": tip, "dens": waist, "body": np.zeros(3), "front": np.array([0, -7 * s, 0])}
    for side, name in ((-1, "right"), (1, "left")):
        upper = j.p(side * 15.0, 1.0, 2.8)
        prims.append(box(upper, (j.r(8.2), j.r(8.3), j.r(3.6)), 3.0 * s, rotation(0, side * 24, side * -10), k=3))
        prims.append(bar(j.p(side * 9, 0, -2), upper - [0, 0, 2 * s], j.r(5.0), j.r(5.5), k=3))
        pillar = j.p(side * 17.0, 13.5, -8.0)
        prims.append(box(pillar, (j.r(5.2), j.r(4.6), j.r(6.2)), 2.5 * s, rotation(-45), k=2))
        prims.append(
            bar(
                upper + np.array([side * 0.5, 4 * s, -3 * s]),
                pillar + np.array([0, 0, 1 * s]),
                j.r(4.0),
                j.r(4.2),
                k=2.5,
            )
        )
        end = j.p(side * 24.5, 4.5, -8.0, 0.8)
        prims.append(bar(j.p(side * 17, 6.5, -4), end, j.r(2.5), j.r(2.8), k=2))
        prims.append(bar(j.p(side * 9.5, 0.5, -6), end, j.r(2.0), j.r(2.2), k=2))
        hole = j.p(side * 16.0, 3.8, -7.5)
        prims.append(tube(hole - [side * -2, 0, 6 * s], hole + np.array([side * 5, 0, 7 * s]), j.r(2.5, 0.12), k=1))
        lamina = j.p(side * 16.0, 17.0, -6.5)
        prims.append(bar(lamina, j.p(side * 3.0, 25.5, -5.5, 0.3), j.r(2.7), j.r(5.2), k=2))
        marks |= {
            f"pars-{name}": 0.5 * (upper + pillar),
            f"pillar-{name}": pillar,
            f"tp-{name}": 0.6 * end + 0.4 * hole,
            f"tp-tip-{name}": end,
            f"foramen-{name}": hole,
            f"upper-{name}": upper,
            f"lamina-{name}": np.array([side * 9.5, 21.3, -6.0]) * s,
            f"pedicle-{name}": j.p(side * 10.5, 5.5, -3, 0),
        }
    prims += _spinous(
        j, 25.5, j.rng.normal(35.0, 1.5), -6.5, -14.5, bifid=j.rng.uniform(3.5, 6.0), w=3.3, h=4.8, marks=marks
    )
    canal = np.array([0, 7.0 + 8.7, 0]) * s
    low, high = canal - [0, 0, 26 * s], canal + np.array([0, 0, 22 * s])
    prims.append(tube(low, high, j.r(11.5) * j.w, j.r(8.7), k=1.5))
    marks |= {"canal": canal, "corner": np.array([0, -6.5 * s, -h])}
    return Vertebra(prims=prims, marks=marks)


def _spinous(
    j: Jitter, y0: float, y1: float, z0: float, z1: float, *, bifid: float, w: float, h: float, marks: dict[str, Array]
) -> list[Prim]:
    start, end = j.mid(y0, z0), j.mid(y1, z1, 0.8)
    out = []
    if bifid > 0:
        fork = start + (end - start) * 0.55
        out.append(bar(start, fork, j.r(w), j.r(h), k=2))
        for side in (-1, 1):
            out.append(
                bar(
                    fork,
                    end + np.array([side * bifid, 0, 0]) * j.s + j.rng.normal(0, 0.8, 3),
                    j.r(w * 0.75),
                    j.r(h * 0.6),
                    k=2,
                )
            )
    else:
        out.append(bar(start, end, j.r(w), j.r(h), taper=0.9, k=2))
        out.append(ellipsoid(end, (j.r(w * 1.35), j.r(w * 1.3), j.r(h * 1.0)), k=2))
    marks |= {"spinous-base": start, "spinous-tip": end, "spinous": 0.45 * start + 0.55 * end}
    return out


def _pillar(centre: Array, half: tuple[float, float, float], r: float, slope_deg: float) -> Prim:
    """An articular pillar: upright front and back, facets sloping down backwards. A box on skewed axes."""
    prim = box(np.zeros(3), half, r, k=2)
    angle = np.radians(slope_deg)
    skew = np.array([[1, 0, 0], [0, 1, 0], [0, np.sin(angle), np.cos(angle)]])
    return replace(prim, inv=np.hstack([skew, (-skew @ centre)[:, None]]))


def subaxial(j: Jitter, level: str, height: float, squash: Squash) -> Vertebra:
    """C3 to C7."""
    depth, width, top, canal_ap, canal_w, run, across = _SUBAXIAL[level]
    s, h = j.s, height / 2 / j.s
    b, a = depth / 2, width / 2
    back = b + canal_ap - 0.5
    prims = [
        vertebral_body(
            [0, 0, 0],
            width=j.r(width + 1.6, 0.04) * j.w,
            depth=j.r(depth + 1.2, 0.04),
            height=height,
            flare=0.8 * s,
            waist=j.rng.uniform(0.4, 1.1) * s,
            arch=j.rng.uniform(0.8, 1.8) * s,
            wedge_mm=squash.wedge_mm,
            dip_mm=squash.dip_mm,
        )
    ]
    marks: dict[str, Array] = {
        "body": np.zeros(3),
        "front": np.array([0, -b, 0]) * s,
        "corner": np.array([0, -b, -h]) * s,
        "upper-corner": np.array([0, -b, h]) * s,
        "rear-wall": np.array([0, b, 0]) * s,
    }
    foramen_y = 2.4
    for side, name in ((-1, "right"), (1, "left")):
        lip = top / 2 - 1.9
        prims.append(
            bar(j.p(side * lip, -2.5, h + 0.3), j.p(side * (lip - 0.4), 4.8, h + 1.6), j.r(1.8), j.r(2.4), k=2.5)
        )
        pillar = j.p(side * (canal_w / 2 + 6.0), b + 6.6, -0.5)
        prims.append(_pillar(pillar, (j.r(5.4), j.r(4.9), j.r(5.1, 0.04)), 1.9 * s, 45 + j.rng.normal(0, 4)))
        prims.append(
            bar(j.p(side * (a - 2.5), b - 3.0, 1.5), pillar + np.array([0, -2 * s, 1.2 * s]), j.r(2.5), j.r(3.4), k=2)
        )
        end = j.p(side * (across / 2 - 2.3), 6.0 if level != "C7" else 8.5, -2.5 if level != "C7" else 1.0, 0.9)
        front = j.p(side * (across / 2 - 5.5), -2.6 if level != "C7" else 1.0, -2.5, 0.8)
        thin = 0.75 if level == "C7" else 1.0
        hole = j.p(side * (a + 4.9), foramen_y, 0)
        prims.append(bar(j.p(side * (a - 2), -0.8, -1), front, j.r(1.9 * thin), j.r(2.5 * thin), k=2))
        prims.append(bar(front, end, j.r(1.7), j.r(2.3 * thin), k=2))
        prims.append(
            bar(pillar + np.array([0, -2 * s, -1 * s]), end, j.r(2.3), j.r(3.2 if level == "C7" else 2.6), k=2)
        )
        prims.append(
            tube(
                hole - [0, 0, 9 * s],
                hole + np.array([0, 0, 9 * s]),
                j.r(2.75 * (0.8 if level == "C7" else 1), 0.12),
                k=1,
            )
        )
        lam_out, lam_in = j.p(side * (canal_w / 2 + 4.0), back - 4.5, -2.0), j.p(side * 2.0, back + 2.2, -3.0, 0.3)
        prims.append(bar(lam_out, lam_in, j.r(1.9), j.r(5.4), k=2))
        marks |= {
            f"pillar-{name}": pillar,
            f"tp-tip-{name}": end,
            f"foramen-{name}": hole,
            f"tp-{name}": 0.5 * (end + hole),
            f"lamina-{name}": 0.5 * (lam_out + lam_in),
            f"pedicle-{name}": np.array([side * (a + 1.2), b + 0.6, 1.8]) * s,
            f"tp-front-{name}": front,
        }
    long = level == "C7" or (level == "C6" and j.rng.random() < 0.5)
    drop = {"C3": -8.5, "C4": -10.5, "C5": -10.0, "C6": -12.0, "C7": -12.0}[level]
    prims += _spinous(
        j,
        back + 3.0,
        run - b + j.rng.normal(0, 1.5) - 4.5,
        -3.0,
        drop,
        bifid=0.0 if long else j.rng.uniform(2.0, 4.5),
        w=2.4 if level != "C7" else 3.0,
        h=4.0 if level != "C7" else 4.6,
        marks=marks,
    )
    canal = np.array([0, b + canal_ap / 2 + 0.15, 0]) * s
    prims.append(
        tube(
            canal - [0, 0, 14 * s],
            canal + np.array([0, 0, 14 * s]),
            j.r(canal_w / 2 - 0.3, 0.03) * j.w,
            j.r(canal_ap / 2 - 0.4, 0.03),
            k=1.0,
        )
    )
    marks["canal"] = canal
    return Vertebra(prims=prims, marks=marks)


def thoracic(j: Jitter, number: int, height: float) -> Vertebra:
    """T1 to T12, coarser: body, pedicles, laminae, backward processes, sloping spinous process."""
    t = (number - 1) / 11
    depth, width = 16 + 14 * t, 27 + 6 * abs(t - 0.35) + 8 * t
    b, a = depth / 2, width / 2
    run, slope = 38 + 6 * t, -10 - 22 * np.sin(np.pi * min(t * 1.15, 1))
    prims = [
        vertebral_body(
            [0, 0, 0], width=j.r(width, 0.04), depth=j.r(depth, 0.04), height=height, flare=0.5, waist=1.2, arch=0.8
        )
    ]
    marks = {"body": np.zeros(3), "front": np.array([0, -b, 0]) * j.s}
    back = b + 16
    for side, name in ((-1, "right"), (1, "left")):
        pillar = j.p(side * 13.5, b + 11, 0)
        prims.append(bar(j.p(side * (a - 4), b - 3, 3), j.p(side * 12.0, b + 8, 3), j.r(3.0), j.r(4.6), k=2))
        prims.append(box(pillar, (j.r(6.0), j.r(4.0), j.r(11.0)), 2.5 * j.s, rotation(-16), k=2))
        tip = j.p(side * (36 - 12 * t), b + 16 + 6 * t, 3.5, 1.0)
        prims.append(bar(j.p(side * 14, b + 11, 2), tip, j.r(3.4), j.r(4.4), taper=1.15, k=2))
        prims.append(bar(j.p(side * 13, back - 3.5, -2), j.p(side * 2, back + 3, -4), j.r(2.6), j.r(7.5), k=2))
        marks[f"tp-tip-{name}"] = tip
    prims.append(bar(j.mid(back + 3, -4), j.mid(back + run * 0.82, slope, 1), j.r(2.7), j.r(5.0), k=2))
    canal = np.array([0, b + 8.2, 0]) * j.s
    prims.append(tube(canal - [0, 0, 22], canal + np.array([0, 0, 22]), j.r(9.5), j.r(8.2), k=1.2))
    marks["canal"] = canal
    return Vertebra(prims=prims, marks=marks)


def lumbar(j: Jitter, number: int, height: float) -> Vertebra:
    """L1 to L5, coarse."""
    width, depth = 43 + 2 * number, 33.0
    b, a = depth / 2, width / 2
    back = b + 17
    prims = [
        vertebral_body(
            [0, 0, 0], width=j.r(width, 0.04), depth=j.r(depth, 0.04), height=height, flare=0.5, waist=2.5, arch=0.8
        )
    ]
    for side in (-1, 1):
        prims.append(bar(j.p(side * (a - 7), b - 3, 5), j.p(side * 15, b + 10, 5), j.r(4.6), j.r(7.0), k=2))
        prims.append(box(j.p(side * 17, b + 16, -2), (j.r(7.5), j.r(6.0), j.r(17.0)), 3 * j.s, k=3))
        prims.append(bar(j.p(side * 16, b + 11, 3), j.p(side * 42, b + 13, 5), j.r(2.6), j.r(5.5), k=2))
        prims.append(bar(j.p(side * 14, back - 2, -5), j.p(side * 2, back + 5, -6), j.r(3.2), j.r(9), k=2))
    prims.append(bar(j.mid(back + 6, -6), j.mid(back + 27, -8, 1), j.r(3.2), j.r(9.5), k=2))
    canal = np.array([0, b + 8.8, 0]) * j.s
    prims.append(tube(canal - [0, 0, 30], canal + np.array([0, 0, 30]), j.r(12), j.r(8.8), k=1.2))
    return Vertebra(prims=prims, marks={"body": np.zeros(3), "canal": canal, "front": np.array([0, -b, 0]) * j.s})


def build_vertebra(
    level: str, rng: np.random.Generator, scale: float, width: float, height: float, squash: Squash
) -> Vertebra:
    """The vertebra of a level; `height` is its body height in mm as the spine curve placed it."""
    j = Jitter(rng, scale, width)
    if level == "C1":
        return atlas(j)
    if level == "C2":
        return axis(j, height)
    if level[0] == "C":
        return subaxial(j, level, height, squash)
    number = int(level[1:])
    return thoracic(j, number, height) if level[0] == "T" else lumbar(j, number, height)
