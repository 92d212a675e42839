"""Muscles of the neck, each with a thin rim of fat, so that bellies that touch keep a plane between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inference.synthetic.field import bar, chain
from inference.synthetic.neck import Neck
from inference.synthetic.solid import Layer, Solid, solid

_FASCIA_MM = 0.45


class _Belly(NamedTuple):
    """Points (level, x, y, z) in vertebra frames, mm before scaling; half widths across and front to back."""

    points: tuple[tuple[str, float, float, float], ...]
    wide: float
    deep: float


_BELLIES = (
    # Behind, from the spine outwards: multifidus, semispinalis, splenius, levator, trapezius; below the occiput.
    _Belly((("C2", 8, 29, 0), ("C3", 9, 30, 0), ("C5", 10, 31, 0), ("C7", 12, 33, 0), ("T3", 15, 34, 0)), 9, 9),
    _Belly((("skull", 16, 46, 4), ("C2", 14, 41, 0), ("C5", 15, 43, 0), ("C7", 17, 44, 0), ("T3", 18, 45, 0)), 13, 8.5),
    _Belly((("skull", 40, 26, 6), ("C2", 29, 38, 0), ("C5", 26, 43, 0), ("C7", 22, 48, 0), ("T2", 16, 50, 0)), 14, 6),
    _Belly((("C1", 34, 10, 0), ("C3", 35, 19, 0), ("C5", 38, 24, 0), ("C7", 48, 29, 0), ("T2", 64, 36, 0)), 9, 11),
    _Belly((("skull", 8, 58, 14), ("C3", 18, 53, 0), ("C5", 28, 52, 0), ("C7", 52, 48, 0), ("T2", 90, 36, 0)), 22, 4.5),
    _Belly((("skull", 16, 32, 2), ("C1", 16, 27, 0), ("C2", 12, 31, 0)), 12, 7.5),
    _Belly((("T1", 30, 40, 0), ("T4", 30, 42, 0), ("T8", 28, 42, 0), ("T12", 30, 44, 0), ("L4", 30, 46, 0)), 18, 14),
    # On the shoulder blade and about the shoulder: behind and before the blade, deltoid, pectoral.
    _Belly((("T1", 60, 62, -10), ("T1", 128, 36, -26)), 20, 11),
    _Belly((("T3", 70, 34, -20), ("T1", 130, 14, -36)), 22, 9),
    _Belly((("T1", 168, -18, -30), ("T1", 182, 14, -44), ("T1", 168, 40, -34)), 11, 9),
    _Belly((("T3", 28, -74, -10), ("T2", 80, -58, -12), ("T1", 140, -22, -50)), 26, 7),
    # At the sides: scalenes, sternocleidomastoid.
    _Belly((("C3", 29, 7, 0), ("C5", 31, 6, 0), ("C7", 36, 2, 0), ("T1", 44, -8, 0)), 8, 10),
    _Belly((("skull", 54, 6, -9), ("C2", 51, 0, 0), ("C5", 42, -28, 0), ("C7", 26, -46, 0), ("T2", 16, -58, 0)), 9, 14),
    # In front: longus, the straps, the chewing muscles and the floor of the mouth.
    _Belly((("C1", 7, -17, 0), ("C3", 7, -9.5, 0), ("C5", 8, -9.5, 0), ("C7", 8, -10, 0), ("T2", 7, -11, 0)), 6.5, 3.2),
    _Belly((("C4", 9, -46, 0), ("C6", 11, -45, 0), ("T1", 12, -46, 0), ("T2", 12, -48, 0)), 8, 2.6),
    _Belly((("skull", 58, -44, 4), ("skull", 53, -44, -38)), 6, 15),
    _Belly((("skull", 36, -42, -2), ("skull", 43, -38, -38)), 6, 12),
    _Belly((("skull", 5, -84, -44), ("skull", 7, -52, -50)), 5, 6),
)


def muscles(neck: Neck) -> list[Solid]:
    """Both sides of every belly; thicker in a stout or strong neck, streaked with fat where muscle is thin."""
    spec, s = neck.spec, neck.s
    size = 1.2 * (0.6 + 0.4 * spec.neck_girth) * spec.muscle_bulk * s
    # Good muscle is even enough for one number, which is also quicker to paint.
    streaks = 2.2 * max(45 - spec.muscle_hu, 0)
    out: list[Solid] = []
    for side in (-1, 1):
        for belly in _BELLIES:
            own = float(np.clip(neck.rng.normal(1, 0.1), 0.75, 1.3)) * size
            points = [neck.at(level, side * x, y, z) for level, x, y, z in belly.points]
            layers = (
                Layer(depth_mm=0, hu=0.5 * (spec.fat_hu + spec.muscle_hu)),
                Layer(depth_mm=_FASCIA_MM, hu=spec.muscle_hu, texture_hu=streaks, cell_mm=4.5),
            )
            prims = chain(points, belly.wide * own, belly.deep * own, up=(0, 1, 0), k=4)
            out.append(solid("muscle", prims, layers, soft_mm=0.9, seed=spec.seed + len(out)))
    tongue = [neck.at("skull", 0, -54, -30), neck.at("skull", 0, -46, -46)]
    root = bar(tongue[0], tongue[1], 18 * s, 13 * s, up=(0, 1, 0), k=4)
    out.append(solid("tongue-root", [root], spec.muscle_hu + 4, soft_mm=1.5))
    return out
