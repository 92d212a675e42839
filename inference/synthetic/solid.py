"""What the renderer paints: a field, and what lies at each depth below its surface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Prim, bounds_of

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """From `depth_mm` below the surface inwards: `hu`, with smooth random variation of SD about `texture_hu`/2."""

    depth_mm: float
    hu: float
    texture_hu: float = 0.0
    cell_mm: float = 1.6


@dataclass(frozen=True, kw_only=True, eq=False)
class Solid:
    """One painted structure in patient mm. Later solids paint over earlier ones.

    `label` is 0 for everything but vertebrae. `step_mm` is how finely its field needs sampling. `soft_mm` widens
    the edge (a blurred organ border). `joint` names the solids that it must keep a cartilage gap from.
    """

    name: str
    prims: list[Prim]
    layers: tuple[Layer, ...]
    label: int = 0
    step_mm: float = 1.6
    soft_mm: float = 0.0
    seed: int = 0
    lo: Array = field(default_factory=lambda: np.zeros(3))
    hi: Array = field(default_factory=lambda: np.zeros(3))


def solid(name: str, prims: list[Prim], layers: tuple[Layer, ...] | float, **more: Any) -> Solid:
    """A solid with its bounds worked out; a bare number is a homogeneous filling in HU."""
    lo, hi = bounds_of(prims)
    filled = layers if isinstance(layers, tuple) else (Layer(depth_mm=0.0, hu=float(layers)),)
    return Solid(name=name, prims=prims, layers=filled, lo=lo - 1.5, hi=hi + 1.5, **more)


def bone_layers(cortex_hu: float, cortex_mm: float, marrow_hu: float, texture_hu: float) -> tuple[Layer, ...]:
    """A cortical shell around textured cancellous bone, with denser cancellous bone just under the shell."""
    return (
        Layer(depth_mm=0.0, hu=cortex_hu, texture_hu=420.0, cell_mm=2.6),
        Layer(depth_mm=cortex_mm, hu=marrow_hu + 0.22 * (cortex_hu - marrow_hu)),
        Layer(depth_mm=cortex_mm + 0.6, hu=marrow_hu, texture_hu=texture_hu),
    )
