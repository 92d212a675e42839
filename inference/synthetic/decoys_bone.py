"""Decoys made of the vertebra's own bone: holes, clefts, spurs and old injuries.

Holes and clefts are subtracted from the smooth bone, so they get a cortical rim of their own: that rim is what
tells them from a fracture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inference.synthetic.decoration import Place
from inference.synthetic.field import bar, box, chain, ellipsoid, rotation, tube
from inference.synthetic.solid import bone_layers


def _channels(t: Place) -> None:
    """Basivertebral clefts in the rear wall and small vessel channels in pillars and laminae."""
    s = t.s
    if "rear-wall" in t.m and t.rng.random() < 0.7:
        at = t.m["rear-wall"] + t.near(1, 0, 1) + t.v(0, 0.5, 0)
        t.shape(bar(at, at - t.v(0, t.u(4, 7), 0), t.u(0.8, 2.5) * s, t.u(0.5, 0.9) * s, op="-", k=0.6))
    for name in ("pillar-left", "pillar-right", "lamina-left", "lamina-right", "pars-left", "pars-right"):
        if name in t.m and t.rng.random() < 0.3:
            way = t.rng.normal(0, 1, 3)
            way = way / np.linalg.norm(way) * t.u(4, 8) * s
            t.shape(tube(t.m[name] - way, t.m[name] + way, t.u(0.7, 1.1) * s, op="-", k=0.5))


def _osteophytes(t: Place) -> None:
    """Beaks at the endplates' front edges and at uncinates and facets."""
    s = t.s
    for name, z in (("corner", -1), ("upper-corner", 1)):
        if name in t.m and t.rng.random() < 0.6:
            at = t.m[name] + t.near(2, 0, 0) + t.v(0, 0.8, -z * 1.0)
            tip = at + t.near(1, 0, 0) + t.v(0, -t.u(1.5, 4.5), z * t.u(0, 2.5))
            t.shape(bar(at, tip, t.u(3, 7) * s, 1.6 * s, taper=0.5, k=1.5))
    for side in ("left", "right"):
        if f"pillar-{side}" in t.m and t.rng.random() < 0.35:
            at = t.m[f"pillar-{side}"] + t.near(2.5, 4, 5)
            t.shape(ellipsoid(at, t.rng.uniform(2, 4, 3) * s, k=2))


def _old_spinous(t: Place) -> None:
    """An old avulsed tip: a wide smooth gap between rounded, corticated ends."""
    base, tip = t.m["spinous-base"], t.m["spinous-tip"]
    at = base + (tip - base) * t.u(0.5, 0.75)
    half = (9 * t.s, t.u(1.2, 2.2) * t.s, 12 * t.s)
    t.shape(box(at, half, 1.0, rotation(t.u(-25, 25)), op="-", k=2.5))


def _old_compression(t: Place) -> None:
    """The body is squashed elsewhere (`old_wedge_mm`); healed, it has a spur and no line."""
    at = t.m["upper-corner"] + t.v(0, 1.5, -2.5)
    t.shape(bar(at, at + t.v(0, -t.u(1.5, 3.0), 1.0), t.u(4, 7) * t.s, 1.5 * t.s, taper=0.6, k=2.0))


def _dens_nonunion(t: Place) -> None:
    """An old fracture of the dens that never healed: a narrow smooth gap between sclerotic ends at its base."""
    at = t.m["dens-base"] + t.v(0, 0, t.u(3.4, 5.2))
    half = (9 * t.s, 10 * t.s, t.u(0.5, 1.0) * t.s)
    t.shape(box(at, half, 0.4, rotation(t.u(-14, 14), t.u(-8, 8)), op="-", k=2.0))


def _os_odontoideum(t: Place) -> None:
    """A dens that never fused: a wide, smooth, corticated gap above a short rounded base."""
    at = t.m["dens-base"] + t.v(0, 0, t.u(5.0, 7.0))
    half = (9 * t.s, 10 * t.s, t.u(1.2, 2.2) * t.s)
    t.shape(box(at, half, 1.0, op="-", k=4.0))


def _back_cleft(t: Place) -> None:
    """A congenital gap in the posterior arch of C1 with rounded ends."""
    at = t.m["back"] + t.near(2, 0, 0)
    t.shape(box(at, (t.u(0.6, 2.2) * t.s, 8 * t.s, 9 * t.s), 0.6, op="-", k=2.0))


def _front_cleft(t: Place) -> None:
    """A congenital gap in the anterior arch of C1 with rounded ends."""
    at = t.m["front"] + t.near(0.8, 0, 0)
    t.shape(box(at, (t.u(0.7, 1.8) * t.s, 5 * t.s, 9 * t.s), 0.6, rotation(0, 0, t.u(-15, 15)), op="-", k=2.5))


def _apophyses(t: Place) -> None:
    """Growth centres of the young: slivers along the endplates' front rims, and caps on the processes."""
    s = t.s
    layers = bone_layers(t.spec.cortex_hu * 0.75, 0.5, t.spec.bone_hu, 40)
    for name, z in (("corner", -1), ("upper-corner", 1)):
        if name in t.m and t.level != "C2" and t.rng.random() < 0.8:
            middle = t.m[name] + t.v(t.rng.normal(0, 1), 0.9, z * 0.6)
            wide = t.u(4.5, 7.5)
            rim = [middle + t.v(wide * x, 2.2 * x * x, 0) for x in (-1.0, -0.4, 0.4, 1.0)]
            t.thing("apophysis", chain(rim, 0.9 * s, 0.55 * s, up=(0, 0, 1), k=0.5), layers)
    if t.level in ("C6", "C7") and t.rng.random() < 0.7:
        base, tip = t.m["spinous-base"], t.m["spinous-tip"]
        at = base + (tip - base) * 0.93
        half = (8 * s, t.u(0.4, 0.7) * s, 9 * s)
        t.shape(box(at, half, 0.3, rotation(t.u(-15, 15)), op="-", k=1.2))
    for side, x in (("left", 1), ("right", -1)):
        if t.level == "C7" and t.rng.random() < 0.5:
            at = t.m[f"tp-tip-{side}"] + t.v(x * 0.4, 0, 0)
            half = (t.u(0.35, 0.6) * s, 7 * s, 7 * s)
            t.shape(box(at, half, 0.3, rotation(0, 0, x * t.u(-20, 20)), op="-", k=1.0))


def _limbus(t: Place) -> None:
    """A corner of the body's rim that a herniated disc kept from fusing: a smooth oblique gap with dense edges."""
    upper = t.rng.random() < 0.75
    corner, z = t.m["upper-corner" if upper else "corner"], 1 if upper else -1
    at = corner + t.v(t.rng.normal(0, 1), t.u(2.4, 3.6), -z * t.u(1.2, 2.0))
    half = (t.u(7, 11) * t.s, t.u(0.5, 0.9) * t.s, 8 * t.s)
    t.shape(box(at, half, 0.4, rotation(-z * t.u(38, 55)), op="-", k=1.6))


def _schmorl(t: Place) -> None:
    """Rounded dents in the endplates."""
    if "upper-corner" in t.m and t.rng.random() < 0.5:
        z = t.m["upper-corner" if t.rng.random() < 0.5 else "corner"][2]
        at = [t.rng.normal(0, 3), t.rng.normal(0, 2), z]
        t.shape(ellipsoid(at, t.rng.uniform(2.0, 4.0, 3) * t.s, op="-", k=1.2))


BONE: dict[str, Callable[[Place], None]] = {
    "nutrient-foramina": _channels,
    "osteophytes": _osteophytes,
    "chronic-spinous": _old_spinous,
    "old-compression": _old_compression,
    "dens-nonunion": _dens_nonunion,
    "os-odontoideum": _os_odontoideum,
    "c1-posterior-cleft": _back_cleft,
    "c1-anterior-cleft": _front_cleft,
    "unfused-apophysis": _apophyses,
    "limbus-vertebra": _limbus,
    "schmorl-node": _schmorl,
}
