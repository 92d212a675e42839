"""Small necks for tests: few voxels, no noise, each made once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from inference.synthetic import Anatomy, Fracture, Grid, Rendered, build_anatomy, draw_spec, render


@lru_cache(maxsize=64)
def neck(
    seed: int = 1, fractures: tuple[Fracture, ...] = (), decoys: tuple[str, ...] = (), **overrides: Any
) -> Anatomy:
    """The anatomy of a mean-sized person, without fractures or decoys unless asked for."""
    plain = {"coverage": "cspine", "scale": 1.0, "width_scale": 1.0, "fused": "", "contrast_hu": 0.0}
    return build_anatomy(draw_spec(seed, fractures=fractures, decoys=decoys, **(plain | overrides)))


def window(
    anatomy: Anatomy,
    level: str,
    size_mm: Any = (58.0, 62.0, 42.0),
    spacing_mm: float = 1.9,
    behind_mm: float = 10.0,
) -> Grid:
    """A grid about a vertebra, along its own axes, `behind_mm` behind its body's centre."""
    frame = anatomy.curve.frames[level]
    centre = (frame @ np.array([0.0, behind_mm, 0.0, 1.0]))[:3]
    return Grid.around(centre, size_mm, spacing_mm, frame[:3, :3])


def picture(anatomy: Anatomy, level: str, **options: Any) -> Rendered:
    """A noise-free picture of one vertebra."""
    return render(anatomy, window(anatomy, level, **options), ideal=True)
