"""The generator's studies as training and evaluation see them."""

from __future__ import annotations

import dataclasses

import numpy as np

from inference.synthetic.spec import FRACTURE_KINDS, LEVELS, Fracture, PhantomSpec, draw_kind, draw_spec

_TRAINING_FRACTURE_SHARE = 0.35


def training_spec(seed: int) -> PhantomSpec:
    """A study with far more fractures than in life: three in four have some, each level with chance 0.35."""
    rng = np.random.default_rng([seed, 31])
    fractures: list[Fracture] = []
    if rng.random() < 0.75:
        for level in LEVELS:
            if rng.random() < _TRAINING_FRACTURE_SHARE:
                kinds = sorted(k for k, levels in FRACTURE_KINDS.items() if level in levels)
                # Half by how often a kind occurs, half evenly, so that rare kinds are learnt too.
                kind = draw_kind(rng, level) if rng.random() < 0.5 else str(rng.choice(kinds))
                fractures.append(Fracture(level=level, kind=kind, severity=float(rng.beta(1.6, 1.3))))
    return draw_spec(seed, fractures=tuple(fractures))


def fractured_levels(spec: PhantomSpec) -> frozenset[int]:
    """The fractured levels as numbers 1-7."""
    return frozenset(LEVELS.index(f.level) + 1 for f in spec.fractures)


def cervical(spec: PhantomSpec) -> PhantomSpec:
    """The same person scanned as a cervical spine study."""
    return dataclasses.replace(spec, coverage="cspine")
