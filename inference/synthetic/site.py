"""The place of one fracture in one vertebra: its draws, its landmarks, and the tools that lay out its breaks.

Directions are in the vertebra's frame: +x left, +y posterior, +z up. A cut's normals point out of the fragment.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.breaks import Bruise, Crack, Cut, Surface
from inference.synthetic.field import frame, rotation
from inference.synthetic.injuries import FRACTURE_KINDS, LEVELS, Fracture
from inference.synthetic.spec import PhantomSpec
from inference.synthetic.vertebra import Vertebra

Array = NDArray[Any]
# Kinds whose deformation shows even where no line can be seen; the others may be hairline cracks.
_NEVER_HAIRLINE = ("compression", "burst", "flexion-teardrop", "unilateral-dislocation", "bilateral-dislocation")
_HAIRLINE_SHARE = 0.36
_GAP_MM = (0.5, 2.5)


def fracture_rng(spec: PhantomSpec, fracture: Fracture, stream: int = 707) -> np.random.Generator:
    """The fracture's own randomness; `stream` tells apart what must not change with each other."""
    kinds = list(FRACTURE_KINDS)
    return np.random.default_rng([spec.seed, stream, LEVELS.index(fracture.level), kinds.index(fracture.kind)])


def is_hairline(spec: PhantomSpec, fracture: Fracture) -> bool:
    """Whether the line is so thin that partial volume nearly hides it: about one fracture in six, the subtle ones."""
    share = _HAIRLINE_SHARE * (1 - fracture.severity)
    return fracture.kind not in _NEVER_HAIRLINE and bool(fracture_rng(spec, fracture, 708).random() < share)


def displacement(spec: PhantomSpec, fracture: Fracture) -> float:
    """How far pieces move, 0 to 1: the severity, or next to nothing in a hairline fracture."""
    return 0.1 * fracture.severity if is_hairline(spec, fracture) else fracture.severity


class Site:
    """One fracture being laid out. Lengths are mm before `s`, the person's scale, unless a method says otherwise."""

    def __init__(self, spec: PhantomSpec, fracture: Fracture, shape: Vertebra, place: Array) -> None:
        self.spec, self.fracture = spec, fracture
        self.rng = fracture_rng(spec, fracture)
        self.marks, self.place, self.s = shape.marks, place, spec.scale
        self.level, self.hairline = fracture.level, is_hairline(spec, fracture)
        self.severity = displacement(spec, fracture)
        # Lucent lines are 0.5 to 2.5 mm wide, median about 1.
        opening = float(np.exp(self.rng.normal(0.0, 0.3))) * (0.65 + 0.75 * fracture.severity)
        self.gap = self.u(0.25, 0.45) if self.hairline else float(np.clip(opening, *_GAP_MM))
        self.side = self.either()
        self.cuts: list[Cut] = []
        self.cracks: list[Crack] = []
        self.bruises: list[Bruise] = []

    def at(self, name: str, side: int = 0) -> Array:
        """A landmark, mm as it is; with `side`, its left (1) or right (-1) one."""
        return self.marks[name if not side else f"{name}-{'left' if side > 0 else 'right'}"]

    def u(self, low: float, high: float) -> float:
        """A uniform draw."""
        return float(self.rng.uniform(low, high))

    def either(self) -> int:
        """1 or -1."""
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

    def sides(self, half: float) -> list[Surface]:
        """Two bounding surfaces `half` to the left and right of the midline."""
        return [self.flat([half * self.s, 0, 0], [1, 0, 0]), self.flat([-half * self.s, 0, 0], [-1, 0, 0])]

    def cut(
        self,
        surfaces: list[Surface],
        shift: Any,
        turn_deg: Any,
        pivot: Any,
        *,
        gap: float = 1.0,
        after: Array | None = None,
    ) -> None:
        """A fragment, moved by a shift and small rotations about a pivot (vertebra frame).

        `gap` scales the line's width; `after`, a rigid motion in the vertebra's frame, carries the moved fragment on.
        """
        pivot = np.asarray(pivot, float)
        local = frame(pivot + np.asarray(shift, float) * self.s, rotation(*turn_deg)) @ frame(-pivot)
        local = local if after is None else after @ local
        self.cuts.append(
            Cut(
                surfaces=tuple(surfaces),
                move=self.place @ local @ np.linalg.inv(self.place),
                gap_mm=self.gap * gap * self.u(0.6, 1.0),
                blood_hu=self.u(20, 60),
            )
        )

    def crack(
        self, point: Any, normal: Any, radius: float, *, jag: float = 1.0, wobble: float = 0.12, open_: float = 1.0
    ) -> None:
        """A line about a point that parts nothing; `open_` scales its width."""
        centre = (self.place @ np.append(np.asarray(point, float), 1.0))[:3]
        self.cracks.append(
            Crack(
                surface=self.surface(point, normal, jag=jag, wobble=wobble),
                centre=centre,
                radius_mm=radius * self.s,
                gap_mm=min(self.gap * open_, _GAP_MM[1]),
                blood_hu=self.u(20, 60),
            )
        )

    def bruise(self, point: Any, radii: tuple[float, float, float], hu: float, marks: bool) -> None:
        """Denser marrow in an ellipsoid; `marks` makes it part of the fracture's truth."""
        centre = (self.place @ np.append(np.asarray(point, float), 1.0))[:3]
        radii = (radii[0] * self.s, radii[1] * self.s, radii[2] * self.s)
        self.bruises.append(Bruise(centre=centre, radii_mm=radii, hu=hu, marks=marks))
