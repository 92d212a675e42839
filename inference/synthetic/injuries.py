"""What is broken and what only looks broken: the classes, how often each occurs, and their draw.

How often levels break, and which break together, is measured on the 2,019 public study labels. Only some of those
numbers are published (levels per study, each level alone and in all, eight pairs), so `level_sets` is the most even
distribution over sets of levels that has all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")
_LOWER = LEVELS[2:]

FRACTURE_KINDS: dict[str, tuple[str, ...]] = {
    "jefferson": ("C1",),
    "c1-posterior-arch": ("C1",),
    "c1-lateral-mass": ("C1",),
    "odontoid-1": ("C2",),
    "odontoid-2": ("C2",),
    "odontoid-3": ("C2",),
    "hangman": ("C2",),
    "compression": _LOWER,
    "burst": _LOWER,
    "flexion-teardrop": _LOWER,
    "extension-teardrop": ("C2", *_LOWER),
    "facet": _LOWER,
    "unilateral-dislocation": _LOWER,
    "bilateral-dislocation": _LOWER,
    "lamina": ("C2", *_LOWER),
    "pedicle": ("C2", *_LOWER),
    "transverse-process": LEVELS,
    "spinous": ("C2", *_LOWER),
}
# Of each group a vertebra has at most one: its fractures would undo each other.
_EXCLUSIVE: tuple[frozenset[str], ...] = (
    frozenset({"jefferson", "c1-posterior-arch", "c1-lateral-mass"}),
    frozenset({"odontoid-1", "odontoid-2", "odontoid-3", "hangman"}),
    frozenset({"compression", "burst", "flexion-teardrop", "extension-teardrop"}),
    frozenset({"facet", "unilateral-dislocation", "bilateral-dislocation"}),
    frozenset({"hangman", "pedicle", "lamina"}),
)

# How often each kind is the (first) one at a level, before normalisation: about a third of C2's are odontoid, and
# process fractures outnumber body fractures the more the lower the level.
_KIND_WEIGHT: dict[str, dict[str, float]] = {
    "C1": {"jefferson": 4, "c1-posterior-arch": 4, "c1-lateral-mass": 2, "transverse-process": 1},
    "C2": {
        "odontoid-1": 0.25,
        "odontoid-2": 2.6,
        "odontoid-3": 1.75,
        "hangman": 3,
        "extension-teardrop": 1.2,
        "lamina": 1.3,
        "pedicle": 0.9,
        "transverse-process": 2.2,
        "spinous": 0.6,
    },
    "upper": {
        "compression": 2,
        "burst": 1,
        "flexion-teardrop": 1,
        "extension-teardrop": 1.5,
        "facet": 1.8,
        "unilateral-dislocation": 0.3,
        "bilateral-dislocation": 0.25,
        "lamina": 2.2,
        "pedicle": 1,
        "transverse-process": 2.5,
        "spinous": 1.2,
    },
    "lower": {
        "compression": 1.8,
        "burst": 0.8,
        "flexion-teardrop": 0.5,
        "extension-teardrop": 0.6,
        "facet": 2.2,
        "unilateral-dislocation": 0.35,
        "bilateral-dislocation": 0.25,
        "lamina": 2,
        "pedicle": 1.2,
        "transverse-process": 4.5,
        "spinous": 3,
    },
}
_SECOND_KIND = 0.15
_LIKE_NEIGHBOUR = 0.4

# Measured on the public labels: studies by number of broken levels (one to six), by the only broken level, by broken
# level, and by pair.
_POSITIVE_SHARE = 961 / 2019
_LEVEL_COUNT = (623, 239, 64, 26, 7, 2)
_ALONE = {"C1": 64, "C2": 180, "C3": 18, "C4": 28, "C5": 28, "C6": 83, "C7": 224}
_BROKEN = {"C1": 146, "C2": 285, "C3": 73, "C4": 108, "C5": 162, "C6": 277, "C7": 393}
_PAIRS = {
    ("C1", "C2"): 56,
    ("C2", "C3"): 24,
    ("C3", "C4"): 29,
    ("C4", "C5"): 51,
    ("C5", "C6"): 90,
    ("C6", "C7"): 130,
    ("C2", "C7"): 34,
    ("C1", "C7"): 21,
}

# Kind -> share of studies that have it. Those of _AGE only within these ages.
_DECOY_SHARE = {
    "nutrient-foramina": 0.45,
    "osteophytes": 0.35,
    "chronic-spinous": 0.06,
    "old-compression": 0.05,
    "dens-nonunion": 0.01,
    "c1-posterior-cleft": 0.05,
    "c1-anterior-cleft": 0.015,
    "unfused-apophysis": 0.6,
    "ossicle": 0.1,
    "limbus-vertebra": 0.03,
    "vascular-calcification": 0.25,
    "longus-colli-calcification": 0.03,
    "crowned-dens": 0.05,
    "hardware": 0.03,
    "posterior-hardware": 0.015,
    "cage": 0.02,
    "mach-line": 0.06,
    "motion": 0.05,
    "os-odontoideum": 0.01,
    "schmorl-node": 0.06,
}
_AGE = {"unfused-apophysis": (0, 24), "crowned-dens": (55, 120), "vascular-calcification": (40, 120)}
DECOYS = tuple(_DECOY_SHARE)
# Decoys that cannot be in one neck: both are made of the same bone.
_ONE_OF = (("dens-nonunion", "os-odontoideum"), ("hardware", "cage"))


@dataclass(frozen=True, kw_only=True)
class Fracture:
    """One fracture: `level` C1 to C7, `kind` a key of FRACTURE_KINDS, `severity` 0 (subtle) to 1 (gross)."""

    level: str
    kind: str
    severity: float

    def __post_init__(self) -> None:
        if self.level not in FRACTURE_KINDS.get(self.kind, ()):
            raise ValueError(f"no fracture {self.kind!r} at {self.level!r}; kinds are {sorted(FRACTURE_KINDS)}")


def _choice(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = sorted(weights)
    p = np.array([weights[n] for n in names], dtype=float)
    return names[int(np.searchsorted(np.cumsum(p / p.sum()), rng.random()))] if p.sum() > 0 else names[0]


@lru_cache(maxsize=1)
def level_sets() -> tuple[tuple[tuple[str, ...], ...], Array]:
    """Every set of one to six broken levels, and its probability in a study with a fracture.

    Iterative proportional fitting from the uniform distribution: each measured number in turn scales the sets it
    counts, until all hold; that keeps everything that was not measured as even as it can be.
    """
    sets = tuple(s for size in range(1, 7) for s in combinations(LEVELS, size))
    total = float(sum(_LEVEL_COUNT))
    alone = sum(_ALONE.values()) / _LEVEL_COUNT[0]
    wanted: list[tuple[Array, float]] = []
    for size, count in enumerate(_LEVEL_COUNT, start=1):
        wanted.append((np.array([len(s) == size for s in sets]), count / total))
    for level, count in _ALONE.items():
        wanted.append((np.array([s == (level,) for s in sets]), count / alone / total))
    for level, count in _BROKEN.items():
        wanted.append((np.array([level in s for s in sets]), count / total))
    for pair, count in _PAIRS.items():
        wanted.append((np.array([set(pair) <= set(s) for s in sets]), count / total))
    p = np.full(len(sets), 1 / len(sets))
    for _ in range(300):
        for where, share in wanted:
            now = p[where].sum()
            p = np.where(where, p * (share / now), p * ((1 - share) / (1 - now)))
    return sets, p / p.sum()


def draw_levels(rng: np.random.Generator) -> tuple[str, ...]:
    """Fractured levels of one study, with the prevalence and pair structure of the public labels."""
    if rng.random() >= _POSITIVE_SHARE:
        return ()
    sets, p = level_sets()
    return sets[min(int(np.searchsorted(np.cumsum(p), rng.random())), len(sets) - 1)]


def _weights(level: str) -> dict[str, float]:
    group = level if level in _KIND_WEIGHT else ("lower" if level in ("C6", "C7") else "upper")
    return {k: w for k, w in _KIND_WEIGHT[group].items() if level in FRACTURE_KINDS[k]}


def draw_kind(rng: np.random.Generator, level: str, *, beside: Iterable[str] = ()) -> str:
    """A fracture kind for a level, one that can be together with the kinds `beside` it in the same vertebra."""
    there = set(beside)
    barred = there.union(*(g for g in _EXCLUSIVE if g & there))
    return _choice(rng, {k: w for k, w in _weights(level).items() if k not in barred})


def draw_fractures(rng: np.random.Generator) -> tuple[Fracture, ...]:
    """The fractures of one study; neighbours often break alike, and some vertebrae have two fractures."""
    out: list[Fracture] = []
    before: tuple[str, str] = ("", "")
    for level in draw_levels(rng):
        alike = before[1] if LEVELS.index(level) and before[0] == LEVELS[LEVELS.index(level) - 1] else ""
        copied = rng.random() < _LIKE_NEIGHBOUR and alike in _weights(level) and "dislocation" not in alike
        first = alike if copied else draw_kind(rng, level)
        kinds = [first]
        if rng.random() < _SECOND_KIND:
            kinds.append(draw_kind(rng, level, beside=kinds))
        out += [Fracture(level=level, kind=k, severity=round(float(rng.beta(1.4, 1.6)), 3)) for k in sorted(kinds)]
        before = (level, first)
    return tuple(out)


def draw_decoys(rng: np.random.Generator, age: int) -> tuple[str, ...]:
    """What one study has that looks like a fracture and is none."""
    drawn = [k for k, share in _DECOY_SHARE.items() if rng.random() < share]
    kept = [k for k in drawn if _AGE.get(k, (0, 200))[0] <= age <= _AGE.get(k, (0, 200))[1]]
    for first, second in _ONE_OF:
        if first in kept and second in kept:
            kept.remove(second)
    return tuple(kept)
