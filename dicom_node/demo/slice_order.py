"""Which images a series has, in which order: as scanners number them, and as studies arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

ORDERS: Final = ("head-first", "feet-first")


@dataclass(frozen=True, kw_only=True)
class PlannedImage:
    """An image of slice `slice_index` (0 the most inferior) with its Instance Number; `again` marks a second copy."""

    slice_index: int
    number: int
    again: bool = False

    @property
    def copy_mark(self) -> tuple[str, ...]:
        """What keeps a copy's UID apart from the original's."""
        return ("again",) if self.again else ()


def plan_images(
    slices: int, seed: int, *, order: str | None = None, missing: int = 0, duplicates: int = 0
) -> tuple[PlannedImage, ...]:
    """The images of a stack of `slices`, by rising Instance Number, which is unique.

    `order` says which end has number 1: "head-first" the highest slice, "feet-first" the lowest; None leaves it to the
    seed. `missing` slices, never the first or last, are left out and their numbers with them. `duplicates` images are
    there a second time, at the same place with numbers and UIDs of their own, as a series that was sent and
    reconstructed twice. Raises ValueError where that many cannot be.
    """
    if order not in (None, *ORDERS):
        raise ValueError(f"order {order!r} is not one of {', '.join(ORDERS)}")
    if not 0 <= missing <= max(slices - 2, 0):
        raise ValueError(f"{missing} slices cannot be missing from {slices}: the first and the last stay")
    if not 0 <= duplicates <= slices - missing:
        raise ValueError(f"{duplicates} slices cannot be there twice: there are {slices - missing}")
    falling = seed % 2 == 0 if order is None else order == "head-first"
    rng = np.random.default_rng([seed, 9002])
    gone = {int(k) + 1 for k in rng.permutation(max(slices - 2, 0))[:missing]}
    images = [
        PlannedImage(slice_index=k, number=slices - k if falling else k + 1) for k in range(slices) if k not in gone
    ]
    images.sort(key=lambda image: image.number)
    twice = sorted(int(k) for k in rng.permutation(len(images))[:duplicates])
    images += [
        PlannedImage(slice_index=images[k].slice_index, number=slices + place, again=True)
        for place, k in enumerate(twice, start=1)
    ]
    return tuple(images)
