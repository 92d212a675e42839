"""Things that look like fractures and are not: the phantom's labelled negatives, and where each one goes."""

from __future__ import annotations

import numpy as np

from inference.synthetic.decoration import Decoration, Place
from inference.synthetic.decoys_added import ADDED
from inference.synthetic.decoys_bone import BONE
from inference.synthetic.injuries import DECOYS, LEVELS
from inference.synthetic.spec import PhantomSpec
from inference.synthetic.vertebra import Vertebra

_ADDERS = BONE | ADDED
_C2_UP = frozenset({"odontoid-1", "odontoid-2", "odontoid-3"})
_C1 = frozenset({"jefferson", "c1-posterior-arch"})
_BODY = frozenset({"compression", "burst", "flexion-teardrop", "extension-teardrop"})
# The levels that a decoy can be at (a neck has it at one of them), where that is not all of them.
_AT_ONE = {
    "chronic-spinous": ("C7", "C7", "C6"),
    "old-compression": ("C4", "C5", "C6", "C7"),
    "limbus-vertebra": ("C4", "C5", "C6", "C7"),
    "cage": ("C4", "C5", "C6"),
    "ossicle": ("C1", "C4", "C5", "C6", "C6", "C7"),
}
_AT_ALL = {
    "dens-nonunion": ("C2",),
    "os-odontoideum": ("C2",),
    "longus-colli-calcification": ("C2",),
    "crowned-dens": ("C2",),
    "mach-line": ("C2",),
    "c1-posterior-cleft": ("C1",),
    "c1-anterior-cleft": ("C1",),
    "hardware": ("C5", "C6"),
    "posterior-hardware": ("C3", "C4", "C5", "C6"),
}
# A decoy is left out of a vertebra that has a fracture of the same bone: nobody could tell which is which.
_YIELDS_TO = {
    "dens-nonunion": _C2_UP,
    "os-odontoideum": _C2_UP,
    "mach-line": _C2_UP,
    "c1-posterior-cleft": _C1,
    "c1-anterior-cleft": _C1,
    "chronic-spinous": frozenset({"spinous"}),
    "old-compression": _BODY,
    "limbus-vertebra": _BODY,
}


def _levels(spec: PhantomSpec, kind: str) -> tuple[str, ...]:
    if kind not in _AT_ONE:
        return _AT_ALL.get(kind, LEVELS)
    rng = np.random.default_rng([spec.seed, 719, DECOYS.index(kind)])
    return (_AT_ONE[kind][int(rng.integers(len(_AT_ONE[kind])))],)


def has_decoy(spec: PhantomSpec, kind: str, level: str) -> bool:
    """Whether the spec's decoy of this kind is at this level."""
    if kind not in spec.decoys or level not in _levels(spec, kind):
        return False
    return not any(f.level == level and f.kind in _YIELDS_TO.get(kind, ()) for f in spec.fractures)


def old_wedge_mm(spec: PhantomSpec, level: str) -> float:
    """How much lower, mm, a healed compression fracture left the front of this level's body."""
    if not has_decoy(spec, "old-compression", level):
        return 0.0
    return float(np.random.default_rng([spec.seed, 720]).uniform(2.0, 4.5))


def decorate(spec: PhantomSpec, level: str, shape: Vertebra) -> Decoration:
    """The decoys of one level."""
    out = Decoration()
    for kind in spec.decoys:
        if kind in _ADDERS and has_decoy(spec, kind, level):
            rng = np.random.default_rng([spec.seed, 717, LEVELS.index(level), DECOYS.index(kind)])
            _ADDERS[kind](Place(spec, kind, level, shape, rng, out))
    return out
