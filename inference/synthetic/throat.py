"""The airway from the nose to the carina, and what stands in it: palate, epiglottis, folds, hyoid and larynx."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import bar, chain, curved, ellipsoid
from inference.synthetic.neck import Neck
from inference.synthetic.solid import Layer, Solid, bone_layers, solid

Array = NDArray[Any]


class Throat:
    """Solids of the throat; the larynx moves up and down with `larynx_mm` (swallowing, age)."""

    def __init__(self, neck: Neck) -> None:
        self.neck, self.spec, self.s = neck, neck.spec, neck.s
        self.rng = np.random.default_rng([neck.spec.seed, 515])
        self._at = neck.pushed

    def _larynx(self, level: str, gap: float, x: float = 0.0, z: float = 0.0) -> Array:
        return self._at(level, gap, x, z + self.spec.larynx_mm)

    def airway(self) -> list[Solid]:
        """Air, and the soft parts that reach into it; painted in this order."""
        s, r = self.s, self.rng
        n = [float(np.clip(r.normal(1, 0.2) * self.spec.airway_scale, 0.35, 1.7)) for _ in range(6)]
        nose = self.neck.at("skull", 0, -40, 2)
        points = [nose, self._at("C1", 10, 0, 6), self._at("C2", 11), self._at("C3", 12), self._at("C4", 16)]
        points.append(self._larynx("C5", 24))
        wide = np.array([11, 13, 12, 14, 10]) * s * np.array(n[:5])
        deep = np.array([8, 6, 6, 6.5, 7]) * s * np.array(n[1:6])
        prims = chain(points, wide, deep, up=(0, 1, 0), k=4)
        trachea = [points[-1], self._at("C6", 25), self._at("C7", 24)]
        trachea += [self.neck.ahead("T2", 26), self.neck.ahead("T4", 22)]
        prims += chain(trachea, 8.0 * s * n[0] ** 0.3, 8.5 * s, up=(0, 1, 0), k=3)
        for side in (-1, 1):
            prims.append(bar(trachea[-1], trachea[-1] + np.array([side * 38, 0, -36]) * s, 6 * s, k=4))
            pocket = self._larynx("C4", 13, side * 11, -6)
            prims.append(ellipsoid(pocket, (3.5 * s * n[3], 5 * s, 9 * s), k=3))
        return [solid("airway", prims, -1000.0, step_mm=1.0), *self._folds()]

    def _folds(self) -> list[Solid]:
        """Soft palate, epiglottis and vocal folds."""
        s, r, hu = self.s, self.rng, self.spec.muscle_hu + 4
        low = float(r.uniform(-34, -24))
        palate = [self.neck.at("skull", 0, y, z) for y, z in ((-50, -5), (-40, -10), (-35, low))]
        leaf_base, leaf_tip = self._larynx("C4", 30, 0, -4), self._larynx("C3", 20 + r.uniform(-5, 4), 0, -6)
        folds = [ellipsoid(self._larynx("C5", 25, side * 6.5, -5), (5 * s, 11 * s, 3.2 * s)) for side in (-1, 1)]
        return [
            solid("palate", chain(palate, np.array([13, 6]) * s, np.array([3.4, 3.2]) * s, up=(0, 1, 0)), hu),
            solid("epiglottis", [bar(leaf_base, leaf_tip, 8 * s, 1.2 * s, up=(0, 1, 0))], hu + 20, step_mm=0.9),
            solid("vocal-folds", folds, hu + 10, step_mm=1.0),
        ]

    def cartilages(self) -> list[Solid]:
        """Hyoid, thyroid and cricoid cartilages, partly ossified with age."""
        spec, s = self.spec, self.s
        bone = bone_layers(spec.cortex_hu * 0.8, 0.8, spec.bone_hu * 0.6, 40)
        places = ((10, -24, -8), (28, -17, -10), (36, 0, -10), (28, 17, -10), (10, 24, -8))
        horns = [self._larynx("C3", *at) for at in places]
        wide, tall = np.array([1.8, 2.6, 2.6, 1.8]) * s, np.array([2.2, 4, 4, 2.2]) * s
        out = [solid("hyoid", curved(horns, wide, tall), bone, step_mm=0.8)]
        ossified = float(np.clip(self.rng.normal((spec.age - 20) / 60, 0.25), 0, 1))
        hu = 110 + 330 * ossified
        shell = (
            Layer(depth_mm=0, hu=hu + 250 * ossified, texture_hu=250 * ossified, cell_mm=4),
            Layer(depth_mm=1.0, hu=hu * 0.7),
        )
        wings = []
        front, back = self._larynx("C5", 42, 0, 2), 8
        for side in (-1, 1):
            wings.append(bar(front, self._larynx("C5", back, side * 19, 0), 1.5 * s, 12 * s))
            horn = [self._larynx("C5", back, side * 19, z) for z in (-8, 24)]
            wings.append(bar(horn[0], horn[1], 1.9 * s))
        out.append(solid("thyroid-cartilage", wings, shell, step_mm=0.8))
        turn = np.linspace(0, 2 * np.pi, 15)
        ring = [self._larynx("C6", 25 + 13 * np.sin(t), 13 * np.cos(t), 0) for t in turn]
        out.append(solid("cricoid", chain(ring, 1.9 * s, 4.5 * s), shell, step_mm=0.8))
        return out
