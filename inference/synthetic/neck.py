"""Soft tissue of the neck: outline, pharyngeal wall, gullet, glands, vessels, cord and discs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.curve import ALL_LEVELS, SpineCurve
from inference.synthetic.field import Prim, bar, box, chain, ellipsoid, placed
from inference.synthetic.solid import Layer, Solid, solid
from inference.synthetic.spec import PhantomSpec
from inference.synthetic.swelling import swelling_mm

Array = NDArray[Any]
_HALF_DEPTH = {
    "C1": 14.0,
    "C2": 7.0,
    "C3": 7.0,
    "C4": 7.2,
    "C5": 7.5,
    "C6": 7.8,
    "C7": 7.6,
    "T1": 8.2,
    "T2": 9.0,
    "T3": 9.5,
    "T4": 10,
}


class Neck:
    """Solids of the neck placed along the spine curve."""

    def __init__(self, spec: PhantomSpec, curve: SpineCurve) -> None:
        self.spec, self.curve = spec, curve
        self.rng = np.random.default_rng([spec.seed, 505])
        self.s = spec.scale
        self.swelling = swelling_mm(spec)

    def at(self, level: str, x: float, y: float, z: float = 0.0) -> Array:
        """A point in a vertebra's frame (mm before scaling), in patient mm."""
        return (self.curve.frames[level] @ np.append(np.array([x, y, z]) * self.s, 1.0))[:3]

    def ahead(self, level: str, gap: float, x: float = 0.0, z: float = 0.0) -> Array:
        """A point `gap` mm in front of a vertebra's anterior surface, levelled half-way to the room's axes."""
        base = self.at(level, 0, -_HALF_DEPTH[level])
        return base + np.array([x, -gap, z]) * self.s

    def flesh(self) -> list[Prim]:
        """Skin outline of the neck, in patient mm."""
        g, s = self.spec.neck_girth, self.s
        wide = 56 * g * s
        points = [
            self.ahead("C1", -8),
            self.ahead("C3", 0),
            self.ahead("C5", 4),
            self.ahead("C7", 0),
            self.ahead("T2", -12),
        ]
        a = np.array([0.98, 0.98, 1.0, 1.25]) * wide
        b = np.array([56, 54, 55, 60]) * g * s
        prims = chain(points, a, b, up=(0, 1, 0), k=25)
        for side in (-1, 1):
            prims.append(bar(self.at("C5", side * 25, 30), self.at("T3", side * 105, 22, 5), 26 * g * s, k=30))
        prims.append(bar(self.at("C3", 0, 25), self.at("T2", 0, 40), 40 * g * s, 30 * g * s, up=(0, 1, 0), k=30))
        return prims

    def viscera(self) -> list[Solid]:
        """Pharyngeal wall, gullet, thyroid, glands and fat pads."""
        spec, s = self.spec, self.s
        m = spec.muscle_hu
        wall = [
            self.pushed("C1", 5),
            self.pushed("C2", 9),
            self.pushed("C3", 10),
            self.pushed("C4", 12),
            self.pushed("C5", 17),
            self.pushed("C6", 19),
        ]
        gullet = [
            self.pushed("C5", 6),
            self.pushed("C6", 7),
            self.pushed("C7", 7, 3),
            self.ahead("T2", 8, 5),
            self.ahead("T4", 9, 5),
        ]
        out = [
            *self.haematoma(),
            solid("pharynx", chain(wall, 16 * s, 12 * s, up=(0, 1, 0), k=4), m + 6, soft_mm=1.5),
            solid("gullet", chain(gullet, 8 * s, 5.5 * s, up=(0, 1, 0), k=3), m + 2, soft_mm=1.0),
        ]
        for side in (-1, 1):
            iodine = 60 + 0.25 * spec.contrast_hu
            out.append(
                solid(
                    "thyroid",
                    [ellipsoid(self.ahead("C7", 16, side * 17, 8), (9 * s, 11 * s, 22 * s))],
                    45 + iodine,
                    soft_mm=1,
                )
            )
            out.append(
                solid(
                    "gland",
                    [ellipsoid(self.ahead("C3", 24, side * 32, -4), (11 * s, 16 * s, 17 * s))],
                    30 + 0.1 * spec.contrast_hu,
                    soft_mm=2,
                )
            )
        return out

    def pushed(self, level: str, gap: float, x: float = 0.0, z: float = 0.0) -> Array:
        """A point in front of a vertebra as far forward as swelling pushes it."""
        return self.ahead(level, gap + self.swelling.get(level, 0.0), x, z)

    def haematoma(self) -> list[Solid]:
        """Blood and oedema between the spine and the pharynx, where a fresh fracture put it."""
        swollen = [(lv, mm) for lv, mm in self.swelling.items() if mm > 0.7]
        if len(swollen) < 2:
            return []
        points = [self.ahead(lv, 0.5 + mm / 2) for lv, mm in swollen]
        deep = [(0.8 + (a + b) / 4) * self.s for (_, a), (_, b) in pairwise(swollen)]
        prims = chain(points, 13 * self.s, np.array(deep), up=(0, 1, 0), k=4)
        layers = (Layer(depth_mm=0, hu=self.spec.muscle_hu + 4, texture_hu=16, cell_mm=5),)
        return [solid("haematoma", prims, layers, soft_mm=1.5, seed=self.spec.seed)]

    def canal(self) -> list[Solid]:
        """Thecal sac and cord from the medulla to L1, and epidural fat by omission."""
        points = [(self.curve.frames["skull"] @ np.array([0, 0, 12 * self.s, 1]))[:3]]
        back = (
            {"C1": 7.5, "C2": 15.5}
            | {f"C{i}": 15.0 for i in range(3, 8)}
            | {f"T{i}": 16.5 + 0.6 * i for i in range(1, 13)}
        )
        back |= {f"L{i}": 26.0 for i in range(1, 6)}
        points += [self.at(lv, 0, back[lv]) for lv in ALL_LEVELS]
        s, r = self.s, self.rng
        cord = points[:20]
        return [
            solid("csf", chain(points, 8.5 * s, 6.4 * s, up=(0, 1, 0), k=3), 12.0, soft_mm=0.8),
            solid(
                "cord", chain(cord, 6.2 * s * float(r.normal(1, 0.06)), 3.9 * s, up=(0, 1, 0), k=3), 42.0, soft_mm=1.0
            ),
        ]

    def discs(self) -> list[Solid]:
        """Discs fill what the bodies leave."""
        out = []
        for above, below in pairwise(ALL_LEVELS[1:]):
            up, down = self.curve.frames[above], self.curve.frames[below]
            centre = (
                up[:3, 3]
                - up[:3, 2] * self.curve.heights[above] / 2
                + down[:3, 3]
                + down[:3, 2] * self.curve.heights[below] / 2
            ) / 2
            i = ALL_LEVELS.index(below)
            deep = 7.0 * self.s if i < 7 else (8 + 0.62 * (i - 7)) * self.s
            wide = 10.5 * self.s if i < 7 else (13 + 0.6 * (i - 7)) * self.s
            place = down.copy()
            place[:3, 3] = centre
            prims = placed([box([0, 0, 0], (wide, deep, self.curve.gaps[above] / 2 + 1.5), 1.5)], place)
            out.append(solid("disc", prims, float(self.rng.normal(95, 12)), soft_mm=0.8))
        return out

    def vessels(self) -> list[Solid]:
        """Carotid, jugular and vertebral arteries."""
        blood = 42 + self.spec.contrast_hu
        venous = 42 + 0.6 * self.spec.contrast_hu
        s, out = self.s, []
        for side in (-1, 1):
            y = {"C1": 16, "C2": 12, "C3": 9, "C4": 9, "C5": 10, "C6": 12, "C7": 14, "T1": 20, "T3": 34}
            x = {"C1": 27, "C2": 27, "C3": 27, "C4": 26, "C5": 25, "C6": 24, "C7": 22, "T1": 20, "T3": 14}
            route = [self.ahead(lv, y[lv], side * x[lv]) for lv in y]
            out.append(solid("carotid", chain(route, 3.4 * s), blood, soft_mm=0.5, step_mm=1.0))
            route = [p + np.array([side * 9, 5, 0]) * s for p in route]
            out.append(
                solid(
                    "jugular",
                    chain(route, float(self.rng.uniform(3, 7)) * s, 4.5 * s, up=(0, 1, 0)),
                    venous,
                    soft_mm=0.5,
                    step_mm=1.0,
                )
            )
            xs = {
                "C1": (28.2, 0.7),
                "C2": (17, 3.8),
                "C3": (14.2, 2.4),
                "C4": (15.2, 2.4),
                "C5": (15.9, 2.4),
                "C6": (16.7, 2.4),
                "C7": (18, -7),
            }
            route = [self.at("C1", side * 15, 12, 8), *(self.at(lv, side * p[0], p[1]) for lv, p in xs.items())]
            out.append(
                solid(
                    "vertebral-artery",
                    chain(route, float(self.rng.uniform(1.3, 2.3)) * s),
                    blood,
                    soft_mm=0.5,
                    step_mm=0.8,
                )
            )
        return out

    def tubes(self) -> list[Solid]:
        """Endotracheal and gastric tubes."""
        out = []
        mouth = (self.curve.frames["skull"] @ np.array([8, -98, -20, 1]))[:3]
        if self.spec.tube in ("ett", "both"):
            route = [
                mouth + np.array([0, -40, 0]),
                mouth,
                self.pushed("C2", 15),
                self.pushed("C4", 17),
                self.pushed("C6", 25),
                self.ahead("T2", 26),
            ]
            out.append(
                solid(
                    "ett",
                    chain(route, 4.8, k=2),
                    (Layer(depth_mm=0, hu=260), Layer(depth_mm=1.2, hu=-1000)),
                    step_mm=0.8,
                )
            )
        if self.spec.tube in ("ngt", "both"):
            nose = (self.curve.frames["skull"] @ np.array([7, -104, 8, 1]))[:3]
            route = [
                nose + np.array([0, -30, -10]),
                nose,
                self.ahead("C1", 14, 4, 8),
                self.ahead("C3", 10, 5),
                self.ahead("C6", 8, 4),
                self.ahead("T4", 9, 5),
            ]
            out.append(
                solid(
                    "ngt",
                    chain(route, 2.3, k=2),
                    (Layer(depth_mm=0, hu=420), Layer(depth_mm=0.8, hu=-600)),
                    step_mm=0.7,
                )
            )
        return out
