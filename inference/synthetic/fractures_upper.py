"""How the atlas and the axis break.

Directions are in the vertebra's frame: +x left, +y posterior, +z up. A cut's normals point out of the fragment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.site import Site
from inference.synthetic.slips import slip_of

Array = NDArray[Any]


def _jefferson(t: Site) -> None:
    s, spread = t.s, 0.3 + 3.6 * t.severity
    style = t.rng.random()
    if style < 0.3:
        front, back = t.side * t.u(3, 10) * s, -t.side * t.u(5, 14) * s
        line = np.array([back - front, 33 * s, 0])
        normal = np.array([-line[1], line[0], 0]) * t.side
        t.cut(
            [t.surface([front, -14 * s, 0], normal, wobble=0.05)],
            [t.side * spread * 0.7, 0.3, 0],
            [0, 0, t.side * t.u(0, 4)],
            t.at("mass", t.side),
        )
        return
    for side in (-1, 1):
        if side != t.side and style < 0.55:
            t.crack(t.at("arch", side), [0.8 * side, 0.6, 0], 9, open_=1.2)
            continue
        x = t.u(5.5, 11.5)
        normal = np.array([-side, t.u(-0.3, 0.15), t.u(-0.15, 0.15)])
        t.cut(
            [t.surface([side * x * s, 0, 0], normal, wobble=0.05)],
            [side * spread * t.u(0.4, 1.0), t.u(-0.5, 0.5), t.u(-0.4, 0.2)],
            [0, t.u(-3, 3) * t.severity, side * t.u(-4, 4)],
            t.at("mass", side),
        )


def _posterior_arch(t: Site) -> None:
    sides = (-1, 1) if t.severity > 0.45 else (t.side,)
    if len(sides) == 2 and t.rng.random() < 0.5:
        y = t.at("arch", 1)[1] + t.u(-5, 0.5) * t.s
        t.cut(
            [t.surface([0, y, 0], [0.1 * t.side, -1, 0])],
            [0, 0.5 + 2 * t.severity, t.u(-0.8, 0.3)],
            [t.u(-6, 6), 0, t.u(-3, 3)],
            t.at("back"),
        )
        return
    for side in sides:
        where = t.at("arch", side) + np.array([t.u(-2, 4) * side, t.u(-3, 1), 0]) * t.s
        t.crack(where, [0.6 * side, 0.8, t.u(-0.3, 0.3)], 10, wobble=0.25)


def _lateral_mass(t: Site) -> None:
    mass = t.at("mass", t.side)
    if t.severity > 0.55:
        t.cut(
            [
                t.surface(mass + np.array([0, t.u(-4, 2), 0]), [0.3 * t.side, 1, 0]),
                t.surface([t.side * t.u(8, 11) * t.s, 0, 0], [-t.side, t.u(-0.3, 0.3), 0], jag=0.8),
            ],
            [t.side * 1.2 * t.severity, -1.0 * t.severity, 0],
            [0, 0, t.side * 4],
            mass,
        )
    else:
        t.crack(mass + t.rng.normal(0, 1.5, 3), [t.u(-1, 1), 1, t.u(-0.3, 0.3)], 15, open_=1.1)


def _odontoid_tip(t: Site) -> None:
    tip = t.at("dens-tip")
    normal = [t.side * t.u(0.3, 0.8), t.u(-0.4, 0.4), -1]
    t.cut(
        [t.surface(tip - [0, 0, t.u(4.0, 7.0) * t.s], normal)],
        [-t.side * t.u(0, 1), 0, 0.3 + 1.5 * t.severity],
        [t.u(-10, 10) * t.severity, t.u(-10, 10) * t.severity, 0],
        tip,
    )


def _carried(t: Site, *, back: bool = False) -> Array:
    """The motion of the spine above this fracture in the vertebra's frame, or (`back`) the one that undoes it."""
    slip = slip_of(t.spec, t.fracture)
    motion = np.eye(4) if slip is None else slip.motion
    return np.linalg.inv(motion) if back else motion


def _odontoid_base(t: Site) -> None:
    base, s = t.at("dens-base"), t.s
    at = base + np.array([0, 0, t.u(3.4, 5.8)]) * s
    t.cut(
        [
            t.surface(at, [t.u(-0.2, 0.2), t.u(-0.45, 0.45), -1]),
            t.flat(at + np.array([7.2 * s, 0, 0]), [1, 0, 0.3]),
            t.flat(at - [7.2 * s, 0, 0], [-1, 0, 0.3]),
        ],
        [0, 0, 0],
        [0, 0, 0],
        at,
        after=_carried(t),
    )


def _odontoid_body(t: Site) -> None:
    s = t.s
    at = np.array([0, 0, t.u(-2.0, 3.0)]) * s
    slope = t.u(-0.1, 0.5)
    t.cut(
        [t.surface(at, [t.u(-0.35, 0.35), slope, -1]), t.surface([0, 9.5 * s, 0], [0, 1, 0], wobble=0.03)],
        [0, 0, 0],
        [0, 0, 0],
        at,
        gap=1.2,
        after=_carried(t),
    )


def _hangman(t: Site) -> None:
    """Both partes interarticulares; the body goes forward with all above it, so here the arch is what moves."""
    y = t.u(6.5, 10.0) * t.s
    normal = np.array([t.u(-0.35, 0.35), 1, t.u(-0.1, 0.1)])
    t.cut(
        [t.surface([0, y, 0], -normal, wobble=0.06)],
        [0, 0, -0.4 * t.severity],
        [t.u(-4, 0) * t.severity, 0, 0],
        np.array([0, 20 * t.s, -9 * t.s]),
        after=_carried(t, back=True),
    )


UPPER: dict[str, Callable[[Site], None]] = {
    "jefferson": _jefferson,
    "c1-posterior-arch": _posterior_arch,
    "c1-lateral-mass": _lateral_mass,
    "odontoid-1": _odontoid_tip,
    "odontoid-2": _odontoid_base,
    "odontoid-3": _odontoid_body,
    "hangman": _hangman,
}
