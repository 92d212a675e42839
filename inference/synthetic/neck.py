"""Soft tissue of the neck: outline, muscles, airway, gullet, vessels, cord, discs, cartilages."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.curve import ALL_LEVELS, SpineCurve
from inference.synthetic.field import Prim, bar, box, chain, ellipsoid, placed
from inference.synthetic.solid import Layer, Solid, bone_layers, solid
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

    def muscles(self) -> list[Solid]:
        """Muscle bellies with fat between them; the deep ones hug the spine."""
        m, s, g = self.spec.muscle_hu, self.s, 0.6 + 0.4 * self.spec.neck_girth
        bellies: list[Solid] = []
        for side in (-1, 1):

            def path(
                points: list[tuple[str, float, float]], a: float, b: float, side: int = side, k: float = 1.0
            ) -> None:
                at = [self.at(lv, side * x, y) for lv, x, y in points]
                jitter = float(np.clip(self.rng.normal(1, 0.1), 0.75, 1.3)) * g * s
                bellies.append(
                    solid(
                        "muscle",
                        chain(at, a * jitter, b * jitter, up=(0, 1, 0), k=4),
                        (Layer(depth_mm=0, hu=m, texture_hu=22, cell_mm=4.5),),
                        soft_mm=1.2,
                        seed=self.spec.seed + len(bellies),
                    )
                )

            path([("C1", 8, 26), ("C3", 9, 30), ("C5", 10, 31), ("C7", 12, 32), ("T3", 15, 34)], 8, 9)
            path([("C1", 15, 33), ("C3", 17, 40), ("C5", 18, 41), ("C7", 18, 42), ("T3", 18, 44)], 11, 8)
            path([("C1", 28, 28), ("C3", 27, 36), ("C5", 26, 38), ("C7", 24, 44), ("T2", 22, 50)], 11, 6)
            path([("C1", 34, 10), ("C3", 34, 18), ("C5", 37, 22), ("C7", 48, 28), ("T2", 64, 36)], 8, 9)
            path([("C3", 29, 7), ("C5", 31, 6), ("C7", 36, 2), ("T1", 44, -8)], 7, 9)
            path([("C1", 7, -17), ("C3", 7, -9.5), ("C5", 8, -9.5), ("C7", 8, -10), ("T2", 7, -11)], 6.5, 3.2)
            path([("C1", 48, 12), ("C3", 50, -8), ("C5", 42, -28), ("C7", 26, -46), ("T2", 16, -58)], 9, 13)
            path([("C3", 22, 48), ("C5", 30, 48), ("C7", 52, 46), ("T2", 90, 34)], 22, 5)
            path([("T1", 30, 40), ("T4", 30, 42), ("T8", 28, 42), ("T12", 30, 44), ("L4", 30, 46)], 18, 14)
        return bellies

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

    def airway(self) -> list[Solid]:
        """Air from the nasopharynx to the carina, with a widening at the pharynx."""
        s, r = self.s, self.rng
        n = [float(np.clip(r.normal(1, 0.22), 0.4, 1.6)) for _ in range(6)]

        def a(level: str, gap: float, z: float = 0.0) -> Array:
            return self.pushed(level, gap, 0, z)

        points = [a("C1", 20, 16), a("C1", 10, 2), a("C2", 11), a("C3", 12), a("C4", 16), a("C5", 24)]
        wide = np.array([13, 12, 12, 13, 9]) * s * np.array(n[:5])
        deep = np.array([8, 5.5, 6, 6.5, 7]) * s * np.array(n[1:6])
        prims = chain(points, wide, deep, up=(0, 1, 0), k=4)
        trachea = [a("C5", 24), a("C6", 25), a("C7", 24), self.ahead("T2", 26), self.ahead("T4", 22)]
        prims += chain(trachea, 8.0 * s * n[0] ** 0.3, 8.5 * s, up=(0, 1, 0), k=3)
        for side in (-1, 1):
            prims.append(bar(trachea[-1], trachea[-1] + np.array([side * 38, 0, -36]) * s, 6 * s, k=4))
        return [solid("airway", prims, -1000.0, step_mm=1.0)]

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

    def cartilages(self) -> list[Solid]:
        """Hyoid, thyroid and cricoid cartilages, partly ossified with age."""
        spec, s = self.spec, self.s
        bone = bone_layers(spec.cortex_hu * 0.8, 0.8, spec.bone_hu * 0.6, 40)
        body = self.ahead("C3", 36, 0, -10)
        horns = [
            self.ahead("C3", 10, -24, -8),
            self.ahead("C3", 28, -17, -10),
            body,
            self.ahead("C3", 28, 17, -10),
            self.ahead("C3", 10, 24, -8),
        ]
        out = [
            solid(
                "hyoid",
                chain(horns, np.array([1.8, 2.6, 2.6, 1.8]) * s, np.array([2.2, 4, 4, 2.2]) * s),
                bone,
                step_mm=0.8,
            )
        ]
        ossified = float(np.clip(self.rng.normal((spec.age - 20) / 60, 0.25), 0, 1))
        hu = 110 + 330 * ossified
        shell = (
            Layer(depth_mm=0, hu=hu + 250 * ossified, texture_hu=250 * ossified, cell_mm=4),
            Layer(depth_mm=1.0, hu=hu * 0.7),
        )
        wings = []
        front, back = self.ahead("C5", 42, 0, 2), 8
        for side in (-1, 1):
            wings.append(bar(front, self.ahead("C5", back, side * 19, 0), 1.5 * s, 12 * s))
            wings.append(bar(self.ahead("C5", back, side * 19, -8), self.ahead("C5", back, side * 19, 24), 1.9 * s))
        out.append(solid("thyroid-cartilage", wings, shell, step_mm=0.8))
        ring = [self.ahead("C6", 25 + 13 * np.sin(t), 13 * np.cos(t), 0) for t in np.linspace(0, 2 * np.pi, 9)]
        out.append(solid("cricoid", chain(ring, 1.9 * s, 4.5 * s), shell, step_mm=0.8))
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
