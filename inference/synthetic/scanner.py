"""What the scanner adds to the ideal picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from inference.synthetic.grid import Grid
from inference.synthetic.spec import Scanner

if TYPE_CHECKING:
    from inference.synthetic.anatomy import Anatomy

Array = NDArray[Any]


def apply_scanner(hu: Array, anatomy: Anatomy, scanner: Scanner, grid: Grid, first: int) -> Array:
    """Kernel, noise, streaks and padding on a slab that starts at slice `first` of the grid; float32 [z, y, x]."""
    return hu
