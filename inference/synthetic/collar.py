"""A cervical collar: foam or a plastic shell that follows the skin of the neck."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.anatomy import Anatomy
from inference.synthetic.canvas import Canvas

Array = NDArray[Any]
# (from, to) in mm off the skin, and HU: a foam band; a plastic shell on foam pads.
_LAYERS: Final = {
    "soft": ((0.6, 8.2, -880.0),),
    "hard": ((0.4, 4.2, -930.0), (4.2, 6.4, 90.0)),
}
_HALF_HEIGHT_MM: Final = 36.0
# The front stands higher, under the chin.
_RISE: Final = 0.1


def paint_collar(anatomy: Anatomy, canvas: Canvas, off_skin: Array) -> None:
    """Paint the spec's collar, if it has one, about the neck; `off_skin` is mm outside the skin, whole slab."""
    layers = _LAYERS.get(anatomy.spec.collar)
    if layers is None:
        return
    middle = 0.5 * (anatomy.curve.frames["C4"][:3, 3] + anatomy.curve.frames["C5"][:3, 3])
    half = _HALF_HEIGHT_MM * anatomy.spec.scale
    along = canvas.lattice.affine[2] + _RISE * canvas.lattice.affine[1]
    height = _plane(along, canvas.lattice.shape) - np.float32(middle[2] + _RISE * middle[1])
    if min(abs(float(height.min())), abs(float(height.max()))) > half and height.min() * height.max() > 0:
        return
    beyond = np.abs(height) - np.float32(half)
    for start, stop, hu in layers:
        wall = np.abs(off_skin - np.float32((start + stop) / 2)) - np.float32((stop - start) / 2)
        share = canvas.cover(np.maximum(wall, beyond))
        share *= np.float32(hu) - canvas.hu
        canvas.hu += share


def _plane(row: Array, shape: tuple[int, int, int]) -> Array:
    """One row of an affine at every index, float32 [z, y, x]."""
    z, y, x = (np.arange(n, dtype=np.float32) for n in shape)
    r = row.astype(np.float32)
    out: Array = (r[2] * z)[:, None, None] + ((r[1] * y)[:, None] + (r[0] * x + r[3]))
    return out
