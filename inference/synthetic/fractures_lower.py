"""How C3 to C7 break, and the fractures that any level can have.

Directions are in the vertebra's frame: +x left, +y posterior, +z up. A cut's normals point out of the fragment.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inference.synthetic.site import Site, fracture_rng
from inference.synthetic.slips import dislocated_side, slip_of


def _compression(t: Site) -> None:
    """A wedge: impacted (denser) bone under the upper endplate, a stepped front cortex, the rear wall whole."""
    top, front = t.at("upper-corner"), t.at("front")
    band = top[2] - (2.2 + 3.5 * t.severity) * t.s
    t.bruise([0, front[1] * 0.3, band], (12, 8.5, 2.0 + 1.2 * t.severity), t.u(50, 150), True)
    t.crack([t.u(-3, 3), front[1], band - t.u(0, 1.5) * t.s], [0, 0.25, 1], 7 + 5 * t.severity, open_=0.7)
    corner = np.array([0, front[1] + t.u(2.0, 3.2) * t.s, band])
    t.cut(
        [t.surface(corner, [0, 0.95, -0.3 - 0.3 * t.severity]), *t.sides(t.u(7, 11))],
        [t.u(-0.3, 0.3), -0.5 - 0.9 * t.severity, -0.2 - t.severity * 0.7],
        [t.u(-8, 0) * t.severity, 0, 0],
        corner,
        gap=0.35,
    )


def _burst(t: Site) -> None:
    s, wall = t.s, t.at("rear-wall")
    h = t.at("upper-corner")[2]
    low = t.u(-0.3, 0.3) * h
    t.cut(
        [
            t.surface([0, wall[1] - t.u(4.5, 7) * s, 0], [0, -1, t.u(-0.3, 0.1)]),
            t.surface([0, 0, low], [0, 0, -1]),
            t.flat(wall + np.array([0, 4 * s, 0]), [0, 1, 0]),
            t.surface([t.u(5, 8.5) * s, 0, 0], [1, 0.3, 0]),
            t.surface([-t.u(5, 8.5) * s, 0, 0], [-1, 0.3, 0]),
        ],
        [t.u(-0.5, 0.5), 1.0 + 4.8 * t.severity, t.u(-0.5, 0.8)],
        [-t.u(0, 14) * t.severity, 0, t.u(-5, 5)],
        wall,
    )
    t.crack([t.u(-3, 3) * s, -2 * s, 0], [1, t.u(-0.3, 0.3), t.u(-0.15, 0.15)], 15, open_=1.2)
    for _ in range(1 + int(t.severity > 0.4)):
        angle = t.u(0.5, 2.6)
        t.crack([0, 0, 0], [np.cos(angle), np.sin(angle), t.u(-0.4, 0.4)], 13)
    t.bruise([0, -1 * s, 0], (11, 7, 6), t.u(10, 50), False)
    if t.severity > 0.5:
        t.crack(t.at("lamina", t.side), [0.8 * t.side, -0.6, 0], 9)


def _flexion_teardrop(t: Site) -> None:
    """The antero-inferior triangle stays in line with the spine below; the body behind it goes back."""
    s, corner = t.s, t.at("corner")
    size = t.u(6.0, 8.5) + 2.5 * t.severity
    at = corner + np.array([0, size * 0.55, size * 0.45]) * s
    slip = slip_of(t.spec, t.fracture)
    t.cut(
        [t.surface(at, [t.u(-0.15, 0.15), t.u(0.6, 0.85), t.u(0.55, 0.8)], jag=0.7), *t.sides(12)],
        [t.u(-0.4, 0.4), -0.3 - 0.9 * t.severity, -0.2 - 0.5 * t.severity],
        [t.u(0, 6) * t.severity, 0, t.u(-4, 4)],
        corner,
        after=None if slip is None else np.linalg.inv(slip.motion),
    )
    if t.severity > 0.3:
        t.crack([t.u(-2.5, 2.5) * s, 0, 0], [1, t.u(-0.2, 0.2), 0], 13)
    if t.severity > 0.5:
        t.crack(t.at("lamina", t.side), [0.8 * t.side, -0.6, 0], 9)


def _extension_teardrop(t: Site) -> None:
    s, corner = t.s, t.at("corner")
    at = corner + np.array([0, t.u(2.2, 3.6), t.u(0.8, 2.0)]) * s
    t.cut(
        [t.surface(at, [t.u(-0.15, 0.15), 0.8, t.u(0.4, 0.65)]), *t.sides(9)],
        [t.u(-0.5, 0.5), -0.4 - 1.8 * t.severity, -0.3 - 0.9 * t.severity],
        [t.u(0, 18) * t.severity, 0, 0],
        corner,
    )


def _facet(t: Site) -> None:
    s, pillar, side = t.s, t.at("pillar", t.side), t.side
    if t.severity < 0.35 or t.rng.random() < 0.4:
        upright = [side * t.u(-0.3, 0.9), 1, 0]
        level = [t.u(-0.3, 0.3), t.u(0, 0.8), 1]
        t.crack(pillar + t.rng.normal(0, 1.2, 3) * s, upright if t.rng.random() < 0.5 else level, 12, open_=1.2)
        return
    inner = [pillar[0] - side * 6.2 * s, 0, 0]
    above = t.rng.random() < 0.7
    way = -1 if above else 1
    t.cut(
        [
            t.surface(pillar + np.array([0, 0, t.u(0, 2.5) * s * -way]), [t.u(-0.2, 0.2), way * t.u(-0.1, 0.5), way]),
            t.flat(inner, [-side, 0, 0]),
            t.flat(pillar - [0, 8.5 * s, 0], [0, -1, 0]),
        ],
        [side * t.u(0, 0.8), -t.u(0.2, 2.6) * t.severity, -way * t.u(0, 1.6) * t.severity],
        [t.u(-16, 16) * t.severity, 0, t.u(-6, 6)],
        pillar,
    )


def _facet_tip(t: Site, side: int) -> None:
    """The lower articular process's tip, broken off as the facet jumped, is left where it was."""
    pillar, slip = t.at("pillar", side), slip_of(t.spec, t.fracture)
    t.cut(
        [
            t.surface(pillar - np.array([0, 0, t.u(2.5, 4.0)]) * t.s, [0, t.u(-0.4, 0.1), 1]),
            t.flat([pillar[0] - side * 6.2 * t.s, 0, 0], [-side, 0, 0]),
        ],
        [side * t.u(0, 1), t.u(-0.5, 1.0), t.u(-1, 0.3)],
        [t.u(-15, 15), 0, t.u(-10, 10)],
        pillar,
        after=None if slip is None else np.linalg.inv(slip.motion),
    )


def _unilateral(t: Site) -> None:
    _facet_tip(t, dislocated_side(fracture_rng(t.spec, t.fracture, 709)))


def _bilateral(t: Site) -> None:
    _facet_tip(t, t.side)
    other = t.at("pillar", -t.side)
    if t.rng.random() < 0.5:
        _facet_tip(t, -t.side)
    else:
        t.crack(other - np.array([0, 0, t.u(1, 3)]) * t.s, [0, t.u(-0.3, 0.3), 1], 9, open_=1.1)


def _lamina(t: Site) -> None:
    """A line through one lamina; through both the piece between them, with the spinous process, goes back."""
    if t.severity <= 0.6:
        where = t.at("lamina", t.side) + np.array([t.side * t.u(-3, 3.5), 0, t.u(-1, 1)]) * t.s
        t.crack(where, [0.78 * t.side, -0.62, t.u(-0.35, 0.35)], 10, wobble=0.2, open_=1.25)
        return
    surfaces = [t.flat(t.at("lamina", t.side) - np.array([0, 8, 0]) * t.s, [0, -1, 0])]
    for side in (-1, 1):
        where = t.at("lamina", side) + np.array([side * t.u(-2, 3), 0, 0]) * t.s
        surfaces.append(t.surface(where, [0.78 * side, -0.62, t.u(-0.3, 0.3)]))
    back = (t.severity - 0.5) * t.u(2, 6)
    t.cut(surfaces, [t.u(-0.4, 0.4), back, t.u(-0.5, 0.5)], [t.u(-5, 5), 0, t.u(-4, 4)], t.at("spinous-base"))


def _pedicle(t: Site) -> None:
    t.crack(t.at("pedicle", t.side), [0.65 * t.side, 0.75, t.u(-0.2, 0.2)], 8.5, wobble=0.2, open_=1.25)
    if t.severity > 0.4:
        t.crack(t.at("lamina", -t.side), [-0.78 * t.side, -0.62, t.u(-0.3, 0.3)], 9, wobble=0.2)


def _transverse(t: Site) -> None:
    s, side = t.s, t.side
    tip, hole = t.at("tp-tip", side), t.at("foramen", side)
    if t.level == "C1":
        t.cut(
            [t.surface(hole + np.array([side * t.u(-1, 3) * s, 0, 0]), [-side, t.u(-0.3, 0.3), 0])],
            [side * 1.8 * t.severity, 0, -1.2 * t.severity],
            [0, t.u(-10, 10) * t.severity, t.u(-8, 8)],
            tip,
        )
        return
    pillar = t.at("pillar", side)
    root = 0.45 * pillar + 0.55 * tip
    if t.severity < 0.3:
        t.crack(root, [0.55 * side, -0.8, t.u(-0.3, 0.3)], 6, open_=1.2)
        t.crack(hole + np.array([0, -4 * s, -1.5 * s]), [side, 0, t.u(-0.3, 0.3)], 5, open_=1.2)
        return
    t.cut(
        [
            t.surface(hole + np.array([side * t.u(-0.5, 2.0) * s, 0, 0]), [-side, t.u(-0.2, 0.2), t.u(-0.25, 0.25)]),
            t.surface(root, [-0.5 * side, 0.85, t.u(0, 0.3)]),
        ],
        [side * (0.2 + 3.4 * t.severity) * t.u(0.5, 1), t.u(-0.8, 0.3), -1.8 * t.severity],
        [t.u(-8, 8), t.u(-14, 14) * t.severity, t.u(-10, 10) * t.severity],
        tip,
    )


def _spinous(t: Site) -> None:
    base, tip = t.at("spinous-base"), t.at("spinous-tip")
    way = (tip - base) / np.linalg.norm(tip - base)
    at = base + (tip - base) * t.u(0.25, 0.72)
    t.cut(
        [t.surface(at, -way + np.array([t.u(-0.25, 0.25), 0, t.u(-0.1, 0.55)]))],
        way * t.u(0.4, 1) * (0.4 + 6.5 * t.severity) + np.array([t.u(-0.6, 0.6), 0, -t.u(0, 3.2) * t.severity]),
        [t.u(-12, 4) * t.severity, 0, t.u(-8, 8) * t.severity],
        at,
    )


LOWER: dict[str, Callable[[Site], None]] = {
    "compression": _compression,
    "burst": _burst,
    "flexion-teardrop": _flexion_teardrop,
    "extension-teardrop": _extension_teardrop,
    "facet": _facet,
    "unilateral-dislocation": _unilateral,
    "bilateral-dislocation": _bilateral,
    "lamina": _lamina,
    "pedicle": _pedicle,
    "transverse-process": _transverse,
    "spinous": _spinous,
}
