"""What a vertebra wears: bone added or taken away, things beside it, and shadows that the scanner throws on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Prim, placed
from inference.synthetic.solid import Layer, Solid, solid
from inference.synthetic.spec import PhantomSpec
from inference.synthetic.vertebra import Vertebra

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Decoy:
    """A labelled negative: its kind, the level it is at and where, LPS mm; motion has no place of its own."""

    kind: str
    level: str | None
    centre_lps_mm: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Shade:
    """HU added by an artefact to everything but air inside some primitives (patient mm)."""

    prims: list[Prim]
    hu: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoration:
    """All in the vertebra's frame: more (or less) of its own bone, separate things (name, primitives, layers), shadows,
    and where each decoy is (kind, point)."""

    prims: list[Prim] = field(default_factory=list)
    things: list[tuple[str, list[Prim], tuple[Layer, ...]]] = field(default_factory=list)
    shadows: list[tuple[list[Prim], float]] = field(default_factory=list)
    sites: list[tuple[str, Array]] = field(default_factory=list)

    def placed(self, frame: Array, spec: PhantomSpec) -> list[Solid]:
        """The separate things as solids in patient mm; they carry no label."""
        return [
            solid(name, placed(prims, frame), layers, step_mm=0.7, seed=spec.seed)
            for name, prims, layers in self.things
        ]

    def shades(self, frame: Array) -> list[Shade]:
        """The shadows in patient mm."""
        return [Shade(prims=placed(prims, frame), hu=hu) for prims, hu in self.shadows]

    def decoys(self, frame: Array, level: str) -> list[Decoy]:
        """The labelled negatives in patient mm."""
        out = []
        for kind, point in self.sites:
            x, y, z = (float(v) for v in (frame @ np.append(point, 1.0))[:3])
            out.append(Decoy(kind=kind, level=level, centre_lps_mm=(x, y, z)))
        return out


class Place:
    """One decoy being put on one vertebra: its draws, the landmarks `m` and the scale `s` of the vertebra."""

    def __init__(
        self, spec: PhantomSpec, kind: str, level: str, shape: Vertebra, rng: np.random.Generator, out: Decoration
    ) -> None:
        self.spec, self.kind, self.level, self.rng, self.out = spec, kind, level, rng, out
        self.m, self.s = shape.marks, spec.scale

    def u(self, low: float, high: float) -> float:
        """A uniform draw."""
        return float(self.rng.uniform(low, high))

    def v(self, x: float, y: float, z: float) -> Array:
        """A vector given in mm of a mean person."""
        return np.array([x, y, z]) * self.s

    def near(self, x: float, y: float, z: float) -> Array:
        """A random offset with these SDs, mm."""
        return self.rng.normal(0, 1, 3) * [x, y, z] * self.s

    def note(self, point: Array) -> None:
        """Enter the decoy in the truth."""
        self.out.sites.append((self.kind, np.asarray(point, float)))

    def shape(self, *prims: Prim) -> None:
        """Add to (or drill into) the vertebra's own bone, and enter the decoy where the first primitive is."""
        self.out.prims.extend(prims)
        lo, hi = prims[0].bounds
        self.note((lo + hi) / 2)

    def thing(self, name: str, prims: list[Prim], layers: tuple[Layer, ...]) -> None:
        """Put something beside the vertebra, and enter the decoy where its first primitive is."""
        self.out.things.append((name, prims, layers))
        lo, hi = prims[0].bounds
        self.note((lo + hi) / 2)
