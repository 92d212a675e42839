"""Blood and oedema in front of a fresh fracture: how thick, level by level."""

from __future__ import annotations

import numpy as np

from inference.synthetic.injuries import LEVELS, Fracture
from inference.synthetic.site import displacement, fracture_rng
from inference.synthetic.spec import PhantomSpec

# How often each kind bleeds forwards; kinds of the rear elements do not.
_SHARE = {
    "jefferson": 0.7,
    "c1-lateral-mass": 0.3,
    "odontoid-1": 0.4,
    "odontoid-2": 0.8,
    "odontoid-3": 0.8,
    "hangman": 0.75,
    "compression": 0.5,
    "burst": 0.9,
    "flexion-teardrop": 0.95,
    "extension-teardrop": 0.95,
    "unilateral-dislocation": 0.7,
    "bilateral-dislocation": 0.95,
}
_REACH_LEVELS = 1.2


def _thickness_mm(spec: PhantomSpec, fracture: Fracture) -> float:
    rng = fracture_rng(spec, fracture, 711)
    if rng.random() >= _SHARE.get(fracture.kind, 0.0):
        return 0.0
    return float((2.5 + 7.5 * displacement(spec, fracture)) * rng.uniform(0.75, 1.0))


def swelling_mm(spec: PhantomSpec) -> dict[str, float]:
    """Extra prevertebral soft tissue at C1 to C7, mm of a mean-sized person: 3-10 where it is thickest, else 0.

    Chalk in the longus colli brings some of its own, without any fracture.
    """
    sources = [(LEVELS.index(f.level), _thickness_mm(spec, f)) for f in spec.fractures]
    if "longus-colli-calcification" in spec.decoys:
        sources.append((1, 3.5))
    out = {}
    for i, level in enumerate(LEVELS):
        spread = [mm * float(np.exp(-0.5 * ((i - j) / _REACH_LEVELS) ** 2)) for j, mm in sources]
        out[level] = max(spread, default=0.0)
    return out
