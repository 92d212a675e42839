"""Phantoms on disk: a CT study as a scanner would send it, and the truth beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID, ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter1d

from dicom_node.demo.ct_headers import SeriesHeader, StudyHeader, describe_pixels, image_header, study_header, uid_of
from dicom_node.demo.image_files import SYNTAXES, write_image
from dicom_node.demo.slice_order import PlannedImage, plan_images
from dicom_node.demo.truth_files import write_truth
from inference.synthetic import Fracture, Grid, Phantom, PhantomSpec, draw_spec, make_phantom
from inference.synthetic.phantom import reconstruction_circle

__all__ = ["SYNTAXES", "PhantomStudy", "parse_fracture", "phantom_to_folder", "write_phantom_study", "write_truth"]
_DEFAULT_SEVERITY: Final = 0.75
Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class PhantomStudy:
    """A study on disk: its UIDs and files, the diagnostic series first.

    `images` says which slice of the volume each image of a diagnostic series shows, under which Instance Number.
    """

    study_instance_uid: str
    series_instance_uids: tuple[str, ...]
    files: tuple[Path, ...]
    images: tuple[PlannedImage, ...]


def phantom_to_folder(
    out: Path,
    *,
    seed: int = 1,
    fractures: tuple[str | Fracture, ...] | None = None,
    decoys: tuple[str, ...] | None = None,
    slices: int | None = None,
    spacing_mm: float | None = None,
    thickness_mm: float | None = None,
    kernel: str | None = None,
    syntax: str = "explicit-vr-little-endian",
    tilt_deg: float | None = None,
    coverage: str | None = None,
    matrix: int | None = None,
    header_style: str = "scanner",
    order: str | None = None,
    missing_slices: int = 0,
    duplicate_slices: int = 0,
    soft_series: bool = False,
    non_ascii: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draw, render and write `dicom/` and the truth (see `write_truth`) under `out`; returns the truth.

    `fractures` are "LEVEL:KIND" or "LEVEL:KIND:SEVERITY" (0 to 1); None draws them and the decoys. `order` is
    "head-first" or "feet-first": which end has Instance Number 1; None leaves it to the seed. Raises ValueError for a
    name that does not exist and for more missing or duplicate slices than there can be.
    """
    tell = progress or (lambda what, share: None)
    if syntax not in SYNTAXES:
        raise ValueError(f"transfer syntax {syntax!r} is not one of {', '.join(SYNTAXES)}")
    coverage = coverage or "cspine"
    plan_images(slices or 0, seed, order=order, missing=missing_slices if slices else 0)
    overrides: dict[str, Any] = {"coverage": coverage, "slices": slices or 0}
    if matrix:
        overrides["matrix"] = matrix
    chosen = None if fractures is None else tuple(parse_fracture(f) for f in fractures)
    scanner: dict[str, Any] = {"tilt_deg": float(tilt_deg or 0.0)}
    if spacing_mm or (slices and coverage in _SPAN_MM):
        spacing = spacing_mm or max(_SPAN_MM[coverage] / max(slices or 1, 1), 0.4)
        scanner |= {"spacing_mm": spacing, "slice_mm": spacing}
    if thickness_mm:
        scanner["slice_mm"] = thickness_mm
        if not spacing_mm and not slices:
            scanner["spacing_mm"] = thickness_mm
    tell("drawing a synthetic patient", 0.0)
    spec = draw_spec(seed, fractures=chosen, decoys=decoys, scanner=scanner, kernel=kernel, **overrides)
    phantom = make_phantom(
        spec, workers=workers, progress=lambda share: tell("rendering the phantom", 0.05 + 0.55 * share)
    )
    tell("writing DICOM", 0.6)
    study = write_phantom_study(
        phantom,
        Path(out) / "dicom",
        syntax=syntax,
        header_style=header_style,
        seed=seed,
        order=order,
        missing_slices=missing_slices,
        duplicate_slices=duplicate_slices,
        soft_series=soft_series,
        non_ascii=non_ascii,
    )
    tell("writing the truth", 0.95)
    return write_truth(
        phantom,
        Path(out),
        study_instance_uid=study.study_instance_uid,
        series_instance_uids=study.series_instance_uids,
        images=study.images,
    )


_SPAN_MM: Final = {"cspine": 165.0, "neck": 190.0}


def parse_fracture(text: str | Fracture) -> Fracture:
    """ "C2:odontoid-2" or "C2:odontoid-2:0.4" as a Fracture. Raises ValueError where it is neither."""
    if isinstance(text, Fracture):
        return text
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise ValueError(f"fracture {text!r} is not LEVEL:KIND, as C2:odontoid-2")
    severity = float(parts[2]) if len(parts) == 3 else _DEFAULT_SEVERITY
    if not 0.0 <= severity <= 1.0:
        raise ValueError(f"severity {severity:g} of {text!r} is not between 0 and 1")
    return Fracture(level=parts[0].upper(), kind=parts[1], severity=severity)


def write_phantom_study(
    phantom: Phantom,
    out_dir: Path,
    *,
    syntax: str = "explicit-vr-little-endian",
    header_style: str = "scanner",
    seed: int,
    order: str | None = None,
    missing_slices: int = 0,
    duplicate_slices: int = 0,
    soft_series: bool = False,
    localizer: bool = True,
    non_ascii: bool = False,
) -> PhantomStudy:
    """Write the study's series below `out_dir`, one folder each.

    UIDs follow from `seed` and the phantom's spec. `order`, `missing_slices` and `duplicate_slices` are those of
    `plan_images`. The soft series is the same scan smoothed. Slices run along the table, so a tilted gantry gives a
    sheared stack.
    """
    spec = phantom.spec
    images = plan_images(
        phantom.volume.hu.shape[0], seed, order=order, missing=missing_slices, duplicates=duplicate_slices
    )
    text = spec.to_json()
    study = study_header(seed, text, spec.sex, spec.age, header_style, non_ascii)
    series = [series_header(seed, spec, spec.scanner.kernel, 2)]
    volumes = [phantom.volume.hu]
    if soft_series:
        series.append(series_header(seed, spec, "soft", 3))
        volumes.append(_smoothed(phantom))
    files: list[Path] = []
    for header, hu in zip(series, volumes, strict=True):
        folder = out_dir / f"series-{header.number}"
        files += write_series(phantom, hu, study, header, images, folder, SYNTAXES[syntax])
    uids = [str(s.series_instance_uid) for s in series]
    if localizer and header_style == "scanner":
        scout, uid = _write_localizer(phantom, study, seed, text, out_dir)
        files.append(scout)
        uids.append(str(uid))
    return PhantomStudy(
        study_instance_uid=str(study.study_instance_uid),
        series_instance_uids=tuple(uids),
        files=tuple(files),
        images=images,
    )


def series_header(seed: int, spec: PhantomSpec, kernel: str, number: int) -> SeriesHeader:
    """The header of the series of a phantom with a kernel."""
    sc = spec.scanner
    return SeriesHeader(
        series_instance_uid=uid_of("series", seed, spec.to_json(), number),
        number=number,
        description=f"C-SPINE {sc.slice_mm:g} {kernel}".upper(),
        kernel=kernel,
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        slice_thickness_mm=sc.slice_mm,
        gantry_tilt_deg=sc.tilt_deg,
        fov_mm=spec.fov_mm,
    )


def _smoothed(phantom: Phantom) -> NDArray[np.int16]:
    sigma = 0.9 / phantom.volume.spacing_mm_zyx[2]
    out = np.empty_like(phantom.volume.hu)
    for k, plane in enumerate(phantom.volume.hu):
        out[k] = np.rint(gaussian_filter1d(gaussian_filter1d(plane.astype(np.float32), sigma, axis=0), sigma, axis=1))
    return out


def write_series(
    phantom: Phantom,
    hu: NDArray[np.int16],
    study: StudyHeader,
    series: SeriesHeader,
    images: tuple[PlannedImage, ...],
    folder: Path,
    syntax: UID,
    *,
    name: str = "{:04d}.dcm",
) -> list[Path]:
    """Write the planned images of one series into `folder`, each named by its Instance Number; returns the files."""
    affine, (count, ny, nx) = phantom.volume.affine_lps, hu.shape
    grid = Grid(shape_zyx=(count, ny, nx), affine_lps=affine)
    outside = ~reconstruction_circle(grid) if phantom.spec.scanner.circle else None
    step_x, step_y = np.linalg.norm(affine[:3, 0]), np.linalg.norm(affine[:3, 1])
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for image in images:
        ds = image_header(
            study,
            series,
            sop_instance_uid=uid_of("image", series.series_instance_uid, image.slice_index, *image.copy_mark),
            number=image.number,
            position_mm=(affine @ np.array([0, 0, image.slice_index, 1.0]))[:3],
            row_mm=affine[:3, 0] / step_x,
            column_mm=affine[:3, 1] / step_y,
            spacing_mm=(float(step_y), float(step_x)),
        )
        stored = describe_pixels(ds, hu[image.slice_index], outside, phantom.spec.scanner.padding_hu)
        files.append(write_image(ds, stored, folder / name.format(image.number), syntax))
    return files


def _write_localizer(phantom: Phantom, study: StudyHeader, seed: int, text: str, out_dir: Path) -> tuple[Path, UID]:
    """A lateral scout: the mean of the volume across the patient, seen from the left."""
    volume = phantom.volume
    z, y, _ = volume.spacing_mm_zyx
    picture = np.clip(volume.hu.mean(axis=2)[::-1], -1024, 3071).astype(np.int16)
    uid = uid_of("series", seed, text, "scout")
    series = SeriesHeader(
        series_instance_uid=uid,
        number=1,
        description="SCOUT",
        kernel="soft",
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
        slice_thickness_mm=2.0,
        gantry_tilt_deg=0.0,
        fov_mm=phantom.spec.fov_mm,
    )
    top = volume.to_lps_mm(np.array([volume.hu.shape[0] - 1, 0, (volume.hu.shape[2] - 1) / 2]))
    ds = image_header(
        study,
        series,
        sop_instance_uid=uid_of("image", uid, 0),
        number=1,
        position_mm=top,
        row_mm=np.array([0.0, 1, 0]),
        column_mm=np.array([0.0, 0, -1]),
        spacing_mm=(z, y),
    )
    stored = describe_pixels(ds, picture, None, -1024)
    folder = out_dir / "series-1"
    folder.mkdir(parents=True, exist_ok=True)
    return write_image(ds, stored, folder / "0001.dcm", ExplicitVRLittleEndian), uid
