"""The broken vertebrae of a spec: what is squashed before it is cut, and where each break goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.breaks import Breaks, Bruise, Crack, Cut
from inference.synthetic.decoys import old_wedge_mm
from inference.synthetic.fractures_lower import LOWER
from inference.synthetic.fractures_upper import UPPER
from inference.synthetic.site import Site, fracture_rng
from inference.synthetic.spec import PhantomSpec
from inference.synthetic.vertebra import Squash, Vertebra

Array = NDArray[Any]
_LAYOUT = UPPER | LOWER
_BODY_HEIGHT_MM = 12.6


def squash_of(spec: PhantomSpec, level: str) -> Squash:
    """How the body of a level is deformed: a compressed one loses 10 to 40 % of its front height."""
    wedge, dip = old_wedge_mm(spec, level), 0.0
    for f in spec.fractures:
        if f.level == level and f.kind in ("compression", "burst"):
            rng = fracture_rng(spec, f, 710)
            burst = f.kind == "burst"
            lost = (0.05 + 0.2 * f.severity) if burst else (0.1 + 0.3 * f.severity)
            wedge = max(wedge, float(np.clip(lost * rng.uniform(0.85, 1.15), 0.0, 0.42)) * _BODY_HEIGHT_MM)
            dip += float(rng.uniform(0.3, 1.0) + (2.2 if burst else 0.6) * f.severity)
    return Squash(wedge_mm=wedge * spec.scale, dip_mm=dip * spec.scale)


def break_vertebra(spec: PhantomSpec, level: str, shape: Vertebra, place: Array) -> Breaks:
    """The breaks of one level in patient mm; empty where it is whole. `place` is the vertebra's frame."""
    cuts: list[Cut] = []
    cracks: list[Crack] = []
    bruises: list[Bruise] = []
    for fracture in spec.fractures:
        if fracture.level == level:
            site = Site(spec, fracture, shape, place)
            _LAYOUT[fracture.kind](site)
            cuts += site.cuts
            cracks += site.cracks
            bruises += site.bruises
    return Breaks(cuts=tuple(cuts), cracks=tuple(cracks), bruises=tuple(bruises))
