"""The vertebra of any level: C1 and C2, C3 to C7, and the coarser thoracic and lumbar ones.

Mean sizes follow published measurements (parametric studies of healthy necks); every primitive is jittered on its
own, each vertebra is a little skewed and its surface uneven, so that left differs from right and no two are alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import bar, box, rotation, roughness, tube, vertebral_body
from inference.synthetic.shape import Jitter, Squash, Traits, Vertebra, skewed
from inference.synthetic.subaxial import subaxial
from inference.synthetic.upper_cervical import atlas, axis

Array = NDArray[Any]
__all__ = ["Squash", "Traits", "Vertebra", "build_vertebra"]


def build_vertebra(level: str, rng: np.random.Generator, traits: Traits) -> Vertebra:
    """The vertebra of a level in its own frame."""
    j = Jitter(rng, traits.scale, traits.width)
    number = int(level[1:])
    if level == "C1":
        shape = atlas(j, traits)
    elif level == "C2":
        shape = axis(j, traits)
    elif level[0] == "C":
        shape = subaxial(j, level, traits)
    else:
        shape = _thoracic(j, number, traits) if level[0] == "T" else _lumbar(j, number, traits)
    shape = skewed(shape, rng)
    rough = roughness(int(rng.integers(1 << 16)), traits.rough_mm * traits.scale, traits.rough_cell_mm)
    return Vertebra(prims=[*shape.prims, rough], marks=shape.marks)


def _thoracic(j: Jitter, number: int, traits: Traits) -> Vertebra:
    """T1 to T12, coarser: body, pedicles, laminae, backward processes, sloping spinous process."""
    t = (number - 1) / 11
    depth, width = 16 + 14 * t, 27 + 6 * abs(t - 0.35) + 8 * t
    b, a = depth / 2, width / 2
    run, slope = 38 + 6 * t, -17 - 17 * np.sin(np.pi * min(t * 1.15 + 0.08, 1))
    prims = [
        vertebral_body(
            [0, 0, 0],
            width=j.r(width, 0.04),
            depth=j.r(depth, 0.04),
            height=traits.height_mm,
            flare=0.5,
            waist=1.2,
            arch=0.8,
        )
    ]
    marks = {"body": np.zeros(3), "front": np.array([0, -b, 0]) * j.s}
    back = b + 16
    for side, name in ((-1, "right"), (1, "left")):
        pillar = j.p(side * 13.5, b + 11, 0)
        prims.append(bar(j.p(side * (a - 4), b - 3, 3), j.p(side * 12.0, b + 8, 3), j.r(3.0), j.r(4.6), k=2))
        prims.append(box(pillar, (j.r(6.0), j.r(4.0), j.r(11.0)), 2.5 * j.s, rotation(-16), k=2))
        tip = j.p(side * (36 - 12 * t), b + 16 + 6 * t, 3.5, 1.0)
        prims.append(bar(j.p(side * 14, b + 11, 2), tip, j.r(3.4), j.r(4.4), taper=1.15, k=2))
        prims.append(bar(j.p(side * 13, back - 3.5, -2), j.p(side * 2, back + 3, -4), j.r(2.6), j.r(7.5), k=2))
        marks[f"tp-tip-{name}"] = tip
    prims.append(bar(j.mid(back + 3, -4), j.mid(back + run * 0.82, slope, 1), j.r(2.7), j.r(5.0), k=2))
    canal = np.array([0, b + 8.2, 0]) * j.s
    prims.append(tube(canal - [0, 0, 22], canal + np.array([0, 0, 22]), j.r(9.5), j.r(8.2), k=1.2))
    marks["canal"] = canal
    return Vertebra(prims=prims, marks=marks)


def _lumbar(j: Jitter, number: int, traits: Traits) -> Vertebra:
    """L1 to L5, coarse."""
    width, depth = 43 + 2 * number, 33.0
    b, a = depth / 2, width / 2
    back = b + 17
    prims = [
        vertebral_body(
            [0, 0, 0],
            width=j.r(width, 0.04),
            depth=j.r(depth, 0.04),
            height=traits.height_mm,
            flare=0.5,
            waist=2.5,
            arch=0.8,
        )
    ]
    for side in (-1, 1):
        prims.append(bar(j.p(side * (a - 7), b - 3, 5), j.p(side * 15, b + 10, 5), j.r(4.6), j.r(7.0), k=2))
        prims.append(box(j.p(side * 17, b + 16, -2), (j.r(7.5), j.r(6.0), j.r(17.0)), 3 * j.s, k=3))
        prims.append(bar(j.p(side * 16, b + 11, 3), j.p(side * 42, b + 13, 5), j.r(2.6), j.r(5.5), k=2))
        prims.append(bar(j.p(side * 14, back - 2, -5), j.p(side * 2, back + 5, -6), j.r(3.2), j.r(9), k=2))
    prims.append(bar(j.mid(back + 6, -6), j.mid(back + 27, -8, 1), j.r(3.2), j.r(9.5), k=2))
    canal = np.array([0, b + 8.8, 0]) * j.s
    prims.append(tube(canal - [0, 0, 30], canal + np.array([0, 0, 30]), j.r(12), j.r(8.8), k=1.2))
    return Vertebra(prims=prims, marks={"body": np.zeros(3), "canal": canal, "front": np.array([0, -b, 0]) * j.s})
