"""A procedural CT phantom of the neck: labelled spines with and without fractures, from a seed."""

from inference.synthetic.anatomy import Anatomy, build_anatomy
from inference.synthetic.grid import Grid
from inference.synthetic.phantom import Phantom, default_grid, make_phantom
from inference.synthetic.render import Rendered, render
from inference.synthetic.spec import (
    COVERAGES,
    DECOYS,
    FRACTURE_KINDS,
    LEVELS,
    Fracture,
    PhantomSpec,
    Scanner,
    draw_spec,
)

__all__ = [
    "COVERAGES",
    "DECOYS",
    "FRACTURE_KINDS",
    "LEVELS",
    "Anatomy",
    "Fracture",
    "Grid",
    "Phantom",
    "PhantomSpec",
    "Rendered",
    "Scanner",
    "build_anatomy",
    "default_grid",
    "draw_spec",
    "make_phantom",
    "render",
]
