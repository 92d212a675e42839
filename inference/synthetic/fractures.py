"""The fracture classes: where each one breaks a vertebra and how its pieces move.

Directions are in the vertebra's frame: +x left, +y posterior, +z up. A cut's normals point out of the fragment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.breaks import Breaks, Bruise, Crack, Cut, Surface
from inference.synthetic.field import frame, rotation
from inference.synthetic.spec import FRACTURE_KINDS, LEVELS, Fracture, PhantomSpec
from inference.synthetic.vertebra import Squash, Vertebra

Array = NDArray[Any]


def _rng(spec: PhantomSpec, fracture: Fracture) -> np.random.Generator:
    kinds = sorted(FRACTURE_KINDS)
    return np.random.default_rng([spec.seed, 707, LEVELS.index(fracture.level), kinds.index(fracture.kind)])


def squash_of(spec: PhantomSpec, level: str) -> Squash:
    """How the body of a level is deformed before it is cut."""
    wedge = dip = 0.0
    for f in spec.fractures:
        if f.level == level and f.kind in ("compression", "burst"):
            rng = _rng(spec, f)
            burst = f.kind == "burst"
            wedge += float((0.3 + 2.2 * f.severity) if burst else (1.0 + 4.0 * f.severity) * rng.uniform(0.7, 1.1))
            dip += float(rng.uniform(0.3, 1.0) + (2.2 if burst else 0.8) * f.severity)
    return Squash(wedge_mm=wedge * spec.scale, dip_mm=dip * spec.scale)


class _Site:
    """One fracture being laid out in one vertebra."""

    def __init__(self, spec: PhantomSpec, fracture: Fracture, shape: Vertebra, place: Array) -> None:
        self.rng = _rng(spec, fracture)
        self.marks, self.place, self.s = shape.marks, place, spec.scale
        self.level, self.severity = fracture.level, fracture.severity
        opening = float(np.exp(self.rng.normal(0.0, 0.3)))
        self.gap = float(np.clip(opening * (0.65 + 0.8 * fracture.severity), 0.45, 2.6))
        self.side = 1 if self.rng.random() < 0.5 else -1
        self.cuts: list[Cut] = []
        self.cracks: list[Crack] = []
        self.bruises: list[Bruise] = []

    def at(self, name: str, side: int = 0) -> Array:
        return self.marks[name if not side else f"{name}-{'left' if side > 0 else 'right'}"]

    def n(self, *values: float) -> Array:
        return np.array(values, float)

    def u(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def either(self) -> int:
        return 1 if self.rng.random() < 0.5 else -1

    def surface(self, point: Any, normal: Any, *, jag: float = 1.0, wobble: float = 0.12) -> Surface:
        """A jagged surface through a point with a normal (both vertebra frame), both a little off."""
        w = np.asarray(normal, float)
        w = w / np.linalg.norm(w) + self.rng.normal(0, wobble, 3)
        w = w / np.linalg.norm(w)
        u = np.cross([0.3, 0.5, 0.8], w)
        u = u / np.linalg.norm(u)
        local = frame(np.asarray(point, float), np.column_stack([u, np.cross(w, u), w]))
        return Surface(
            frame=self.place @ local,
            rough_mm=jag * self.u(0.7, 1.7),
            cell_mm=self.u(5, 9),
            bow_mm=jag * float(self.rng.normal(0, 1.2)),
            seed=int(self.rng.integers(1 << 20)),
        )

    def flat(self, point: Any, normal: Any) -> Surface:
        """A bounding surface that should not touch bone, so it needs no jags."""
        return self.surface(point, normal, jag=0.0, wobble=0.0)

    def move(self, shift: Any, turn_deg: Any, pivot: Any) -> Array:
        """A rigid motion in LPS from a shift (mm) and small rotations (degrees) about a pivot, vertebra frame."""
        local = frame(np.asarray(pivot) + np.asarray(shift), rotation(*turn_deg)) @ frame(-np.asarray(pivot, float))
        return self.place @ local @ np.linalg.inv(self.place)

    def cut(self, surfaces: list[Surface], shift: Any, turn_deg: Any, pivot: Any) -> None:
        self.cuts.append(
            Cut(
                surfaces=tuple(surfaces),
                move=self.move(np.asarray(shift) * self.s, turn_deg, pivot),
                gap_mm=self.gap * self.u(0.6, 1.0),
                blood_hu=self.u(20, 60),
            )
        )

    def crack(
        self, point: Any, normal: Any, radius: float, *, jag: float = 1.0, wobble: float = 0.12, open_: float = 1.0
    ) -> None:
        centre = (self.place @ np.append(np.asarray(point, float), 1.0))[:3]
        self.cracks.append(
            Crack(
                surface=self.surface(point, normal, jag=jag, wobble=wobble),
                centre=centre,
                radius_mm=radius * self.s,
                gap_mm=self.gap * open_,
                blood_hu=self.u(20, 60),
            )
        )

    def bruise(self, point: Any, radii: tuple[float, float, float], hu: float, marks: bool) -> None:
        centre = (self.place @ np.append(np.asarray(point, float), 1.0))[:3]
        self.bruises.append(
            Bruise(
                centre=centre, radii_mm=(radii[0] * self.s, radii[1] * self.s, radii[2] * self.s), hu=hu, marks=marks
            )
        )


def _jefferson(t: _Site) -> None:
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


def _posterior_arch(t: _Site) -> None:
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


def _lateral_mass(t: _Site) -> None:
    mass = t.at("mass", t.side)
    if t.severity > 0.55:
        t.cut(
            [
                t.surface(mass + np.array([0, t.u(-4, 2), 0]), [0.3 * t.side, 1, 0]),
                t.flat([t.side * 9 * t.s, 0, 0], [-t.side, 0, 0]),
            ],
            [t.side * 1.2 * t.severity, -1.0 * t.severity, 0],
            [0, 0, t.side * 4],
            mass,
        )
    else:
        t.crack(mass + t.rng.normal(0, 1.5, 3), [t.u(-1, 1), 1, t.u(-0.3, 0.3)], 15, open_=1.1)


def _odontoid_tip(t: _Site) -> None:
    tip = t.at("dens-tip")
    normal = [t.side * t.u(0.3, 0.8), t.u(-0.4, 0.4), -1]
    t.cut(
        [t.surface(tip - [0, 0, t.u(4.0, 7.0) * t.s], normal)],
        [-t.side * t.u(0, 1), 0, 0.3 + 1.5 * t.severity],
        [t.u(-10, 10) * t.severity, t.u(-10, 10) * t.severity, 0],
        tip,
    )


def _odontoid_base(t: _Site) -> None:
    base, s = t.at("dens-base"), t.s
    back = t.either()
    tilt = back * t.u(0.0, 0.45)
    at = base + np.array([0, 0, t.u(3.4, 5.8)]) * s
    shift = [t.u(-0.5, 0.5), back * (0.3 + 3.4 * t.severity) * t.u(0.5, 1), 0.2 + 0.5 * t.severity]
    t.cut(
        [
            t.surface(at, [t.u(-0.2, 0.2), tilt, -1]),
            t.flat(at + np.array([7.2 * s, 0, 0]), [1, 0, 0.3]),
            t.flat(at - [7.2 * s, 0, 0], [-1, 0, 0.3]),
        ],
        shift,
        [-back * t.u(0, 18) * t.severity, t.u(-5, 5) * t.severity, t.u(-4, 4)],
        at,
    )


def _odontoid_body(t: _Site) -> None:
    s = t.s
    at = np.array([0, 0, t.u(-3.0, 2.0)]) * s
    slope = t.u(-0.1, 0.5)
    if t.severity < 0.35:
        t.crack(at, [t.u(-0.4, 0.4), slope, -1], 17, open_=1.3)
        return
    t.cut(
        [t.surface(at, [t.u(-0.35, 0.35), slope, -1]), t.surface([0, 9.5 * s, 0], [0, 1, 0], wobble=0.03)],
        [t.u(-0.5, 0.5), t.either() * 3.0 * t.severity * t.u(0.3, 1), 0.2],
        [t.u(-8, 8) * t.severity, t.u(-4, 4), 0],
        at,
    )


def _hangman(t: _Site) -> None:
    y = t.u(6.5, 10.0) * t.s
    normal = [t.u(-0.35, 0.35), 1, t.u(-0.1, 0.1)]
    if t.severity < 0.3:
        for side in (-1, 1):
            t.crack(t.at("pars", side) + np.array([0, t.u(-1.5, 1.5), 0]), normal, 10, wobble=0.2, open_=1.2)
        return
    t.cut(
        [t.surface([0, y, 0], normal, wobble=0.06)],
        [0, -(0.4 + 3.4 * t.severity), 0],
        [t.u(-2, 9) * t.severity, 0, t.u(-3, 3)],
        np.array([0, 0, -9 * t.s]),
    )


def _compression(t: _Site) -> None:
    top, front = t.at("upper-corner"), t.at("front")
    t.bruise(
        [0, front[1] * 0.3, top[2] - (1.5 + 2.5 * t.severity + 2.0) * t.s],
        (12, 8.5, 2.2 + 1.2 * t.severity),
        t.u(60, 170),
        True,
    )
    t.crack([t.u(-3, 3), front[1], top[2] - t.u(2.5, 5) * t.s], [0, 0.25, 1], 7 + 5 * t.severity, open_=0.9)
    if t.severity > 0.4:
        corner = np.array([0, front[1] + t.u(2.5, 4) * t.s, top[2] - 3 * t.s])
        t.cut(
            [t.surface(corner, [0, 0.85, -0.45]), *_between(t, 10)],
            [t.u(-0.5, 0.5), -0.6 - 1.2 * t.severity, -0.5 - t.severity * 0.8],
            [t.u(-12, 0), 0, 0],
            corner,
        )


def _between(t: _Site, half: float) -> list[Surface]:
    return [t.flat([half * t.s, 0, 0], [1, 0, 0]), t.flat([-half * t.s, 0, 0], [-1, 0, 0])]


def _burst(t: _Site) -> None:
    s, wall = t.s, t.at("rear-wall")
    h = t.at("upper-corner")[2]
    low = t.u(-0.3, 0.3) * h
    t.cut(
        [
            t.surface([0, wall[1] - t.u(3.5, 6) * s, 0], [0, -1, t.u(-0.3, 0.1)]),
            t.surface([0, 0, low], [0, 0, -1]),
            t.flat(wall + np.array([0, 4 * s, 0]), [0, 1, 0]),
            t.surface([t.u(5, 8.5) * s, 0, 0], [1, 0.3, 0]),
            t.surface([-t.u(5, 8.5) * s, 0, 0], [-1, 0.3, 0]),
        ],
        [t.u(-0.5, 0.5), 0.8 + 4.2 * t.severity, t.u(-0.5, 0.8)],
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


def _flexion_teardrop(t: _Site) -> None:
    s, corner = t.s, t.at("corner")
    size = t.u(5.5, 8.0) + 2.0 * t.severity
    at = corner + np.array([0, size * 0.55, size * 0.45]) * s
    t.cut(
        [t.surface(at, [t.u(-0.15, 0.15), t.u(0.55, 0.8), t.u(0.6, 0.9)]), *_between(t, 12)],
        [t.u(-0.6, 0.6), -0.5 - 2.5 * t.severity, -0.3 - 0.8 * t.severity],
        [t.u(0, 16) * t.severity, 0, t.u(-4, 4)],
        corner,
    )
    if t.severity > 0.3:
        t.crack([t.u(-3, 3) * s, 0, 0], [1, t.u(-0.2, 0.2), 0], 13)
    if t.severity > 0.5:
        t.crack(t.at("lamina", t.side), [0.8 * t.side, -0.6, 0], 9)


def _extension_teardrop(t: _Site) -> None:
    s, corner = t.s, t.at("corner")
    at = corner + np.array([0, t.u(2.2, 3.6), t.u(0.8, 2.0)]) * s
    t.cut(
        [t.surface(at, [t.u(-0.15, 0.15), 0.8, t.u(0.4, 0.65)]), *_between(t, 9)],
        [t.u(-0.5, 0.5), -0.4 - 1.8 * t.severity, -0.3 - 0.9 * t.severity],
        [t.u(0, 18) * t.severity, 0, 0],
        corner,
    )


def _facet(t: _Site) -> None:
    s, pillar, side = t.s, t.at("pillar", t.side), t.side
    if t.severity < 0.35 or t.rng.random() < 0.4:
        upright = t.n(side * t.u(-0.3, 0.9), 1, 0)
        level = t.n(t.u(-0.3, 0.3), t.u(0, 0.8), 1)
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


def _lamina(t: _Site) -> None:
    for side in (-1, 1) if t.severity > 0.6 else (t.side,):
        where = t.at("lamina", side) + np.array([side * t.u(-3, 3.5), -side * 0.0, t.u(-1, 1)]) * t.s
        t.crack(where, [0.78 * side, -0.62, t.u(-0.35, 0.35)], 10, wobble=0.2, open_=1.25)


def _pedicle(t: _Site) -> None:
    t.crack(t.at("pedicle", t.side), [0.65 * t.side, 0.75, t.u(-0.2, 0.2)], 8.5, wobble=0.2, open_=1.25)
    if t.severity > 0.4:
        t.crack(t.at("lamina", -t.side), [-0.78 * t.side, -0.62, t.u(-0.3, 0.3)], 9, wobble=0.2)


def _transverse(t: _Site) -> None:
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
        [side * (0.2 + 2.4 * t.severity), t.u(-0.8, 0.3), -1.6 * t.severity],
        [t.u(-8, 8), t.u(-14, 14) * t.severity, t.u(-10, 10) * t.severity],
        tip,
    )


def _spinous(t: _Site) -> None:
    base, tip = t.at("spinous-base"), t.at("spinous-tip")
    way = (tip - base) / np.linalg.norm(tip - base)
    at = base + (tip - base) * t.u(0.25, 0.72)
    t.cut(
        [t.surface(at, -way + np.array([t.u(-0.25, 0.25), 0, t.u(-0.1, 0.55)]))],
        way * t.u(0.3, 1) * (0.4 + 3.0 * t.severity) + np.array([t.u(-0.6, 0.6), 0, -t.u(0, 3.2) * t.severity]),
        [t.u(-12, 4) * t.severity, 0, t.u(-8, 8) * t.severity],
        at,
    )


_LAYOUT: dict[str, Callable[[_Site], None]] = {
    "jefferson": _jefferson,
    "c1-posterior-arch": _posterior_arch,
    "c1-lateral-mass": _lateral_mass,
    "odontoid-1": _odontoid_tip,
    "odontoid-2": _odontoid_base,
    "odontoid-3": _odontoid_body,
    "hangman": _hangman,
    "compression": _compression,
    "burst": _burst,
    "flexion-teardrop": _flexion_teardrop,
    "extension-teardrop": _extension_teardrop,
    "facet": _facet,
    "lamina": _lamina,
    "pedicle": _pedicle,
    "transverse-process": _transverse,
    "spinous": _spinous,
}


def break_vertebra(spec: PhantomSpec, level: str, shape: Vertebra, place: Array) -> Breaks:
    """The breaks of one level in patient mm; empty where it is whole. `place` is the vertebra's frame."""
    cuts: list[Cut] = []
    cracks: list[Crack] = []
    bruises: list[Bruise] = []
    for fracture in spec.fractures:
        if fracture.level == level:
            site = _Site(spec, fracture, shape, place)
            _LAYOUT[fracture.kind](site)
            cuts += site.cuts
            cracks += site.cracks
            bruises += site.bruises
    return Breaks(cuts=tuple(cuts), cracks=tuple(cracks), bruises=tuple(bruises))
