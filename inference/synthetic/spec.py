"""Everything random about a phantom, drawn once: a spec is the phantom, on every machine."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    "flexion-teardrop": ("C3", "C4", "C5", "C6", "C7"),
    "extension-teardrop": ("C2", *_LOWER),
    "facet": _LOWER,
    "lamina": ("C2", *_LOWER),
    "pedicle": ("C2", *_LOWER),
    "transverse-process": LEVELS,
    "spinous": ("C2", *_LOWER),
}

# How often each kind is drawn at a level, before normalisation: process fractures outnumber body fractures downwards.
_KIND_WEIGHT: dict[str, dict[str, float]] = {
    "C1": {"jefferson": 4, "c1-posterior-arch": 4, "c1-lateral-mass": 2, "transverse-process": 1},
    "C2": {
        "odontoid-1": 0.6,
        "odontoid-2": 4,
        "odontoid-3": 2.5,
        "hangman": 3,
        "extension-teardrop": 1,
        "lamina": 1,
        "pedicle": 0.7,
        "transverse-process": 1.2,
        "spinous": 0.5,
    },
    "upper": {
        "compression": 2,
        "burst": 1,
        "flexion-teardrop": 1,
        "extension-teardrop": 1.5,
        "facet": 2,
        "lamina": 2,
        "pedicle": 1,
        "transverse-process": 1.5,
        "spinous": 1,
    },
    "lower": {
        "compression": 2,
        "burst": 1,
        "flexion-teardrop": 1,
        "extension-teardrop": 0.7,
        "facet": 2.5,
        "lamina": 2,
        "pedicle": 1.2,
        "transverse-process": 4,
        "spinous": 3,
    },
}

# Counts measured on the 2,019 public study labels: levels per positive study, single-level studies, pairs.
_LEVEL_COUNT = (623, 239, 64, 26, 7, 2)
_ISOLATED = {"C1": 64, "C2": 180, "C3": 18, "C4": 28, "C5": 28, "C6": 83, "C7": 224}
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
_OTHER_PAIR = 12
_POSITIVE_SHARE = 0.476

DECOYS = (
    "nutrient-foramina",
    "osteophytes",
    "chronic-spinous",
    "c1-posterior-cleft",
    "ossicle",
    "vascular-calcification",
    "hardware",
    "motion",
    "os-odontoideum",
    "schmorl-node",
)
_DECOY_SHARE = {
    "nutrient-foramina": 0.45,
    "osteophytes": 0.35,
    "chronic-spinous": 0.06,
    "c1-posterior-cleft": 0.05,
    "ossicle": 0.1,
    "vascular-calcification": 0.25,
    "hardware": 0.03,
    "motion": 0.05,
    "os-odontoideum": 0.01,
    "schmorl-node": 0.06,
}

COVERAGES = ("cspine", "neck", "head", "wholebody", "chest", "abdomen")
_COVERAGE_SHARE = (0.74, 0.12, 0.05, 0.04, 0.03, 0.02)


@dataclass(frozen=True, kw_only=True)
class Fracture:
    """One fracture: `level` C1 to C7, `kind` a key of FRACTURE_KINDS, `severity` 0 (subtle) to 1 (gross)."""

    level: str
    kind: str
    severity: float

    def __post_init__(self) -> None:
        if self.level not in FRACTURE_KINDS.get(self.kind, ()):
            raise ValueError(f"no fracture {self.kind!r} at {self.level!r}; kinds are {sorted(FRACTURE_KINDS)}")


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How the scan was made. Noise SD is in HU at the native voxel, away from shoulders and metal."""

    kernel: str
    noise_sd: float
    pixel_mm: float
    slice_mm: float
    spacing_mm: float
    psf_mm: float
    overshoot: float
    shoulder_streaks: float
    dental_streaks: float
    motion_mm: float
    cupping_hu: float
    padding_hu: int
    circle: bool
    tilt_deg: float


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
    lordosis_deg: float
    slope_deg: float
    kyphosis_deg: float
    scoliosis_deg: float
    scoliosis_phase: float
    neck_turn_deg: float
    neck_bend_deg: float
    head_turn_deg: float
    head_nod_deg: float
    disc_scale: tuple[float, ...]
    fused: str
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


def _choice(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = sorted(weights)
    p = np.array([weights[n] for n in names], dtype=float)
    return names[int(np.searchsorted(np.cumsum(p / p.sum()), rng.random()))] if p.sum() > 0 else names[0]


def draw_levels(rng: np.random.Generator) -> tuple[str, ...]:
    """Fractured levels of one study, with the prevalence and pair structure of the public labels."""
    if rng.random() >= _POSITIVE_SHARE:
        return ()
    count = 1 + int(_choice(rng, {str(i): float(n) for i, n in enumerate(_LEVEL_COUNT)}))
    if count == 1:
        return (_choice(rng, {k: float(v) for k, v in _ISOLATED.items()}),)
    chosen = set(_choice(rng, {"-".join(k): float(v) for k, v in _PAIRS.items()}).split("-"))
    while len(chosen) < count:
        weight = {
            other: float(sum(_PAIRS.get((min(other, c), max(other, c)), _OTHER_PAIR) for c in chosen))
            for other in LEVELS
            if other not in chosen
        }
        chosen.add(_choice(rng, weight))
    return tuple(sorted(chosen))


def draw_kind(rng: np.random.Generator, level: str) -> str:
    """A fracture kind for a level."""
    group = level if level in _KIND_WEIGHT else ("lower" if level in ("C6", "C7") else "upper")
    return _choice(rng, {k: w for k, w in _KIND_WEIGHT[group].items() if level in FRACTURE_KINDS[k]})


def _draw_fractures(rng: np.random.Generator) -> tuple[Fracture, ...]:
    out = []
    for level in draw_levels(rng):
        kinds = {draw_kind(rng, level)}
        if rng.random() < 0.15:
            kinds.add(draw_kind(rng, level))
        out += [Fracture(level=level, kind=k, severity=round(float(rng.beta(1.4, 1.6)), 3)) for k in sorted(kinds)]
    return tuple(out)


def _draw_scanner(rng: np.random.Generator, fov_mm: float, matrix: int, coverage: str) -> Scanner:
    bone = rng.random() < (0.75 if coverage in ("cspine", "neck") else 0.3)
    thick = coverage in ("wholebody", "chest", "abdomen", "head")
    slice_mm = float(rng.choice([1.0, 1.25, 1.5, 2.0, 3.0] if thick else [0.5, 0.6, 0.625, 0.75, 0.8, 1.0, 1.25, 2.0]))
    if not bone and rng.random() < 0.3:
        slice_mm = float(rng.choice([1.0, 1.5, 2.0, 3.0]))
    spacing = slice_mm * float(rng.choice([1.0, 1.0, 0.8, 0.5] if slice_mm >= 0.8 else [1.0, 1.0, 0.8]))
    thin = (0.6 / slice_mm) ** 0.5
    sd = rng.uniform(60, 120) * thin if bone else rng.uniform(8, 16) * max(thin, 0.6)
    return Scanner(
        kernel="bone" if bone else "soft",
        noise_sd=float(sd),
        pixel_mm=fov_mm / matrix,
        slice_mm=slice_mm,
        spacing_mm=spacing,
        psf_mm=float(rng.uniform(0.22, 0.34) if bone else rng.uniform(0.4, 0.7)),
        overshoot=float(rng.uniform(0.2, 0.7)) if bone else 0.0,
        shoulder_streaks=float(rng.uniform(0.4, 1.4)),
        dental_streaks=float(rng.uniform(0.3, 1.2)),
        motion_mm=0.0,
        cupping_hu=float(rng.uniform(0, 25)),
        padding_hu=int(rng.choice([-1024, -1024, -3024, -2000])),
        circle=bool(rng.random() < 0.7),
        tilt_deg=float(rng.uniform(-18, 18)) if rng.random() < 0.06 else 0.0,
    )


def _draw_view(rng: np.random.Generator, coverage: str) -> dict[str, Any]:
    if coverage in ("cspine", "neck"):
        fov = rng.uniform(120, 195) if rng.random() < 0.75 else rng.uniform(195, 260)
        shift = (float(rng.normal(0, 8)), float(rng.normal(0, 8)))
    elif coverage == "head":
        fov, shift = rng.uniform(210, 260), (float(rng.normal(0, 5)), float(rng.normal(0, 6)))
    else:
        fov, shift = rng.uniform(320, 500), (float(rng.normal(0, 10)), float(rng.normal(0, 10)))
    return {"fov_mm": float(fov), "fov_shift_mm": shift, "matrix": 512}


def _draw_person(rng: np.random.Generator) -> dict[str, Any]:
    sex = "F" if rng.random() < 0.45 else "M"
    age = int(np.clip(rng.normal(52, 22), 16, 98))
    bone = rng.normal(430, 70) - 2.4 * max(age - 30, 0) + (15 if sex == "F" else 0)
    return {
        "sex": sex,
        "age": age,
        "scale": float(np.clip(rng.normal(1.0 if sex == "F" else 1.06, 0.05), 0.86, 1.22)),
        "width_scale": float(np.clip(rng.normal(1.0, 0.05), 0.86, 1.16)),
        "bone_hu": float(np.clip(bone, 140, 580)),
        "cortex_hu": float(rng.uniform(1150, 1750)),
        "cortex_mm": float(np.clip(rng.normal(0.75 - 0.003 * max(age - 50, 0), 0.15), 0.4, 1.2)),
        "marrow_texture_hu": float(rng.uniform(40, 190)),
        "muscle_hu": float(rng.uniform(38, 65)),
        "fat_hu": float(rng.uniform(-115, -75)),
        "fat_mm": float(rng.uniform(2, 15)),
        "neck_girth": float(np.clip(rng.normal(1.0, 0.1), 0.78, 1.35)),
    }


def _draw_posture(rng: np.random.Generator, age: int) -> dict[str, Any]:
    turned = rng.random() < 0.3
    worn = 0.012 * max(age - 40, 0)
    fused = str(rng.choice(["C2-C3", "C3-C4", "C4-C5", "C5-C6", "C6-C7"])) if rng.random() < 0.04 else ""
    return {
        "lordosis_deg": float(rng.normal(10, 12)),
        "slope_deg": float(rng.normal(17, 6)),
        "kyphosis_deg": float(rng.normal(35, 7)),
        "scoliosis_deg": float(rng.normal(0, 3)),
        "scoliosis_phase": float(rng.uniform(0, 6.28)),
        "neck_turn_deg": float(rng.normal(0, 9 if turned else 2.5)),
        "neck_bend_deg": float(rng.normal(0, 4)),
        "head_turn_deg": float(rng.normal(0, 16 if turned else 4)),
        "head_nod_deg": float(rng.normal(0, 9)),
        "disc_scale": tuple(
            float(np.clip(rng.normal(1 - worn * rng.uniform(0, 0.8), 0.1), 0.35, 1.25)) for _ in range(6)
        ),
        "fused": fused,
    }


def _draw_setting(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "contrast_hu": float(rng.uniform(180, 420)) if rng.random() < 0.25 else 0.0,
        "tube": str(rng.choice(["ett", "ngt", "both"])) if rng.random() < 0.15 else "",
        "collar": str(rng.choice(["", "", "soft", "hard", "pillow", "board"])),
        "metal_teeth": int(rng.choice([0, 0, 0, 1, 2, 4, 7])),
        "missing_teeth": float(rng.choice([0, 0.05, 0.3, 1.0])),
        "mouth_open_mm": float(rng.choice([0, 0, 1, 3, 10])),
        "arms_up": bool(rng.random() < 0.5),
        "cut_top": float(rng.random()),
        "cut_bottom": float(rng.random()),
        "origin_lps_mm": (float(rng.normal(0, 8)), float(rng.normal(-20, 30)), float(rng.uniform(-900, 300))),
    }


def draw_spec(
    seed: int,
    *,
    fractures: tuple[Fracture, ...] | None = None,
    decoys: tuple[str, ...] | None = None,
    **overrides: Any,
) -> PhantomSpec:
    """Draw a whole phantom from a seed.

    `fractures` and `decoys` None are drawn (prevalence and pairs of the public labels); overrides replace any
    other field of the spec, and `scanner` may be a dict of fields of Scanner to replace. Independent streams keep
    one choice from changing the others: two specs of one seed differ only where asked.
    """
    streams = np.random.SeedSequence(seed).spawn(7)
    rng = [np.random.default_rng(s) for s in streams]
    coverage = overrides.pop("coverage", None) or str(rng[0].choice(COVERAGES, p=_COVERAGE_SHARE))
    if coverage not in COVERAGES:
        raise ValueError(f"coverage {coverage!r} is not one of {COVERAGES}")
    person = _draw_person(rng[1])
    view = _draw_view(rng[2], coverage)
    view |= {k: overrides.pop(k) for k in list(overrides) if k in view}
    scanner = _draw_scanner(rng[3], view["fov_mm"], view["matrix"], coverage)
    drawn_decoys = tuple(d for d in DECOYS if rng[4].random() < _DECOY_SHARE[d])
    drawn_fractures = _draw_fractures(rng[5])
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
    values |= person | view | _draw_posture(rng[6], person["age"]) | _draw_setting(rng[0])
    return PhantomSpec(**(values | overrides))
