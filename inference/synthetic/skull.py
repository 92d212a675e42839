"""The head: vault, skull base, face, jaw, teeth, and the soft tissue and air inside them.

Frame: origin at the centre of the foramen magnum, +x left, +y posterior, +z up, millimetres before scaling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Prim, bar, box, chain, curved, ellipsoid, placed, rotation, tube
from inference.synthetic.solid import Layer, Solid, bone_layers, solid
from inference.synthetic.spec import PhantomSpec

Array = NDArray[Any]
OCCIPUT = "skull"


class Head:
    """Builds the head's solids in the order they are painted."""

    def __init__(self, spec: PhantomSpec, place: Array) -> None:
        self.spec, self.place = spec, place
        self.rng = np.random.default_rng([spec.seed, 303])
        self.s = 0.5 + 0.5 * spec.scale
        vault = self.rng.normal(1, 0.035, 3)
        self.vault_c = self._p(0, -20, 60 * vault[2])
        self.vault_r = np.array([69 * vault[0], 86 * vault[1], 64 * vault[2]]) * self.s
        self.jaw_drop = -spec.mouth_open_mm
        self.dense = spec.bone_hu * 1.25 + 120

    def _p(self, x: float, y: float, z: float) -> Array:
        return np.array([x, y, z], float) * self.s

    def _r(self, *r: float) -> tuple[float, ...]:
        return tuple(float(v * self.s * np.clip(self.rng.normal(1, 0.06), 0.8, 1.2)) for v in r)

    def _solid(self, name: str, prims: list[Prim], layers: Any, **more: Any) -> Solid:
        return solid(name, placed(prims, self.place), layers, seed=self.spec.seed, **more)

    def _brain(self, grow: float) -> list[Prim]:
        """Cranial cavity grown by `grow` mm: a vault cut by the rising skull base, and the posterior fossa."""
        r = self.vault_r + grow
        base = self._p(0, -48, 22) + np.array([0, 0, -grow])
        floor = box(
            base - self._p(0, 0, 50) @ rotation(-14).T, np.array([90, 64, 50]) * self.s, 8, rotation(-14), op="-", k=10
        )
        return [
            ellipsoid(self.vault_c, r, k=4),
            floor,
            ellipsoid(self._p(0, 18, 24), np.array([54, 46, 26]) * self.s + grow, k=8),
            ellipsoid(self._p(32, -24, 27), np.array([24, 30, 17]) * self.s + grow, k=6),
            ellipsoid(self._p(-32, -24, 27), np.array([24, 30, 17]) * self.s + grow, k=6),
        ]

    def bones(self) -> list[Solid]:
        """Skull in one solid (label 0): it is what C1 articulates with and must not be mistaken for."""
        s, spec = self.s, self.spec
        shell = float(self.rng.uniform(5.0, 7.5))
        prims = self._brain(shell)
        prims += [bar(self._p(0, -17, 3), self._p(0, -40, 30), *self._r(11, 5.5), up=(0, 1, 1), k=6)]
        for side in (-1, 1):
            prims += [
                ellipsoid(self._p(side * 18.5, -7, -4.5), self._r(6.0, 11.0, 6.5), rotation(0, 0, side * -22), k=4),
                bar(self._p(side * 20, -24, 14), self._p(side * 52, -4, 16), *self._r(10, 9), k=6),
                ellipsoid(self._p(side * 52, 4, 3), self._r(10.5, 13, 19), k=6),
                bar(self._p(side * 27, -44, 12), self._p(side * 24, -50, -12), *self._r(2.5, 6), up=(0, 1, 0), k=3),
                bar(self._p(side * 27, -21, 4), self._p(side * 29, -24, -20), *self._r(1.8, 1.8), k=1),
                *chain(
                    [self._p(side * 57, -22, 15), self._p(side * 65, -44, 12), self._p(side * 50, -72, 9)],
                    float(self._r(2.6)[0]),
                    float(self._r(4.5)[0]),
                ),
                bar(self._p(side * 50, -72, 9), self._p(side * 53, -71, 42), *self._r(4.5, 4.5), k=3),
                bar(self._p(side * 50, -72, 9), self._p(side * 26, -82, -2), *self._r(5.5, 6), k=5),
                bar(self._p(side * 10, -92, 38), self._p(side * 16, -90, 2), *self._r(3, 4), k=4),
                bar(self._p(side * 53, -71, 44), self._p(0, -98, 52), *self._r(7, 5), k=4),
            ]
        prims += [
            bar(self._p(0, 58, 30), self._p(0, 46, 6), *self._r(6, 5), up=(0, 1, 0), k=10),
            box(self._p(0, -72, -4), (29 * s, 25 * s, 3.0 * s), 2.8 * s, k=3),
            bar(self._p(self.rng.normal(0, 1.5), -52, 2), self._p(0, -84, 24), *self._r(0.55, 14), k=1),
            *self._arch_bone(-11.0, 1.0, 5.5, 8.0),
        ]
        low = self._p(0, 1, 0)
        prims.append(tube(low - self._p(0, 0, 22), low + self._p(0, 4, 24), *self._r(15.0, 18.0), k=4))
        cell = float(self.rng.uniform(2.5, 5))
        return [
            self._solid(
                OCCIPUT,
                prims,
                (
                    Layer(depth_mm=0, hu=spec.cortex_hu),
                    Layer(depth_mm=1.6, hu=self.dense, texture_hu=150, cell_mm=cell),
                ),
                step_mm=0.9,
            ),
            self._solid("face-cavities", self._face_soft(), spec.muscle_hu, step_mm=1.2),
            self._solid(
                "brain",
                [
                    *self._brain(0.0)[:1],
                    *self._brain(0.0)[1:],
                    tube(low - self._p(0, 0, 8), low + self._p(0, 3, 16), 13.5 * s, 16.5 * s, op="+", k=5),
                ],
                (Layer(depth_mm=0, hu=12), Layer(depth_mm=2.0, hu=36, texture_hu=8, cell_mm=9)),
                step_mm=1.6,
            ),
        ]

    def _arch_bone(self, z: float, shift: float, a: float, b: float) -> list[Prim]:
        points = [self._p(x, y + shift, z) for x, y in _ARCH]
        return chain(points, a * self.s, b * self.s, k=3)

    def _face_soft(self) -> list[Prim]:
        s = self.s
        out = []
        for side in (-1, 1):
            out += [
                ellipsoid(self._p(side * 32, -74, 34), (17 * s, 22 * s, 16 * s)),
                ellipsoid(self._p(side * 25, -64, 10), self._r(11, 15, 13)),
            ]
        return out

    def air(self) -> list[Solid]:
        """Sinuses, nasal cavity, mastoid cells and the ear canals."""
        out = []
        full = self.rng.random() < 0.25
        sinuses: list[Prim] = []
        for side in (-1, 1):
            if not full:
                sinuses.append(ellipsoid(self._p(side * 25, -64, 10), self._r(10, 14, 12)))
            sinuses += [
                bar(self._p(side * 7, -52, 6), self._p(side * 6, -88, 8), *self._r(2.2, 9), k=1),
                bar(self._p(side * 9, -40, 30), self._p(side * 8, -74, 32), *self._r(4.5, 6), k=1),
                bar(self._p(side * 46, -8, 12), self._p(side * 70, -8, 10), *self._r(3.0, 3.5), k=1),
            ]
        sinuses.append(ellipsoid(self._p(0, -38, 22), self._r(10, 10, 8)))
        sinuses.append(ellipsoid(self._p(0, -101, 56), self._r(17, 4, 10)))
        out.append(self._solid("sinuses", sinuses, -1000.0, step_mm=1.0))
        cells = []
        pneumatised = self.rng.uniform(0.2, 1.0)
        for side in (-1, 1):
            for _ in range(int(70 * pneumatised)):
                depth = self.rng.uniform(0, 1)
                at = self._p(side * (52 - 6 * depth), 5 - 8 * depth, -8 + 24 * depth)
                r = self.rng.uniform(1.1, 3.0) * self.s
                cells.append(ellipsoid(at + self.rng.normal(0, 1, 3) * [4, 5.5, 3], (r, r * 1.2, r), k=0.4))
        if cells:
            out.append(self._solid("mastoid-cells", cells, -880.0, step_mm=0.9))
        return out

    def jaw(self) -> list[Solid]:
        """The mandible (a U with rami) and both rows of teeth."""
        spec, s, d = self.spec, self.s, self.jaw_drop
        right = [(-57, -22, 8), (-50, -31, -14), (-46, -36, -38), (-36, -62, -46), (-22, -84, -47), (0, -96, -46)]
        points = [self._p(x, y, z + d * (0.3 if z > 0 else 1.0)) for x, y, z in right]
        points += [p * np.array([-1, 1, 1]) for p in points[-2::-1]]
        a = [3.4, 3.6, 5.2, 5.8, 6.2]
        b = [7.0, 12.5, 10.0, 10.0, 11.0]
        prims = curved(points[:6], np.array(a) * s, np.array(b) * s, k=4)
        prims += curved(points[5:], np.array(a[::-1]) * s, np.array(b[::-1]) * s, k=4)
        prims += self._arch_bone(-33 + d, 2.0, 5.0, 7.0)
        for side in (-1, 1):
            prims.append(
                bar(self._p(side * 49, -33, -12 + d), self._p(side * 49, -48, 2 + d * 0.6), *self._r(2.2, 5), k=4)
            )
        layers = bone_layers(spec.cortex_hu * 1.05, 2.2, spec.bone_hu * 0.7 + 60, 160)
        return [self._solid("mandible", prims, layers, step_mm=0.9), *self._teeth()]

    def _teeth(self) -> list[Solid]:
        enamel: list[Prim] = []
        roots: list[Prim] = []
        metal: list[Prim] = []
        arch = _arch_points(15)
        for row, z, way in ((0, -17.5, 1.0), (1, -25.5 + self.jaw_drop, -1.0)):
            for i, (x, y) in enumerate(arch):
                if self.rng.random() < self.spec.missing_teeth:
                    continue
                molar = abs(i - 7) >= 4
                at = self._p(x, y + row * 2.0, z) + self.rng.normal(0, 0.4, 3)
                wide, deep = (4.6, 4.6) if molar else (3.1, 3.0)
                enamel.append(ellipsoid(at, self._r(wide, deep, 4.6), k=0.4))
                roots.append(
                    bar(at, at + self._p(0, 1.5, way * 13), *self._r(wide * 0.72, deep * 0.72), taper=0.55, k=0.5)
                )
                if len(metal) < self.spec.metal_teeth and self.rng.random() < 0.5 and abs(i - 7) >= 2:
                    metal.append(ellipsoid(at - self._p(0, 0, way), self._r(wide * 0.8, deep * 0.8, 2.6), k=0.3))
        out = []
        if enamel:
            out.append(
                self._solid("roots", roots, (Layer(depth_mm=0, hu=1450), Layer(depth_mm=1.8, hu=700)), step_mm=0.8)
            )
            out.append(
                self._solid("teeth", enamel, (Layer(depth_mm=0, hu=2350), Layer(depth_mm=1.3, hu=1600)), step_mm=0.8)
            )
        if metal:
            out.append(self._solid("dental-metal", metal, 6000.0, step_mm=0.8))
        return out

    def flesh(self) -> list[Prim]:
        """Skin outline of the head, in patient mm."""
        s, g = self.s, float(self.rng.uniform(4, 8))
        prims = [
            ellipsoid(self.vault_c, self.vault_r + 7 + g, k=10),
            ellipsoid(self._p(0, 22, 24), (60 * s + g, 52 * s + g, 42 * s), k=14),
            bar(
                self._p(0, -62, 26), self._p(0, -70, -34), 58 * s + g * 0.5, 36 * s + g, up=(0, 1, 0), taper=0.78, k=25
            ),
            bar(self._p(0, -100, 30), self._p(0, -118, 4), *self._r(7, 9), taper=1.5, k=8),
            ellipsoid(self._p(0, -92, -44 + self.jaw_drop), self._r(24, 17, 15), k=16),
            ellipsoid(self._p(0, -62, -40 + self.jaw_drop), self._r(46, 34, 16), k=16),
        ]
        for side in (-1, 1):
            prims.append(
                ellipsoid(self._p(side * 73, -2, 14), self._r(5, 15, 28), rotation(0, side * -10, side * 25), k=4)
            )
        return placed(prims, self.place)

    def mouth(self) -> list[Solid]:
        """Tongue and floor of the mouth, with a slit of air in some."""
        s = self.spec.muscle_hu
        out = [
            self._solid(
                "tongue",
                [ellipsoid(self._p(0, -64, -22 + 0.6 * self.jaw_drop), self._r(22, 27, 16), k=4)],
                s + 8,
                soft_mm=1.0,
            )
        ]
        if self.spec.mouth_open_mm > 0 or self.rng.random() < 0.4:
            at = self._p(0, -70, -8)
            out.append(
                self._solid(
                    "mouth-air",
                    [ellipsoid(at, self._r(20, 24, 1.5 + 0.35 * self.spec.mouth_open_mm), k=1)],
                    -1000.0,
                    step_mm=1.0,
                )
            )
        return out


_ARCH = ((-28, -52), (-26, -64), (-20, -80), (-10, -90), (0, -93), (10, -90), (20, -80), (26, -64), (28, -52))


def _arch_points(count: int) -> list[tuple[float, float]]:
    knots = np.array(_ARCH, float)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    at = np.linspace(0, along[-1], count)
    return list(zip(np.interp(at, along, knots[:, 0]), np.interp(at, along, knots[:, 1]), strict=True))
