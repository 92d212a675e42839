"""Shapes of C1 and C2, in their own frames, millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Prim, bar, box, chain, curved, ellipsoid, rotation, tube, vertebral_body
from inference.synthetic.shape import Jitter, Traits, Vertebra, spinous

Array = NDArray[Any]
_SIDES = ((-1, "right"), (1, "left"))


def atlas(j: Jitter, traits: Traits) -> Vertebra:
    """C1: a ring of two arches and two lateral masses, without body or spinous process.

    Variants: "hypoplastic" thins the posterior arch and drops its tubercle, "arcuate" bridges the artery's groove.
    """
    front, back = j.r(-14.4, 0.03), j.r(20.2, 0.04)
    s = j.s
    marks: dict[str, Array] = {"front": np.array([0, front, 0]), "back": np.array([0, back, 0])}
    prims = _anterior_arch(j, front) + _posterior_arch(j, back, traits.variant)
    for side, name in _SIDES:
        prims += _lateral_mass(j, side, name, marks, traits.variant)
    ring = np.array([0, 4.0, 0]) * s
    half = j.r(14.4, 0.03) * j.w
    prims.append(tube(ring - [0, 0, 14], ring + np.array([0, 0, 14]), half, abs(ring[1] - front) - j.r(2.4), k=2.0))
    canal = np.array([0, back - j.r(2.5) - 11.5 * s, 0])
    prims.append(tube(canal - [0, 0, 14], canal + np.array([0, 0, 14]), half, 11.5 * s, k=1.0))
    marks["canal"] = ring
    return Vertebra(prims=prims, marks=marks)


def _anterior_arch(j: Jitter, front: float) -> list[Prim]:
    points = [j.p(-15, -10.5, 0), j.p(-8, -13.8, 0), np.array([0, front, 0]), j.p(8, -13.8, 0), j.p(15, -10.5, 0)]
    tubercle = ellipsoid([0, front - 1.3 * j.s, -0.8 * j.s], (j.r(3.5), j.r(2.6), j.r(4.0)), k=2.5)
    return [*curved(points, j.r(2.3), j.r(4.7), k=2), tubercle]


def _posterior_arch(j: Jitter, back: float, variant: str) -> list[Prim]:
    points = [
        j.p(-18, 7, 1.5),
        j.p(-16.5, 12.0, 2.0),
        j.p(-9.5, 18.0, 0),
        np.array([0, back, -0.5 * j.s]),
        j.p(9.5, 18.0, 0),
        j.p(16.5, 12.0, 2.0),
        j.p(18, 7, 1.5),
    ]
    small = 0.72 if variant == "hypoplastic" else 1.0
    thin, thick, low, tall = j.r(1.9), j.r(2.2) * small, j.r(2.5), j.r(3.9) * small
    prims = curved(points, [thin, thick, thick, thick, thick, thin], [low, tall, tall, tall, tall, low], k=2)
    if variant != "hypoplastic":
        prims.append(ellipsoid([0, back + 1.2 * j.s, -0.5 * j.s], (j.r(3.8), j.r(2.3), j.r(3.6)), k=2.5))
    return prims


def _lateral_mass(j: Jitter, side: int, name: str, marks: dict[str, Array], variant: str) -> list[Prim]:
    s = j.s
    mass = j.p(side * 20.3, -1.0, 0)
    tip = j.p(side * 33.6, 3.5, -3.0, 1.0)
    hole = j.p(side * 28.2, 0.7, 0)
    groove = j.p(side * 15.5, 12.0, 6.5)
    prims = [
        box(mass, (j.r(6.1), j.r(8.8), j.r(12.0)), 3.6 * s, rotation(0, side * 6, side * -18), k=2),
        # The cup that carries the occipital condyle, and the hollow of the lower facet.
        ellipsoid(mass + np.array([side * -2.0, 0, 13.2]) * s, (j.r(8.5), j.r(11.5), j.r(6.3)), op="-", k=1.5),
        ellipsoid(mass + np.array([side * -2.5, 0, -14.2]) * s, (j.r(11.0), j.r(13.0), j.r(6.3)), op="-", k=1.5),
        bar(j.p(side * 24, 4.5, -1), tip, j.r(2.9), j.r(3.4), taper=0.9, k=2),
        *chain([j.p(side * 23, -4.6, -1), j.p(side * 29.5, -3.4, -1.5), tip], j.r(1.9), j.r(2.3), k=2),
        tube(hole - [0, 0, 12], hole + np.array([0, 0, 12]), j.r(2.9, 0.12)),
        bar(groove - [side * 6 * s, 3 * s, 0], groove + np.array([side * -2 * s, 3 * s, 0]), 2.6 * s, op="-", k=1.5),
    ]
    if variant == "arcuate":
        bridge = [mass + np.array([0, 7, 8]) * s, groove + np.array([side * 1.0, 0, 4]) * s, j.p(side * 12, 16.0, 4)]
        prims += curved(bridge, j.r(1.1), j.r(1.3), k=1.0)
    marks |= {
        f"mass-{name}": mass,
        f"tp-{name}": 0.5 * (tip + hole),
        f"foramen-{name}": hole,
        f"tp-tip-{name}": tip,
        f"arch-{name}": np.array([side * 12.5, 16.2, 0.5]) * s,
    }
    return prims


def axis(j: Jitter, traits: Traits) -> Vertebra:
    """C2: body, dens, sloping upper facets, a big bifid spinous process."""
    s = j.s
    h = traits.height_mm / 2
    tip = j.p(0, j.u(0.2, 2.8), 24.0, 0.7)
    base = j.p(0, -0.4, 5.0, 0.3)
    waist = base + (tip - base) * 0.35
    wide, deep = j.r(5.4), j.r(5.75)
    prims = [
        vertebral_body(
            [0, 0, -0.5 * s],
            width=j.r(18.0) * j.w,
            depth=j.r(15.2),
            height=traits.height_mm,
            flare=0.5,
            waist=0.6,
            arch=1.2,
            tilt_bottom_mm=0.2 * s,
        ),
        box([0, -0.4 * s, 3.5 * s], (j.r(8.0), j.r(6.6), j.r(5.0)), 4.0 * s, k=3),
        bar(base, waist, wide * 0.93, deep * 0.9, up=(0, 1, 0), k=2.5),
        bar(waist, tip - [0, 0, 4.4 * s], wide, deep, up=(0, 1, 0), taper=0.86, k=2.0),
    ]
    marks = {"dens-base": base, "dens-tip": tip, "dens": waist, "body": np.zeros(3), "front": np.array([0, -7 * s, 0])}
    for side, name in _SIDES:
        prims += _axis_side(j, side, name, marks)
    start, end = j.mid(25.5, -7.0), j.mid(35.0 + j.rng.normal(0, 1.3), -18.0, 0.8)
    end = start + (end - start) * (0.4 + 0.6 * traits.spinous)
    prims += spinous(j, start, end, fork_mm=j.u(3.2, 6.0), wide=3.2, tall=5.0, marks=marks)
    canal = np.array([0, 7.0 + 8.9, 0]) * s
    low, high = canal - [0, 0, 26 * s], canal + np.array([0, 0, 22 * s])
    prims.append(tube(low, high, j.r(11.5) * j.w, j.r(8.7), k=1.5))
    marks |= {"canal": canal, "corner": np.array([0, -6.9 * s, -h])}
    return Vertebra(prims=prims, marks=marks)


def _axis_side(j: Jitter, side: int, name: str, marks: dict[str, Array]) -> list[Prim]:
    s = j.s
    upper, pillar, end = j.p(side * 15.0, 1.0, 2.8), j.p(side * 16.6, 13.5, -8.0), j.p(side * 22.7, 4.5, -7.0, 0.7)
    hole = j.p(side * 15.6, 3.8, -7.0)
    lamina = j.p(side * 15.6, 17.0, -6.5)
    prims = [
        box(upper, (j.r(7.8), j.r(8.0), j.r(3.5)), 3.0 * s, rotation(0, side * 24, side * -10), k=3),
        bar(j.p(side * 9, 0, -1.5), upper - [0, 0, 2 * s], j.r(4.6), j.r(5.0), k=3),
        box(pillar, (j.r(4.9), j.r(4.5), j.r(6.0)), 2.5 * s, rotation(-45), k=2),
        bar(upper + np.array([side * 0.5, 4 * s, -3 * s]), pillar + np.array([0, 0, 1 * s]), j.r(3.7), j.r(3.9), k=2.5),
        bar(j.p(side * 16.5, 6.5, -4), end, j.r(2.3), j.r(2.6), k=2),
        bar(j.p(side * 10.0, 2.2, -3.6), end, j.r(1.8), j.r(2.0), k=1.5),
        tube(hole - [side * -2, 0, 6 * s], hole + np.array([side * 5, 0, 7 * s]), j.r(2.5, 0.12), k=1),
        bar(lamina, j.p(side * 3.0, 25.3, -6.5, 0.3), j.r(2.6), j.r(5.2), k=2),
    ]
    marks |= {
        f"pars-{name}": 0.5 * (upper + pillar),
        f"pillar-{name}": pillar,
        f"tp-{name}": 0.6 * end + 0.4 * hole,
        f"tp-tip-{name}": end,
        f"foramen-{name}": hole,
        f"upper-{name}": upper,
        f"lamina-{name}": np.array([side * 9.5, 21.3, -6.3]) * s,
        f"pedicle-{name}": j.p(side * 10.5, 5.5, -3, 0),
    }
    return prims
