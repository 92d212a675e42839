"""Everything random about a phantom, drawn once: a spec is the phantom, on every machine."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.synthetic.injuries import (
    DECOYS,
    FRACTURE_KINDS,
    LEVELS,
    Fracture,
    draw_decoys,
    draw_fractures,
    draw_kind,
)
from inference.synthetic.person import draw_person, draw_posture, draw_setting, draw_wear
from inference.synthetic.protocol import Scanner, draw_scanner, draw_view

__all__ = [
    "COVERAGES",
    "DECOYS",
    "FRACTURE_KINDS",
    "LEVELS",
    "Fracture",
    "PhantomSpec",
    "Scanner",
    "draw_kind",
    "draw_spec",
]
COVERAGES = ("cspine", "neck", "head", "wholebody", "chest", "abdomen")
_COVERAGE_SHARE = (0.74, 0.12, 0.05, 0.04, 0.03, 0.02)


@dataclass(frozen=True, kw_only=True)
class PhantomSpec:
    """A phantom with nothing left to chance: the same spec gives the same voxels within 1 HU."""

    seed: int
    fractures: tuple[Fracture, ...]
    decoys: tuple[str, ...]
    sex: str
    age: int
    scale: float
    width_scale: float
    bone_hu: float
    cortex_hu: float
    cortex_mm: float
    marrow_texture_hu: float
    muscle_hu: float
    fat_hu: float
    fat_mm: float
    neck_girth: float
    muscle_bulk: float
    airway_scale: float
    larynx_mm: float
    shape_noise_mm: float
    shape_cell_mm: float
    spinous_scale: tuple[float, ...]
    c1_variant: str
    cervical_rib_mm: tuple[float, float]
    lordosis_deg: float
    slope_deg: float
    kyphosis_deg: float
    scoliosis_deg: float
    scoliosis_phase: float
    neck_turn_deg: float
    neck_bend_deg: float
    head_turn_deg: float
    head_nod_deg: float
    disc_wear: tuple[float, ...]
    facet_wear: float
    disc_scale: tuple[float, ...]
    fused: str
    fused_kind: str
    ossification: str
    contrast_hu: float
    tube: str
    collar: str
    metal_teeth: int
    missing_teeth: float
    mouth_open_mm: float
    arms_up: bool
    coverage: str
    cut_top: float
    cut_bottom: float
    slices: int
    fov_mm: float
    fov_shift_mm: tuple[float, float]
    matrix: int
    origin_lps_mm: tuple[float, float, float]
    scanner: Scanner

    def to_json(self) -> str:
        """The spec as JSON text that `from_json` reads back equal."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PhantomSpec:
        """A spec from `to_json` text."""
        raw = json.loads(text)
        raw["fractures"] = tuple(Fracture(**f) for f in raw["fractures"])
        raw["scanner"] = Scanner(**raw["scanner"])
        for key, value in raw.items():
            if isinstance(value, list):
                raw[key] = tuple(value)
        return cls(**raw)


def draw_spec(
    seed: int,
    *,
    fractures: tuple[Fracture, ...] | None = None,
    decoys: tuple[str, ...] | None = None,
    protocol: str = "any",
    kernel: str | None = None,
    **overrides: Any,
) -> PhantomSpec:
    """Draw a whole phantom from a seed.

    `fractures` and `decoys` None are drawn (prevalence and pairs of the public labels); overrides replace any
    other field of the spec, and `scanner` may be a dict of fields of Scanner to replace. `protocol` "challenge" draws
    the scanner as public challenges asked for (bone kernel, at most 1 mm); `kernel` "bone" or "soft" is drawn where it
    is None. Independent streams keep one choice from changing the others: two specs of one seed differ only where
    asked.
    """
    streams = np.random.SeedSequence(seed).spawn(8)
    rng = [np.random.default_rng(s) for s in streams]
    coverage = overrides.pop("coverage", None) or str(rng[0].choice(COVERAGES, p=_COVERAGE_SHARE))
    if coverage not in COVERAGES:
        raise ValueError(f"coverage {coverage!r} is not one of {COVERAGES}")
    person = draw_person(rng[1])
    view = draw_view(rng[2], coverage)
    view |= {k: overrides.pop(k) for k in list(overrides) if k in view}
    scanner = draw_scanner(rng[3], view["fov_mm"], view["matrix"], coverage, protocol, kernel)
    drawn_decoys = draw_decoys(rng[4], person["age"])
    drawn_fractures = draw_fractures(rng[5])
    if coverage in ("chest", "abdomen"):
        drawn_fractures = ()
    decoys = drawn_decoys if decoys is None else tuple(decoys)
    if "motion" in decoys:
        scanner = dataclasses.replace(scanner, motion_mm=1.2)
    if "scanner" in overrides and isinstance(overrides["scanner"], dict):
        overrides["scanner"] = dataclasses.replace(scanner, **overrides["scanner"])
    values: dict[str, Any] = {
        "seed": seed,
        "fractures": drawn_fractures if fractures is None else tuple(fractures),
        "decoys": decoys,
        "coverage": coverage,
        "slices": 0,
        "scanner": scanner,
    }
    values |= person | view | draw_posture(rng[6]) | draw_wear(rng[7], person["age"]) | draw_setting(rng[0])
    return PhantomSpec(**(values | overrides))
