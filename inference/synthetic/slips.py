"""What a fracture does to the spine as a whole: everything above it moves.

A dislocated facet, a torn-off arch of C2 or a broken dens carries the head with it. Each such fracture has one rigid
motion, in the frame of the vertebra that it hinges on, which is applied to every level from the skull down to
`last`. The fragments of the broken vertebra itself are laid out elsewhere, with the same motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import frame, rotation
from inference.synthetic.injuries import LEVELS, Fracture
from inference.synthetic.site import displacement, fracture_rng
from inference.synthetic.spec import PhantomSpec

Array = NDArray[Any]
# Mid-sagittal depth of the bodies, mm: slips are shares of it.
_DEPTH_MM = {"C3": 13.9, "C4": 14.4, "C5": 14.8, "C6": 15.4, "C7": 14.9}
_HALF_HEIGHT_MM = 6.3
_FACETS = np.array([17.5, 13.5, 0.0])
_DENS_BASE = np.array([0.0, -0.6, 9.6])


@dataclass(frozen=True, kw_only=True, eq=False)
class Slip:
    """Levels from the skull to `last` move by the rigid 4 x 4 `motion`, mm, in the frame of `hinge`."""

    hinge: str
    last: str
    motion: Array


def _about(pivot: Any, shift: Any, turn_deg: Any, scale: float) -> Array:
    at = np.asarray(pivot, float) * scale
    return frame(at + np.asarray(shift, float) * scale, rotation(*turn_deg)) @ frame(-at)


def _odontoid(f: Fracture, share: float, rng: np.random.Generator, s: float) -> Slip:
    """The dens takes the atlas and the head along: 0-6 mm, tilted 0-30 degrees, backwards as often as forwards."""
    way = 1 if rng.random() < 0.5 else -1
    shift = [rng.uniform(-0.5, 0.5) * share, way * 6.0 * share * rng.uniform(0.5, 1), 0.2 + 0.6 * share]
    if f.kind == "odontoid-3":
        shift[1] *= 0.6
    turn = [-way * 26 * share * rng.uniform(0, 1), rng.uniform(-5, 5) * share, rng.uniform(-5, 5) * share]
    return Slip(hinge="C2", last="C1", motion=_about(_DENS_BASE, shift, turn, s))


def _hangman(f: Fracture, share: float, rng: np.random.Generator, s: float) -> Slip:
    """The body of C2 slides forward 0-5 mm and tilts, with all above; its arch stays."""
    turn = [rng.uniform(-3, 10) * share, 0, rng.uniform(-2, 2)]
    return Slip(hinge="C2", last="C2", motion=_about([0, 0, -10], [0, -5.0 * share * rng.uniform(0.7, 1), 0], turn, s))


def _jefferson(f: Fracture, share: float, rng: np.random.Generator, s: float) -> Slip | None:
    """With the transverse ligament torn the predental space opens beyond 3 mm."""
    forward = 4.5 * max(share - 0.55, 0) / 0.45 * rng.uniform(0.4, 1)
    return Slip(hinge="C1", last="C1", motion=_about(np.zeros(3), [0, -forward, 0], [0, 0, 0], s)) if forward else None


def _teardrop(f: Fracture, share: float, rng: np.random.Generator, s: float) -> Slip:
    """The body is driven back into the canal by 2-6 mm in the gross ones and the spine above bends forward."""
    back = (0.3 + 5.7 * share) * rng.uniform(0.75, 1)
    turn = [(2 + 11 * share) * rng.uniform(0.5, 1), 0, rng.uniform(-2, 2)]
    return Slip(hinge=f.level, last=f.level, motion=_about([0, 6, -_HALF_HEIGHT_MM], [0, back, 0], turn, s))


def _wedge(f: Fracture, share: float, rng: np.random.Generator, s: float) -> Slip:
    """Above a wedged body the spine bends forward; into a burst one it sinks."""
    above = LEVELS[LEVELS.index(f.level) - 1]
    turn = [(2 + 10 * share) * rng.uniform(0.3, 0.8), 0, 0]
    down = (0.3 + 1.7 * share) * rng.uniform(0.6, 1) if f.kind == "burst" else 0.0
    return Slip(hinge=f.level, last=above, motion=_about([0, 6.5, _HALF_HEIGHT_MM], [0, 0, -down], turn, s))


def _one_facet(f: Fracture, share: float, rng: np.random.Generator, s: float) -> Slip:
    """Turned about the facet that held, so that the other one jumps: the body slips by 25 to 33 % of its depth."""
    side = dislocated_side(rng)
    forward = (0.24 + 0.09 * share) * _DEPTH_MM[f.level]
    turn = np.degrees(np.arcsin(forward / _FACETS[0]))
    pivot = _FACETS * [-side, 1, 1]
    lift = [0, 0, 0.8 + 0.8 * share]
    return Slip(
        hinge=f.level, last=f.level, motion=_about(pivot, lift, [rng.uniform(2, 6), -side * 3, -side * turn], s)
    )


def _both_facets(f: Fracture, share: float, rng: np.random.Generator, s: float) -> Slip:
    """Perched (about 40 %) to jumped with half the body's depth and more, bent forward over the disc's front."""
    forward = (0.38 + 0.24 * share) * _DEPTH_MM[f.level]
    turn = [(12 - 7 * share) * rng.uniform(0.8, 1.2), 0, rng.uniform(-3, 3)]
    pivot = [0, -7, -_HALF_HEIGHT_MM]
    return Slip(hinge=f.level, last=f.level, motion=_about(pivot, [0, -forward, 0.3], turn, s))


def dislocated_side(rng: np.random.Generator) -> int:
    """The side whose facet jumped, 1 left; the first draw of the fracture's slip stream."""
    return 1 if rng.random() < 0.5 else -1


_SLIP = {
    "odontoid-2": _odontoid,
    "odontoid-3": _odontoid,
    "hangman": _hangman,
    "jefferson": _jefferson,
    "flexion-teardrop": _teardrop,
    "compression": _wedge,
    "burst": _wedge,
    "unilateral-dislocation": _one_facet,
    "bilateral-dislocation": _both_facets,
}


def slip_of(spec: PhantomSpec, fracture: Fracture) -> Slip | None:
    """The motion of everything above a fracture; None where nothing moves."""
    make = _SLIP.get(fracture.kind)
    if make is None:
        return None
    return make(fracture, displacement(spec, fracture), fracture_rng(spec, fracture, 709), spec.scale)


def displaced(spec: PhantomSpec, frames: dict[str, Array]) -> dict[str, Array]:
    """The frames (local mm -> LPS mm, by level and "skull") after all fractures of the spec have moved them."""
    out = dict(frames)
    for fracture in sorted(spec.fractures, key=lambda f: (-LEVELS.index(f.level), f.kind)):
        slip = slip_of(spec, fracture)
        if slip is None:
            continue
        hinge = out[slip.hinge]
        motion = hinge @ slip.motion @ np.linalg.inv(hinge)
        for level in ("skull", *LEVELS[: LEVELS.index(slip.last) + 1]):
            out[level] = motion @ out[level]
    return out
