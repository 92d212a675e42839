"""The mechanics of a fracture: jagged surfaces that cut a bone, and the pieces that move.

A fragment is the intersection of the intact bone with the inner side of one or more surfaces, moved rigidly. The
surfaces are evaluated at the resolution of the picture, not on the coarser lattice of the smooth bone, so that a
gap keeps its edge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Lattice
from inference.synthetic.noise import fractal_noise

Array = NDArray[Any]
_NEAR_MM = 7.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """A jagged plane: `frame` is 4 x 4 (local -> LPS mm), the surface is local z = 0, inside is z < 0.

    `rough_mm` is the size of the jags over `cell_mm`; `bow_mm` bends it by that much 10 mm off its centre.
    """

    frame: Array
    rough_mm: float
    cell_mm: float
    bow_mm: float
    seed: int

    def distance(self, lattice: Lattice, move: Array | None = None) -> Array:
        """Signed distance, mm, exact near the surface; with `move`, of the surface carried along by it."""
        frame = self.frame if move is None else move @ self.frame
        inv = np.linalg.inv(frame)[:3]
        u, v, w = lattice.coordinates(inv)
        near = np.abs(w) < _NEAR_MM
        uu, vv = u[near], v[near]
        w[near] += np.float32(self.rough_mm) * fractal_noise(self.seed, (uu, vv), self.cell_mm, 4)
        w[near] += np.float32(self.bow_mm / 100) * np.minimum(uu * uu + vv * vv, 400)
        return w


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """A fragment: the bone inside all `surfaces`, moved by the rigid 4 x 4 `move` (LPS mm)."""

    surfaces: tuple[Surface, ...]
    move: Array
    gap_mm: float
    blood_hu: float

    def distance(self, lattice: Lattice, move: Array | None = None) -> Array:
        """Signed distance to the fragment's cell, negative inside."""
        out = self.surfaces[0].distance(lattice, move)
        for other in self.surfaces[1:]:
            np.maximum(out, other.distance(lattice, move), out=out)
        return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Crack:
    """A lucent line that separates nothing: a surface, limited to a ball, that tapers towards its rim."""

    surface: Surface
    centre: Array
    radius_mm: float
    gap_mm: float
    blood_hu: float

    def half_gap(self, lattice: Lattice) -> Array:
        """Half the opening at every sample, mm; negative outside the ball."""
        inv = np.hstack([np.eye(3), -np.asarray(self.centre, float)[:, None]])
        u, v, w = lattice.coordinates(inv)
        r = np.sqrt(u * u + v * v + w * w) * np.float32(1 / self.radius_mm)
        return np.float32(self.gap_mm / 2) * np.minimum((1 - r) * 3, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bruise:
    """Extra HU in cancellous bone inside an ellipsoid (impacted or bleeding marrow); `marks` adds to the mask."""

    centre: Array
    radii_mm: tuple[float, float, float]
    hu: float
    marks: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Breaks:
    """All that is broken in one vertebra."""

    cuts: tuple[Cut, ...] = ()
    cracks: tuple[Crack, ...] = ()
    bruises: tuple[Bruise, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.cuts or self.cracks or self.bruises)
