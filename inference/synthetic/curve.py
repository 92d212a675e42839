"""Where each vertebra stands: a chain of rigid frames from the skull to the sacrum.

Vertebra frames share LPS's sense: +x left, +y posterior, +z along the vertebra's own "up". The origin is the
centre of the body (C1: the centre between its lateral masses).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import frame, rotation
from inference.synthetic.slips import displaced
from inference.synthetic.spec import PhantomSpec

Array = NDArray[Any]
ALL_LEVELS = (
    tuple(f"C{i}" for i in range(1, 8)) + tuple(f"T{i}" for i in range(1, 13)) + tuple(f"L{i}" for i in range(1, 6))
)
# Half height of the body below C2, and the disc under each level (mm, mid-sagittal mean of front and back).
_HEIGHT = (
    {"C2": 19.0, "C3": 13.05, "C4": 12.65, "C5": 12.4, "C6": 12.15, "C7": 13.15}
    | {f"T{i}": 14.5 + 0.85 * (i - 1) for i in range(1, 13)}
    | {f"L{i}": 25.5 + 0.5 * i for i in range(1, 6)}
)
_DISC = (
    {"C2": 3.5, "C3": 3.35, "C4": 3.35, "C5": 3.2, "C6": 3.35, "C7": 3.7}
    | {f"T{i}": 3.8 + 0.2 * i for i in range(1, 13)}
    | {f"L{i}": 8.0 + i * 0.6 for i in range(1, 6)}
)
DENS_AXIS_Y = -0.3
C1_ABOVE_C2 = 14.5
C1_BEHIND_DENS = 5.9


@dataclass(frozen=True, kw_only=True, eq=False)
class SpineCurve:
    """Rigid 4 x 4 frames (local mm -> LPS mm) per level, plus "skull"; body heights and disc gaps in mm."""

    frames: dict[str, Array]
    heights: dict[str, float]
    gaps: dict[str, float]


def _lean_deg(spec: PhantomSpec, rng: np.random.Generator) -> dict[str, float]:
    """Absolute forward lean of each vertebra's up-axis, degrees."""
    lean: dict[str, float] = {}
    for i in range(2, 8):
        share = (7 - i) / 5
        lean[f"C{i}"] = spec.slope_deg - spec.lordosis_deg * share + rng.normal(0, 0.8)
    t1 = spec.slope_deg + 4
    for i in range(1, 13):
        lean[f"T{i}"] = t1 - spec.kyphosis_deg * (i - 1) / 11
    for i in range(1, 6):
        lean[f"L{i}"] = lean["T12"] + 42 * ((i - 0.5) / 5) ** 1.6
    lean["C1"] = 0.55 * lean["C2"] + 0.45 * spec.head_nod_deg
    lean["skull"] = 0.25 * lean["C2"] + 0.75 * spec.head_nod_deg
    return lean


def _turns(spec: PhantomSpec, rng: np.random.Generator) -> dict[str, Array]:
    out = {}
    for level, lean in _lean_deg(spec, rng).items():
        cervical = level.startswith("C") and level != "C1"
        up_share = (7 - int(level[1])) / 5 if cervical else (1.0 if level in ("C1", "skull") else 0.0)
        i = ALL_LEVELS.index(level) if level in ALL_LEVELS else 0
        bend = spec.scoliosis_deg * np.sin(0.45 * i + spec.scoliosis_phase) + spec.neck_bend_deg * up_share
        turn = spec.neck_turn_deg * up_share + (spec.head_turn_deg if level in ("C1", "skull") else 0.0)
        if level == "skull":
            turn += 0.1 * spec.head_turn_deg
        elif cervical or level[0] in "TL":
            bend, turn = bend + rng.normal(0, 0.9), turn + rng.normal(0, 1.0)
        out[level] = rotation(0, 0, turn) @ rotation(0, bend, 0) @ rotation(lean, 0, 0)
    return out


def build_curve(spec: PhantomSpec) -> SpineCurve:
    """Place every level; C4 sits at `spec.origin_lps_mm`."""
    rng = np.random.default_rng([spec.seed, 101])
    s = spec.scale
    turns = _turns(spec, rng)
    heights = {k: v * s * float(rng.normal(1, 0.025)) for k, v in _HEIGHT.items()}
    wear = dict(zip(("C2", "C3", "C4", "C5", "C6", "C7"), spec.disc_scale, strict=True))
    gaps = {k: max(v * s * wear.get(k, 1.0), 1.4) for k, v in _DISC.items()}
    if spec.fused:
        gaps[spec.fused[:2]] = 1.2
    # A worn disc lets the vertebra above slide by a millimetre or two.
    loose = dict(zip(("C3", "C4", "C5", "C6", "C7", "T1"), spec.disc_wear, strict=True))
    slip = {k: float(rng.normal(0, 0.35 + 0.9 * loose.get(k, 0.0))) for k in ALL_LEVELS}
    aside = {k: float(rng.normal(0, 0.35)) for k in ALL_LEVELS}
    up = np.array([0.0, 0.0, 1.0])
    centres = {"C4": np.asarray(spec.origin_lps_mm, float)}
    chain = [lv for lv in ALL_LEVELS if lv != "C1"]
    for i in range(chain.index("C4"), len(chain) - 1):
        a, b = chain[i], chain[i + 1]
        joint = centres[a] - turns[a] @ up * (heights[a] + gaps[a]) / 2
        centres[b] = joint - turns[b] @ np.array([aside[b], slip[b], (heights[b] + gaps[a]) / 2])
    for i in range(chain.index("C4"), 0, -1):
        a, b = chain[i], chain[i - 1]
        joint = centres[a] + turns[a] @ up * (heights[a] + gaps[b]) / 2
        centres[b] = joint + turns[b] @ np.array([aside[b], slip[b], (heights[b] + gaps[b]) / 2])
    dens = centres["C2"] + turns["C2"] @ np.array([0, DENS_AXIS_Y * s, C1_ABOVE_C2 * s])
    centres["C1"] = dens + turns["C1"] @ np.array([0, C1_BEHIND_DENS * s, 0])
    centres["skull"] = (
        centres["C1"] + turns["C1"] @ np.array([0, 5.5, 9.0]) * s + turns["skull"] @ (np.array([0, 0, 6.5]) * s)
    )
    frames = displaced(spec, {k: frame(centres[k], turns[k]) for k in turns})
    return SpineCurve(frames=frames, heights=heights, gaps=gaps)
