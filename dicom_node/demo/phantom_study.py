"""Phantoms on disk: a CT study as a scanner would send it, and the truth beside it."""

from __future__ import annotations

import gzip
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from scipy.ndimage import gaussian_filter1d

from dicom_node.demo.ct_headers import SeriesHeader, StudyHeader, describe_pixels, image_header, study_header, uid_of
from inference.synthetic import Fracture, Grid, Phantom, draw_spec, make_phantom
from inference.synthetic.phantom import reconstruction_circle

SYNTAXES: Final[dict[str, UID]] = {
    "implicit-vr-little-endian": ImplicitVRLittleEndian,
    "explicit-vr-little-endian": ExplicitVRLittleEndian,
    "explicit-vr-big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle-lossless": RLELossless,
    "jpeg-lossless-sv1": JPEGLosslessSV1,
    "jpeg-ls-lossless": JPEGLSLossless,
    "jpeg-2000-lossless": JPEG2000Lossless,
}
_DEFAULT_SEVERITY: Final = 0.75
# Deflated and RLE are for pydicom alone; the rest name the encoder that is installed with the project.
_PLUGINS: Final = {RLELossless: "pylibjpeg", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}

Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class PhantomStudy:
    """A study on disk: its UIDs and files, the diagnostic series first."""

    study_instance_uid: str
    series_instance_uids: tuple[str, ...]
    files: tuple[Path, ...]


def phantom_to_folder(
    out: Path,
    *,
    seed: int = 1,
    fractures: tuple[str | Fracture, ...] | None = None,
    decoys: tuple[str, ...] | None = None,
    slices: int | None = None,
    spacing_mm: float | None = None,
    syntax: str = "explicit-vr-little-endian",
    tilt_deg: float | None = None,
    coverage: str | None = None,
    matrix: int | None = None,
    header_style: str = "scanner",
    soft_series: bool = False,
    non_ascii: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draw, render and write `dicom/`, `truth.json` and `labels.nii.gz` under `out`; returns the truth.

    `fractures` are "LEVEL:KIND" or "LEVEL:KIND:SEVERITY" (0 to 1); None draws them and the decoys. Raises
    ValueError for a name that does not exist.
    """
    tell = progress or (lambda what, share: None)
    if syntax not in SYNTAXES:
        raise ValueError(f"transfer syntax {syntax!r} is not one of {', '.join(SYNTAXES)}")
    coverage = coverage or "cspine"
    overrides: dict[str, Any] = {"coverage": coverage, "slices": slices or 0}
    if matrix:
        overrides["matrix"] = matrix
    chosen = None if fractures is None else tuple(parse_fracture(f) for f in fractures)
    scanner: dict[str, Any] = {"tilt_deg": float(tilt_deg or 0.0)}
    if spacing_mm or (slices and coverage in _SPAN_MM):
        spacing = spacing_mm or max(_SPAN_MM[coverage] / max(slices or 1, 1), 0.4)
        scanner |= {"spacing_mm": spacing, "slice_mm": spacing}
    tell("drawing a synthetic patient", 0.0)
    spec = draw_spec(seed, fractures=chosen, decoys=decoys, scanner=scanner, **overrides)
    phantom = make_phantom(spec, workers=workers)
    tell("writing DICOM", 0.6)
    study = write_phantom_study(
        phantom,
        Path(out) / "dicom",
        syntax=syntax,
        header_style=header_style,
        seed=seed,
        soft_series=soft_series,
        non_ascii=non_ascii,
    )
    tell("writing the truth", 0.95)
    return write_truth(phantom, Path(out), study)


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
    soft_series: bool = False,
    localizer: bool = True,
    non_ascii: bool = False,
) -> PhantomStudy:
    """Write the study's series below `out_dir`, one folder each.

    UIDs follow from `seed` and the phantom's spec. InstanceNumber rises or falls with z as the seed has it. The soft
    series is the same scan smoothed. Slices run along the table, so a tilted gantry gives a sheared stack.
    """
    spec = phantom.spec
    text = spec.to_json()
    study = study_header(seed, text, spec.sex, spec.age, header_style, non_ascii)
    series = [_series(seed, text, spec, "bone" if spec.scanner.kernel == "bone" else "soft", 2)]
    volumes = [phantom.volume.hu]
    if soft_series:
        series.append(_series(seed, text, spec, "soft", 3))
        volumes.append(_smoothed(phantom))
    files: list[Path] = []
    for header, hu in zip(series, volumes, strict=True):
        files += _write_series(phantom, hu, study, header, out_dir, SYNTAXES[syntax], falling=seed % 2 == 0)
    uids = [str(s.series_instance_uid) for s in series]
    if localizer and header_style == "scanner":
        scout, uid = _write_localizer(phantom, study, seed, text, out_dir)
        files.append(scout)
        uids.append(str(uid))
    return PhantomStudy(
        study_instance_uid=str(study.study_instance_uid), series_instance_uids=tuple(uids), files=tuple(files)
    )


def write_truth(phantom: Phantom, out_dir: Path, study: PhantomStudy | None = None) -> dict[str, Any]:
    """Write `truth.json` and `labels.nii.gz` (1 to 7 = C1 to C7) into `out_dir`; returns the truth."""
    out_dir.mkdir(parents=True, exist_ok=True)
    truth = dict(phantom.truth)
    truth["slices"] = int(phantom.volume.hu.shape[0])
    if study is not None:
        truth["study_instance_uid"] = study.study_instance_uid
        truth["series_instance_uids"] = list(study.series_instance_uids)
    (out_dir / "truth.json").write_text(json.dumps(truth, indent=1))
    labels = np.where(phantom.labels <= 7, phantom.labels, 0).astype(np.uint8)
    write_nifti(out_dir / "labels.nii.gz", labels, phantom.volume.affine_lps)
    return truth


def write_nifti(path: Path, voxels: NDArray[np.uint8], affine_lps: NDArray[np.floating]) -> None:
    """uint8 [z, y, x] as gzipped NIfTI-1 with its sform in RAS, which can hold a tilted stack's shear."""
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps
    nz, ny, nx = voxels.shape
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, nx, ny, nz, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 1.0, 1.0, 1.0, 1.0)
    struct.pack_into("<fff", header, 108, 352.0, 1.0, 0.0)
    header[123] = 2
    struct.pack_into("<hh", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *ras[:3].ravel())
    header[344:348] = b"n+1\0"
    with gzip.GzipFile(path, "wb", compresslevel=3, mtime=0) as file:
        file.write(bytes(header))
        file.write(voxels.tobytes())


def _series(seed: int, text: str, spec: Any, kernel: str, number: int) -> SeriesHeader:
    sc = spec.scanner
    return SeriesHeader(
        series_instance_uid=uid_of("series", seed, text, number),
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


def _write_series(
    phantom: Phantom,
    hu: NDArray[np.int16],
    study: StudyHeader,
    series: SeriesHeader,
    out_dir: Path,
    syntax: UID,
    *,
    falling: bool,
) -> list[Path]:
    affine, count = phantom.volume.affine_lps, hu.shape[0]
    grid = Grid(shape_zyx=(count, hu.shape[1], hu.shape[2]), affine_lps=affine)
    outside = ~reconstruction_circle(grid) if phantom.spec.scanner.circle else None
    step_x, step_y = np.linalg.norm(affine[:3, 0]), np.linalg.norm(affine[:3, 1])
    folder = out_dir / f"series-{series.number}"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for k in range(count):
        number = count - k if falling else k + 1
        ds = image_header(
            study,
            series,
            sop_instance_uid=uid_of("image", series.series_instance_uid, k),
            number=number,
            position_mm=(affine @ np.array([0, 0, k, 1.0]))[:3],
            row_mm=affine[:3, 0] / step_x,
            column_mm=affine[:3, 1] / step_y,
            spacing_mm=(float(step_y), float(step_x)),
        )
        stored = describe_pixels(ds, hu[k], outside, phantom.spec.scanner.padding_hu)
        files.append(write_image(ds, stored, folder / f"{number:04d}.dcm", syntax))
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


def write_image(ds: Dataset, stored: NDArray[Any], path: Path, syntax: UID) -> Path:
    """Encode the stored values in a transfer syntax and write the Part 10 file; returns its path."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax if not syntax.is_encapsulated else ExplicitVRLittleEndian
    swapped = stored.astype(stored.dtype.newbyteorder(">"))
    ds.PixelData = (swapped if syntax == ExplicitVRBigEndian else stored).tobytes()
    ds["PixelData"].VR = "OW"
    if syntax == JPEGLosslessSV1:
        _encode_with_gdcm(ds)
    elif syntax in _PLUGINS:
        ds.compress(syntax, stored, encoding_plugin=_PLUGINS[syntax], generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path


def _encode_with_gdcm(ds: Dataset) -> None:
    """Replace native pixel data by JPEG Lossless SV1, which pydicom cannot encode."""
    with tempfile.TemporaryDirectory() as folder:
        plain, coded = Path(folder) / "plain.dcm", Path(folder) / "coded.dcm"
        whole = Dataset()
        whole.update(ds)
        whole.file_meta = ds.file_meta
        whole.SOPClassUID, whole.Modality = CTImageStorage, "CT"
        whole.save_as(plain, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        writer = gdcm.ImageWriter()
        if not reader.Read():
            raise RuntimeError(f"GDCM cannot read the image {ds.SOPInstanceUID} to be encoded")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise RuntimeError(f"GDCM cannot encode the image {ds.SOPInstanceUID} as JPEG Lossless")
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(coded))
        if not writer.Write():
            raise RuntimeError(f"GDCM cannot write the image {ds.SOPInstanceUID}")
        encoded = dcmread(coded)
    ds.PixelData = encoded.PixelData
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
