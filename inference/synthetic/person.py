"""Who is scanned: body, posture, wear and surroundings, drawn wide so that no real neck falls outside.

Wear has one latent, correlated with age; every disc and joint takes its share of it. The ranges of posture and tissue
are wider than any one hospital's patients: a tenth of the necks are turned, bent or shaped as few are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Draws = dict[str, Any]
_PAIRS = ("C2-C3", "C3-C4", "C4-C5", "C5-C6", "C6-C7")
_RARE = 0.12
# How much of a person's wear each disc takes, C2/3 to C7/T1: most at C5/6.
_DISC_SHARE = (0.35, 0.5, 0.75, 1.0, 0.95, 0.55)


def _clip(value: float, low: float, high: float) -> float:
    return float(np.clip(value, low, high))


def draw_person(rng: np.random.Generator) -> Draws:
    """Size, bone quality and soft tissue."""
    sex = "F" if rng.random() < 0.45 else "M"
    age = int(np.clip(rng.normal(52, 22), 16, 98))
    bone = rng.normal(440, 90) - 2.4 * max(age - 30, 0) + 3.0 * max(28 - age, 0) + (15 if sex == "F" else 0)
    porous = max(age - 55, 0) / 40 * rng.uniform(0, 1)
    lean = rng.random()
    bone = _clip(bone, 140, 640)
    return {
        "sex": sex,
        "age": age,
        "scale": _clip(rng.normal(1.0 if sex == "F" else 1.06, 0.05), 0.84, 1.22),
        "width_scale": _clip(rng.normal(1.0, 0.05), 0.86, 1.16),
        "bone_hu": bone,
        "cortex_hu": float(rng.uniform(1050, 1800)),
        "cortex_mm": _clip(rng.normal(0.78 - 0.3 * porous, 0.17), 0.35, 1.4),
        "marrow_texture_hu": float(min(rng.uniform(40, 190) + 90 * porous, 0.5 * bone)),
        "muscle_hu": float(rng.uniform(30, 68) - 14 * porous),
        "fat_hu": float(rng.uniform(-118, -75)),
        "fat_mm": float(rng.uniform(1, 6) if lean < 0.35 else rng.uniform(4, 28)),
        "neck_girth": _clip(rng.normal(1.0, 0.1) + 0.15 * (lean - 0.5), 0.74, 1.4),
        "muscle_bulk": _clip(rng.normal(1.0 if sex == "F" else 1.06, 0.14) - 0.3 * porous, 0.65, 1.4),
        "airway_scale": _clip(rng.normal(1.0, 0.2), 0.5, 1.5),
        "larynx_mm": _clip(rng.normal(-2.0, 5.0), -16, 14),
        "shape_noise_mm": float(rng.uniform(0.35, 1.0)),
        "shape_cell_mm": float(rng.uniform(5.0, 12.0)),
        "spinous_scale": tuple(_clip(v, 0.6, 1.3) for v in rng.normal(rng.normal(1.0, 0.06), 0.07, 7)),
        "c1_variant": str(rng.choice(["", "arcuate", "hypoplastic"], p=[0.86, 0.08, 0.06])),
        "cervical_rib_mm": _cervical_ribs(rng),
    }


def _cervical_ribs(rng: np.random.Generator) -> tuple[float, float]:
    if rng.random() > 0.02:
        return 0.0, 0.0
    lengths = rng.uniform(8, 55, 2) * (rng.random(2) < 0.7)
    return float(lengths[0]), float(lengths[1])


def draw_posture(rng: np.random.Generator) -> Draws:
    """Curves and turns, degrees; one in eight of each kind is out of the ordinary."""

    def angle(mean: float, sd: float, low: float, high: float) -> float:
        return float(rng.uniform(low, high) if rng.random() < _RARE else rng.normal(mean, sd))

    return {
        "lordosis_deg": _clip(angle(10, 11, -26, 38), -30, 42),
        "slope_deg": _clip(angle(17, 6, 0, 36), -4, 40),
        "kyphosis_deg": _clip(angle(35, 7, 20, 60), 15, 65),
        "scoliosis_deg": angle(0, 2.5, -11, 11),
        "scoliosis_phase": float(rng.uniform(0, 6.28)),
        "neck_turn_deg": angle(0, 3, -20, 20),
        "neck_bend_deg": angle(0, 3.5, -13, 13),
        "head_turn_deg": angle(0, 5, -40, 40),
        "head_nod_deg": angle(0, 7, -24, 22),
    }


def draw_wear(rng: np.random.Generator, age: int) -> Draws:
    """Degeneration: `disc_wear` 0 (young) to 1 (bone on bone) for the discs C2/3 to C7/T1."""
    latent = _clip(rng.normal((age - 32) / 60, 0.22), 0, 1.15)
    worn = [_clip(latent * share * rng.uniform(0.35, 1.35), 0, 1) for share in _DISC_SHARE]
    fused, kind = "", ""
    if rng.random() < 0.05:
        fused = str(rng.choice(_PAIRS))
        kind = "ankylosis" if latent > 0.45 and rng.random() < 0.6 else "block"
    old = age > 50
    return {
        "disc_wear": tuple(worn),
        "facet_wear": _clip(latent * rng.uniform(0.2, 1.3), 0, 1),
        "disc_scale": tuple(_clip(rng.normal(1.0 - 0.6 * w, 0.1), 0.3, 1.25) for w in worn),
        "fused": fused,
        "fused_kind": kind,
        "ossification": str(rng.choice(["", "dish", "opll"], p=[0.93, 0.05, 0.02] if old else [0.995, 0.002, 0.003])),
    }


def draw_setting(rng: np.random.Generator) -> Draws:
    """What surrounds and enters the person, and where the picture is cut."""
    return {
        "contrast_hu": float(rng.uniform(180, 420)) if rng.random() < 0.25 else 0.0,
        "tube": str(rng.choice(["ett", "ngt", "both"])) if rng.random() < 0.15 else "",
        "collar": str(rng.choice(["", "", "soft", "hard", "pillow", "board"])),
        "metal_teeth": int(rng.choice([0, 0, 0, 1, 2, 4, 7])),
        "missing_teeth": float(rng.choice([0, 0.05, 0.3, 1.0])),
        "mouth_open_mm": float(rng.choice([0, 0, 1, 3, 10, 22])),
        "arms_up": bool(rng.random() < 0.5),
        "cut_top": float(rng.random()),
        "cut_bottom": float(rng.random()),
        "origin_lps_mm": (float(rng.normal(0, 8)), float(rng.normal(-20, 30)), float(rng.uniform(-900, 300))),
    }
