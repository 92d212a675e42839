"""How a scan is made: the scanner's settings, and where its field of view lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from inference.synthetic.ct_noise import KERNEL_SPECTRA

PROTOCOLS: Final = ("any", "challenge")
_THIN_MM: Final = (0.4, 0.5, 0.6, 0.6, 0.625, 0.67, 0.75, 0.8, 0.9, 1.0, 1.0, 1.25, 2.0)
_THICK_MM: Final = (1.0, 1.25, 1.5, 2.0, 3.0)
# Bone kernels by how often public slices show their texture; see KERNEL_SPECTRA.
_BONE_TEXTURES: Final = ("bone", "bone", "bone-flat", "bone-sharp", "bone-smooth")
_LEAST_SPACING_MM: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How the scan was made. Noise SD is in HU at the native voxel, away from shoulders and metal.

    `kernel` is "bone" or "soft"; `noise_f0_per_mm` and `noise_power` are its noise's spectrum (see `ct_noise`).
    `slice_mm` is the thickness that a slice averages over, `spacing_mm` the distance to the next, at most as much.
    """

    kernel: str
    noise_sd: float
    noise_f0_per_mm: float
    noise_power: float
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

    def __post_init__(self) -> None:
        if self.kernel not in ("bone", "soft"):
            raise ValueError(f"kernel {self.kernel!r} is not bone or soft")
        if not (self.slice_mm > 0 and self.spacing_mm > 0 and self.pixel_mm > 0):
            raise ValueError("slice thickness, spacing and pixel size must be above 0 mm")


def draw_scanner(
    rng: np.random.Generator,
    fov_mm: float,
    matrix: int,
    coverage: str,
    protocol: str = "any",
    kernel: str | None = None,
) -> Scanner:
    """Settings for a coverage. `protocol` "challenge" is as public ones: bone kernel, at most 1 mm."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is not one of {PROTOCOLS}")
    if kernel not in (None, "bone", "soft"):
        raise ValueError(f"kernel {kernel!r} is not bone or soft")
    challenge, neck = protocol == "challenge", coverage in ("cspine", "neck")
    bone = rng.random() < (0.75 if neck else 0.3)
    if kernel or challenge:
        bone = kernel != "soft"
    slice_mm = float(rng.choice(_THIN_MM if neck else _THICK_MM))
    if not bone and rng.random() < 0.3:
        slice_mm = float(rng.choice(_THICK_MM))
    if challenge:
        slice_mm = min(slice_mm, 1.0)
    spacing = slice_mm * float(rng.choice([1.0, 1.0, 0.8, 0.5] if slice_mm >= 0.8 else [1.0, 1.0, 0.8, 0.67]))
    texture = str(rng.choice(_BONE_TEXTURES)) if bone else "soft"
    return Scanner(
        kernel="bone" if bone else "soft",
        pixel_mm=fov_mm / matrix,
        slice_mm=slice_mm,
        spacing_mm=round(max(spacing, _LEAST_SPACING_MM), 3),
        motion_mm=0.0,
        cupping_hu=float(rng.uniform(0, 25)),
        padding_hu=int(rng.choice([-1024, -1024, -3024, -2000])),
        circle=bool(rng.random() < 0.7),
        tilt_deg=float(rng.uniform(-18, 18)) if rng.random() < 0.06 else 0.0,
        shoulder_streaks=float(rng.uniform(0.4, 1.4)),
        dental_streaks=float(rng.uniform(0.4, 1.3)),
        **_sharpness(rng, texture, slice_mm),
    )


def _sharpness(rng: np.random.Generator, texture: str, slice_mm: float) -> dict[str, float]:
    """Noise and resolution go together: SD in HU, spectrum, point spread (SD, mm) and edge enhancement."""
    f0, power = KERNEL_SPECTRA[texture]
    thin = float((0.6 / slice_mm) ** 0.5)
    if texture == "soft":
        sd, psf, overshoot = rng.uniform(9, 19) * max(thin, 0.6), rng.uniform(0.4, 0.7), 0.0
    elif texture == "bone-smooth":
        sd, psf, overshoot = rng.uniform(28, 55) * thin, rng.uniform(0.3, 0.42), rng.uniform(0.1, 0.35)
    else:
        sd, psf, overshoot = rng.uniform(60, 130) * thin, rng.uniform(0.22, 0.34), rng.uniform(0.2, 0.7)
    return {
        "noise_sd": float(sd),
        "noise_f0_per_mm": float(f0 * rng.uniform(0.94, 1.06)),
        "noise_power": float(power * rng.uniform(0.9, 1.1)),
        "psf_mm": float(psf),
        "overshoot": float(overshoot),
    }


def draw_view(rng: np.random.Generator, coverage: str) -> dict[str, Any]:
    """Field of view `fov_mm`, its offset `fov_shift_mm` (x, y) from the spine's, and the `matrix`."""
    off_centre = rng.random() < 0.1
    if coverage in ("cspine", "neck"):
        fov = rng.uniform(115, 195) if rng.random() < 0.75 else rng.uniform(195, 290)
        spread = (24.0, 16.0) if off_centre else (8.0, 8.0)
    elif coverage == "head":
        fov, spread = rng.uniform(210, 260), (5.0, 6.0)
    else:
        fov, spread = rng.uniform(320, 500), (10.0, 10.0)
    shift = tuple(float(np.clip(rng.normal(0, s), -2 * s, 2 * s)) for s in spread)
    return {"fov_mm": float(fov), "fov_shift_mm": shift, "matrix": 512}
