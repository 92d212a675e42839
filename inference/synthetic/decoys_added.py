"""Decoys beside the bone: ossicles, calcifications, metal, and lines that the scanner draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inference.synthetic.decoration import Place
from inference.synthetic.field import Prim, bar, box, ellipsoid, rotation
from inference.synthetic.solid import Layer, bone_layers

_METAL = (Layer(depth_mm=0, hu=5500.0),)


def _ossicle(t: Place) -> None:
    """Small rounded bones: in the nuchal ligament, below the anterior arch, at a process, before a corner."""
    places = [
        t.m[k] + np.array(d)
        for k, d in (
            ("spinous-tip", (0, 7.0, -1)),
            ("corner", (2.0, -3.5, -2.5)),
            ("front", (0, -2.0, -7.5)),
            ("tp-tip-left", (3.5, 0, -2.0)),
        )
        if k in t.m
    ]
    at = places[int(t.rng.integers(len(places)))]
    layers = bone_layers(t.spec.cortex_hu, 0.8, t.spec.bone_hu, 40)
    t.thing("ossicle", [ellipsoid(at, t.rng.uniform(1.4, 3.2, 3), rotation(*t.rng.uniform(-40, 40, 3)))], layers)


def _chalk(t: Place, prims: list[Prim], low: float, high: float) -> None:
    if prims:
        t.thing("calcification", prims, (Layer(depth_mm=0, hu=t.u(low, high), texture_hu=300, cell_mm=1.5),))


def _vessels(t: Place) -> None:
    """Calcified plaques in vertebral and carotid arteries."""
    prims = []
    for side, x in (("left", 1), ("right", -1)):
        if t.rng.random() < 0.5:
            prims.append(ellipsoid(t.m[f"foramen-{side}"] + t.near(1, 1, 5), t.rng.uniform(0.7, 1.6, 3), k=0.4))
        if t.level in ("C3", "C4", "C5") and t.rng.random() < 0.8:
            at = np.array([x * 25, -20, 0]) + t.near(2.5, 2.5, 5)
            prims += [ellipsoid(at + t.near(1.8, 1.8, 1.8), t.rng.uniform(0.8, 2.4, 3), k=0.4) for _ in range(3)]
    _chalk(t, prims, 350, 900)


def _longus_colli(t: Place) -> None:
    """Calcific tendinitis: chalk in the tendon before C1 and C2, below the anterior arch."""
    at = t.m["dens-base"] + t.v(t.rng.normal(0, 3), -t.u(9.5, 11.5), t.u(-4, 3))
    prims = [ellipsoid(at + t.near(1.6, 0.6, 2.5), t.rng.uniform(1.0, 2.4, 3) * [1, 0.7, 1.2], k=0.6) for _ in range(4)]
    _chalk(t, prims, 250, 600)


def _crowned_dens(t: Place) -> None:
    """Chalk in the transverse ligament and round the tip of the dens."""
    middle, r = t.m["dens"], t.u(6.3, 7.3)
    prims: list[Prim] = []
    for angle in np.linspace(np.radians(35), np.radians(145), 8):
        if t.rng.random() < 0.75:
            at = middle + t.v(r * np.cos(angle), r * np.sin(angle), t.rng.normal(3, 0.8))
            prims.append(ellipsoid(at, t.rng.uniform(0.5, 1.2, 3), k=0.4))
    if t.rng.random() < 0.6:
        tip = t.m["dens-tip"] + t.v(0, 0, t.u(1.5, 3.0))
        prims += [ellipsoid(tip + t.near(2.5, 1.5, 0.5), t.rng.uniform(0.6, 1.4, 3), k=0.4) for _ in range(3)]
    _chalk(t, prims, 200, 550)


def _plate(t: Place) -> None:
    """Half of an anterior plate with its two screws; the level below has the other half."""
    s, way = t.s, -1 if t.level == "C5" else 1
    front = t.m["front"] + t.v(0, -1.2, 0)
    prims = [box(front + t.v(0, 0, way * 3.5), (8 * s, 1.2 * s, 8.5 * s), 1.0, k=0.5)]
    for x in (-5, 5):
        head = front + t.v(x, 0, 0)
        prims.append(bar(head, head + t.v(-x * 0.25, 14, way * -0.5), 1.7 * s, k=0.5))
    t.thing("hardware", prims, _METAL)


def _rods(t: Place) -> None:
    """Screws into both lateral masses, and the rods that join them."""
    prims: list[Prim] = []
    for side, x in (("left", 1), ("right", -1)):
        back = t.m[f"pillar-{side}"] + t.v(-x * 1.0, 5.0, 0)
        prims.append(bar(back, back + t.v(x * 4.0, -11.0, 3.0), 1.6 * t.s, k=0.4))
        prims.append(ellipsoid(back + t.v(0, 3.0, 0), np.array([3.6, 3.2, 4.0]) * t.s, k=0.4))
        rod = back + t.v(0, 4.0, 0)
        prims += [bar(rod + t.v(0, 0, z), rod + t.v(0, 0, z + 5), 1.6 * t.s, k=0.4) for z in (-9, -4, 1, 6)]
    t.thing("hardware", prims, _METAL)


def _cage(t: Place) -> None:
    """A spacer in the disc below: titanium round a hole, or plastic with metal pins."""
    at = np.array([0, 0.3, t.m["corner"][2] / t.s - 1.6]) * t.s
    half = np.array([7.0, 6.0, 2.6]) * t.s
    hollow = box(at, half * [0.5, 0.5, 1.4], 0.5, op="-", k=0.4)
    if t.rng.random() < 0.4:
        t.thing("hardware", [box(at, half, 1.0, k=0.4), hollow], _METAL)
        return
    t.thing("cage", [box(at, half, 1.0, k=0.4), hollow], (Layer(depth_mm=0, hu=140.0),))
    tall = np.array([0, 0, 0.9 * half[2]])
    pins = [at + half * [x, y, 0] * 0.8 for x, y in ((-1, -1), (1, -1), (0, 1))]
    t.out.things.append(("hardware", [bar(p - tall, p + tall, 0.45, k=0.2) for p in pins], _METAL))


def _mach_line(t: Place) -> None:
    """A thin dark band across the base of the dens, where the edges of C1 overlap: it runs on beyond the bone."""
    at = t.m["dens-base"] + t.v(0, 0, t.u(2.5, 6.5))
    band = ellipsoid(at, (t.u(13, 19) * t.s, t.u(10, 13) * t.s, t.u(0.45, 0.8)), rotation(t.u(-10, 10), t.u(-6, 6)))
    t.out.shadows.append(([band], -t.u(110, 260)))
    t.note(at)


ADDED: dict[str, Callable[[Place], None]] = {
    "ossicle": _ossicle,
    "vascular-calcification": _vessels,
    "longus-colli-calcification": _longus_colli,
    "crowned-dens": _crowned_dens,
    "hardware": _plate,
    "posterior-hardware": _rods,
    "cage": _cage,
    "mach-line": _mach_line,
}
