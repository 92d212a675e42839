"""Below the neck: ribs, shoulder girdle, sternum, pelvis, lungs, heart and a simple abdomen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.curve import SpineCurve
from inference.synthetic.field import Prim, bar, chain, curved, ellipsoid
from inference.synthetic.solid import Layer, Solid, bone_layers, solid
from inference.synthetic.spec import PhantomSpec

Array = NDArray[Any]


class Trunk:
    """Solids of the trunk; `frames` come from the spine curve, sizes scale with the patient."""

    def __init__(self, spec: PhantomSpec, curve: SpineCurve) -> None:
        self.spec, self.curve = spec, curve
        self.rng = np.random.default_rng([spec.seed, 404])
        self.s = spec.scale
        self.half_width = 134 * spec.scale * (1.06 if spec.sex == "M" else 0.97) * float(self.rng.normal(1, 0.04))
        self.depth = 165 * spec.scale * float(self.rng.normal(1, 0.06))

    def _centre(self, level: str) -> Array:
        return self.curve.frames[level][:3, 3]

    def _bone(self, name: str, prims: list[Prim], marrow: float = 0.5, cortex: float = 1.0) -> Solid:
        spec = self.spec
        layers = bone_layers(spec.cortex_hu * 0.95, cortex, spec.bone_hu * marrow + 40, 60)
        return solid(name, prims, layers, step_mm=1.1, seed=spec.seed)

    def _half_width_at(self, i: int) -> float:
        return self.half_width * float(np.interp(i, [1, 2, 3, 5, 8, 12], [0.42, 0.56, 0.68, 0.86, 1.0, 0.92]))

    def _front_at(self, i: int) -> Array:
        """Where rib i meets its cartilage: sternum for 1-7, costal margin below."""
        top = self._centre("T2") + np.array([0, -58, -12]) * self.s
        return top + np.array([0, -10.0 * (min(i, 7) - 1), -19.0 * (i - 1) - 6]) * self.s

    def ribs(self) -> list[Solid]:
        """Twelve pairs of ribs."""
        out = []
        for i in range(1, 13):
            at = self.curve.frames[f"T{i}"]
            up = self.curve.heights[f"T{i}"] * 0.35
            for side in (-1, 1):
                w = self._half_width_at(i)
                head = (at @ np.array([side * 15 * self.s, 6 * self.s, up, 1]))[:3]
                tubercle = (at @ np.array([side * (36 - i) * self.s, 24 * self.s, up, 1]))[:3]
                lateral = tubercle + np.array(
                    [side * (w - 34 * self.s), -20 * self.s - 0.12 * w, -(10 + 3.5 * i) * self.s]
                )
                angle = 0.5 * (tubercle + lateral) + np.array([side * 0.16 * w, 0.16 * w, 0])
                front = self._front_at(i) + np.array([side * (22 + (0 if i < 8 else 12 * (i - 7))) * self.s, 0, 0])
                bend = 0.5 * (lateral + front) + np.array([side * 0.14 * w, -0.10 * w, 0])
                points = [head, tubercle, angle, lateral] + ([bend, front] if i <= 10 else [])
                out.append(
                    self._bone(
                        f"rib-{i}", curved(points, 2.6 * self.s, (5.5 if i > 1 else 4.0) * self.s, k=2), 0.3, 0.8
                    )
                )
        return out

    def girdle(self) -> list[Solid]:
        """Clavicles, scapulae and humeral heads; the arms up or down."""
        s, rng = self.s, self.rng
        t1, lift = self._centre("T1"), 25.0 if self.spec.arms_up else 0.0
        out = []
        notch = self._front_at(1) + np.array([0, 0, 8]) * s
        shrug = float(rng.normal(0, 10))
        for side in (-1, 1):
            shoulder = t1 + np.array([side * 158 * s * self.spec.width_scale, 8 * s, (lift + shrug - 30) * s])
            inner = notch + np.array([side * 17 * s, 0, 5 * s])
            mid = inner * 0.55 + shoulder * 0.45 + np.array([0, -16 * s, 4 * s])
            outer = shoulder + np.array([-side * 22 * s, -4 * s, 20 * s])
            out.append(
                self._bone(
                    "clavicle",
                    [*chain([inner, mid, outer], 5.2 * s, 5.8 * s), ellipsoid(inner, (9 * s, 8 * s, 10 * s))],
                )
            )
            out.append(
                self._bone(
                    "humeral-head",
                    [
                        ellipsoid(shoulder, (23 * s, 23 * s, 23 * s)),
                        bar(
                            shoulder + np.array([side * 6 * s, 0, 0]),
                            shoulder + np.array([side * 26, 0, 210 if self.spec.arms_up else -230]) * s,
                            11.5 * s,
                        ),
                    ],
                    0.3,
                    2.0,
                )
            )
            glenoid = shoulder + np.array([-side * 27, 8, -2]) * s
            spine_end = glenoid + np.array([-side * 68, 44, 8]) * s
            angle = glenoid + np.array([-side * 42, 42, -105]) * s
            out.append(
                self._bone(
                    "scapula",
                    [
                        ellipsoid(glenoid, (7 * s, 12 * s, 17 * s)),
                        bar(glenoid, angle, 3.5 * s, 5.5 * s),
                        bar(spine_end, angle, 2.4 * s, 5 * s),
                        bar(
                            glenoid * 0.5 + spine_end * 0.5,
                            angle * 0.6 + spine_end * 0.4,
                            1.8 * s,
                            34 * s,
                            up=(side * 1.0, -0.5, 0),
                        ),
                        *chain(
                            [
                                spine_end,
                                glenoid + np.array([-side * 12, 34, 26]) * s,
                                shoulder + np.array([side * 8, 20, 30]) * s,
                            ],
                            3.5 * s,
                            7 * s,
                        ),
                        bar(glenoid + np.array([0, -8, 14]) * s, glenoid + np.array([-side * 6, -32, 16]) * s, 5 * s),
                    ],
                    0.3,
                    1.0,
                )
            )
        sternum = chain(
            [notch, self._front_at(2) + np.array([0, 0, 4]), self._front_at(4), self._front_at(7)],
            np.array([24.0, 17, 16]) * s,
            np.array([6.0, 5, 5]) * s,
            up=(0, 1, 0),
            k=4,
        )
        out.append(self._bone("sternum", sternum, 0.3, 1.0))
        return out

    def pelvis(self) -> list[Solid]:
        """Sacrum, iliac wings, hip joints and femora, coarse."""
        s = self.s
        l5 = self.curve.frames["L5"]
        base = (l5 @ np.array([0, 6, -22, 1]))[:3]
        prims = [
            *chain(
                [base, base + np.array([0, 30, -35]) * s, base + np.array([0, 38, -85]) * s],
                np.array([44.0, 26]) * s,
                np.array([15.0, 9]) * s,
                up=(0, 1, 0),
                k=5,
            )
        ]
        for side in (-1, 1):
            joint = base + np.array([side * 48, 26, -18]) * s
            crest, front = base + np.array([side * 95, 0, 40]) * s, base + np.array([side * 122, -58, -6]) * s
            hip, pubis = base + np.array([side * 88, -30, -78]) * s, base + np.array([side * 10, -62, -105]) * s
            prims += [
                bar(joint, crest, 6 * s, 22 * s),
                bar(crest, front, 5 * s, 10 * s),
                bar(joint, hip, 10 * s, 14 * s),
                bar(crest * 0.5 + front * 0.5, hip, 3 * s, 36 * s, up=(0, 1, 0.3)),
                bar(hip, pubis, 8 * s),
                bar(hip, base + np.array([side * 55, -10, -140]) * s, 11 * s),
            ]
        out = [self._bone("pelvis", prims, 0.3, 1.6)]
        for side in (-1, 1):
            hip = base + np.array([side * 92, -28, -80]) * s
            out.append(
                self._bone(
                    "femur",
                    [
                        ellipsoid(hip, (24 * s, 24 * s, 24 * s)),
                        *chain(
                            [hip, hip + np.array([side * 48, 8, -36]) * s, hip + np.array([side * 40, 0, -260]) * s],
                            15 * s,
                            k=5,
                        ),
                    ],
                    0.35,
                    3.0,
                )
            )
        return out

    def lungs(self) -> list[Solid]:
        """Two lungs with apices above the first rib, and the heart between them."""
        s, c = self.s, self._centre
        out = []
        for side in (-1, 1):
            apex = c("T2") + np.array([side * 34, -14, -8]) * s
            points = [
                apex,
                c("T4") + np.array([side * 62, -38, 0]) * s,
                c("T7") + np.array([side * 76, -58, 0]) * s,
                c("T10") + np.array([side * 78, -48, -6]) * s,
            ]
            r = np.array([21.0, 42, 52]) * s
            prims = chain(points, r, np.array([25.0, 60, 76]) * s, up=(0, 1, 0), k=30)
            out.append(
                solid(
                    "lung",
                    prims,
                    (
                        Layer(depth_mm=0, hu=-830, texture_hu=120, cell_mm=7),
                        Layer(depth_mm=3, hu=-845, texture_hu=160, cell_mm=5),
                    ),
                    step_mm=2.0,
                    seed=self.spec.seed,
                )
            )
        heart = c("T7") + np.array([22, -82, 4]) * s
        blood = 45 + 0.7 * self.spec.contrast_hu
        out.append(
            solid(
                "heart",
                [
                    ellipsoid(heart, (56 * s, 46 * s, 58 * s)),
                    ellipsoid(c("T5") + np.array([0, -70, 0]) * s, (30 * s, 34 * s, 60 * s), k=15),
                ],
                blood * 0.9 + 4,
                step_mm=2.0,
            )
        )
        aorta = [
            c("T4") + np.array([8, -62, 6]) * s,
            c("T4") + np.array([20, -24, 0]) * s,
            *(c(f"T{i}") + np.array([18, -28, 0]) * s for i in (6, 9, 12)),
        ]
        out.append(solid("aorta", chain(aorta, 11.5 * s), blood, step_mm=1.6))
        return out

    def abdomen(self) -> list[Solid]:
        """Liver, spleen, kidneys and bowel as blurred blobs."""
        s, c, rng = self.s, self._centre, self.rng
        up = 0.35 * self.spec.contrast_hu
        blobs = [
            ("liver", "T11", (-62, -72, -12), (74, 72, 66), 58),
            ("spleen", "T11", (82, -14, -10), (26, 40, 46), 50),
            ("kidney", "L2", (-58, 10, 0), (25, 25, 52), 34),
            ("kidney", "L2", (58, 10, 10), (25, 25, 52), 34),
            ("stomach", "T12", (48, -84, 0), (44, 40, 44), 30),
        ]
        out = [
            solid(n, [ellipsoid(c(lv) + np.array(p) * s, np.array(r) * s)], hu + up, step_mm=2.0)
            for n, lv, p, r, hu in blobs
        ]
        bowel, gas = [], []
        for _ in range(26):
            at = c("L3") + rng.normal(0, 1, 3) * [58, 22, 62] * s + np.array([0, -78, -20]) * s
            r = rng.uniform(12, 26, 3) * s
            bowel.append(ellipsoid(at, r, k=4))
            if rng.random() < 0.4:
                gas.append(ellipsoid(at - [0, 0.35 * r[1], 0], r * 0.55, k=2))
        out.append(solid("bowel", bowel, 28.0, step_mm=2.0))
        if gas:
            out.append(solid("bowel-gas", gas, -900.0, step_mm=2.0))
        return out

    def flesh(self) -> list[Prim]:
        """Skin outline of shoulders and trunk, in patient mm."""
        s, c = self.s, self._centre
        lift = 20.0 if self.spec.arms_up else 0.0
        thick = 6 + self.spec.fat_mm
        prims: list[Prim] = []
        levels = ["T3", "T6", "T10", "L2", "L5"]
        wide = np.array([1.04, 1.1, 1.08, 1.02, 1.12]) * self.half_width + thick
        deep = np.array([0.5, 0.62, 0.66, 0.66, 0.66]) * self.depth + thick
        ahead = np.array([24, 38, 42, 40, 26])
        points = [c(lv) - np.array([0, d, 0]) * s for lv, d in zip(levels, ahead, strict=True)]
        points.append(points[-1] + np.array([0, 20, -190]) * s)
        for i in range(5):
            j = min(i + 1, 4)
            prims.append(bar(points[i], points[i + 1], wide[i], deep[i], up=(0, 1, 0), taper=wide[j] / wide[i], k=35))
        t1 = c("T1")
        for side in (-1, 1):
            tip = t1 + np.array([side * 160 * self.spec.width_scale, 4, lift - 36]) * s
            prims.append(
                bar(t1 + np.array([side * 30, 12, 0]) * s, tip, 40 * s + thick * 0.5, 36 * s + thick * 0.4, k=35)
            )
            arm = tip + np.array([side * 22, 0, 240 if self.spec.arms_up else -240]) * s
            prims.append(bar(tip, arm, 42 * s + thick * 0.5, k=20))
            hip = points[-1] + np.array([side * 95, 0, 20]) * s
            prims.append(bar(hip, hip + np.array([0, 0, -150]) * s, 80 * s, k=30))
        return prims
