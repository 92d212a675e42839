"""Small CT series made by hand, in the shapes in which they come from scanners, archives and challenges."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from dicom_node.core.identifiers import derived_uid

NAMES = {
    "": "Doe^Jane",
    "ISO_IR 100": "Müller^Jürgen",
    "ISO_IR 192": "Müller^Jürgen=山田^太郎",
    "ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "GB18030": "Wang^XiaoDong=王^小东",
}


def make_ct_series(
    out_dir: Path,
    *,
    n: int = 24,
    rows: int = 64,
    columns: int = 64,
    spacing: tuple[float, float, float] = (2.0, 0.5, 0.5),
    tilt: float = 0.0,
    oblique: float = 0.0,
    charset: str = "",
    style: str = "scanner",
    seed: str = "ct",
    hu: NDArray[np.int16] | None = None,
    feet_first: bool = False,
) -> list[Path]:
    """A series of `n` axial slices as files, inferior first; `style` "enhanced" gives one multiframe file.

    `spacing` is (z, y, x) mm; `tilt` is the gantry tilt and `oblique` a rotation about the patient's head-foot
    axis, both in degrees. `hu` int16 [z, y, x] gives the pixels, else a bright disc in air. "rsna" leaves Modality
    and SOP Class UID, and what else a challenge strips, out of the data set. `feet_first` counts the images from the
    head down, as a scanner does that the patient entered feet first.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    pixels = _disc(n, rows, columns) if hu is None else hu
    orientation, positions = plane_geometry(n, rows, columns, spacing, tilt, oblique)
    if style == "enhanced":
        return [_write_enhanced(out_dir / "enhanced.dcm", pixels, orientation, positions, spacing, charset, seed)]
    paths = []
    for k in range(n):
        data_set = _single_frame(k, pixels[k], orientation, positions[k], spacing, charset, seed)
        if feet_first:
            data_set.PatientPosition, data_set.InstanceNumber = "FFS", n - k
        if style == "rsna":
            _strip_like_a_challenge(data_set)
        paths.append(_write(data_set, CTImageStorage, _sop_uid(seed, k), out_dir / f"{k:04d}.dcm"))
    return paths


def plane_geometry(
    n: int, rows: int, columns: int, spacing: tuple[float, float, float], tilt: float, oblique: float
) -> tuple[list[float], NDArray[np.float64]]:
    """Row and column cosines, and the positions [n, 3] of the planes' first pixel centres; the table runs along z."""
    dz, dy, dx = spacing
    a, b = math.radians(tilt), math.radians(oblique)
    row = np.array([math.cos(b), math.sin(b), 0.0])
    column = np.array([-math.sin(b) * math.cos(a), math.cos(b) * math.cos(a), -math.sin(a)])
    centre = np.array([2.0, -12.0, 300.0])
    first = centre - row * dx * (columns - 1) / 2 - column * dy * (rows - 1) / 2
    positions = first + np.arange(n)[:, None] * np.array([0.0, 0.0, dz])
    return [float(f"{value:.8f}") for value in (*row, *column)], np.round(positions, 6)


def affine_lps(
    n: int, rows: int, columns: int, spacing: tuple[float, float, float], tilt: float = 0.0, oblique: float = 0.0
) -> NDArray[np.float64]:
    """The affine of the volume that reading such a series gives, (x, y, z, 1) to LPS mm."""
    orientation, positions = plane_geometry(n, rows, columns, spacing, tilt, oblique)
    affine = np.eye(4)
    affine[:3, 0] = np.array(orientation[:3]) * spacing[2]
    affine[:3, 1] = np.array(orientation[3:]) * spacing[1]
    affine[:3, 2] = (0.0, 0.0, spacing[0])
    affine[:3, 3] = positions[0]
    return affine


def _disc(n: int, rows: int, columns: int) -> NDArray[np.int16]:
    y, x = np.mgrid[:rows, :columns]
    inside = (y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (min(rows, columns) / 3) ** 2
    plane = np.where(inside, 300, -1000).astype(np.int16)
    return np.broadcast_to(plane, (n, rows, columns))


def _sop_uid(seed: str, k: int) -> str:
    return derived_uid(seed, "instance", str(k))


def _study(charset: str, seed: str) -> Dataset:
    data_set = Dataset()
    if charset:
        data_set.SpecificCharacterSet = ["", charset] if charset.startswith("ISO 2022") else charset
    data_set.PatientName = NAMES[charset]
    data_set.PatientID = f"ID-{seed}"
    data_set.IssuerOfPatientID = "HOSPITAL"
    data_set.OtherPatientIDsSequence = [
        _item(PatientID="OLD-7", IssuerOfPatientID="CLINIC", TypeOfPatientID="TEXT"),
    ]
    data_set.PatientBirthDate = "19610203"
    data_set.PatientSex = "F"
    data_set.StudyInstanceUID = derived_uid(seed, "study")
    data_set.StudyDate = data_set.SeriesDate = data_set.ContentDate = "20240102"
    data_set.StudyTime = data_set.SeriesTime = data_set.ContentTime = "101112"
    data_set.AccessionNumber = "A1"
    data_set.IssuerOfAccessionNumberSequence = [_item(LocalNamespaceEntityID="RIS")]
    data_set.ReferringPhysicianName = ""
    data_set.StudyID = "1"
    data_set.StudyDescription = "HWS nativ" if not charset else "CT HWS"
    data_set.Modality = "CT"
    data_set.SeriesInstanceUID = derived_uid(seed, "series")
    data_set.SeriesNumber = 3
    data_set.FrameOfReferenceUID = derived_uid(seed, "frame of reference")
    data_set.PositionReferenceIndicator = ""
    data_set.PatientPosition = "HFS"
    data_set.Manufacturer = "Test Scanner"
    data_set.InstanceNumber = 1
    return data_set


def _image(data_set: Dataset, pixels: NDArray[np.int16]) -> None:
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows, data_set.Columns = pixels.shape[-2:]
    data_set.BitsAllocated = data_set.BitsStored = 16
    data_set.HighBit = 15
    data_set.PixelRepresentation = 1
    data_set.PixelData = np.ascontiguousarray(pixels).tobytes()


def _single_frame(
    k: int,
    pixels: NDArray[np.int16],
    orientation: list[float],
    position: NDArray[np.float64],
    spacing: tuple[float, float, float],
    charset: str,
    seed: str,
) -> Dataset:
    data_set = _study(charset, seed)
    data_set.SOPClassUID = CTImageStorage
    data_set.SOPInstanceUID = _sop_uid(seed, k)
    data_set.InstanceNumber = k + 1
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.ImageOrientationPatient = orientation
    data_set.ImagePositionPatient = [float(value) for value in position]
    data_set.PixelSpacing = [spacing[1], spacing[2]]
    data_set.SliceThickness = spacing[0]
    data_set.KVP = 120
    data_set.ConvolutionKernel = "Br60"
    data_set.AcquisitionNumber = 1
    data_set.RescaleIntercept, data_set.RescaleSlope, data_set.RescaleType = 0, 1, "HU"
    _image(data_set, pixels)
    return data_set


def _strip_like_a_challenge(data_set: Dataset) -> None:
    for keyword in [
        "SOPClassUID",
        "Modality",
        "PatientName",
        "IssuerOfPatientID",
        "OtherPatientIDsSequence",
        "IssuerOfAccessionNumberSequence",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "SeriesDate",
        "SeriesTime",
        "ContentDate",
        "ContentTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyID",
        "SeriesNumber",
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
        "Manufacturer",
        "StudyDescription",
        "ImageType",
        "KVP",
        "ConvolutionKernel",
        "RescaleType",
    ]:
        delattr(data_set, keyword)


def _write_enhanced(
    path: Path,
    pixels: NDArray[np.int16],
    orientation: list[float],
    positions: NDArray[np.float64],
    spacing: tuple[float, float, float],
    charset: str,
    seed: str,
) -> Path:
    data_set = _study(charset, seed)
    data_set.SOPClassUID = EnhancedCTImageStorage
    data_set.SOPInstanceUID = _sop_uid(seed, 0)
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data_set.NumberOfFrames = len(positions)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[spacing[1], spacing[2]], SliceThickness=spacing[0])]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=orientation)]
    shared.PixelValueTransformationSequence = [_item(RescaleIntercept=0, RescaleSlope=1, RescaleType="HU")]
    data_set.SharedFunctionalGroupsSequence = [shared]
    per_frame = []
    for k, position in enumerate(positions):
        frame = Dataset()
        frame.PlanePositionSequence = [_item(ImagePositionPatient=[float(value) for value in position])]
        frame.FrameContentSequence = [_item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1])]
        per_frame.append(frame)
    data_set.PerFrameFunctionalGroupsSequence = per_frame
    _image(data_set, pixels)
    return _write(data_set, EnhancedCTImageStorage, data_set.SOPInstanceUID, path)


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _write(data_set: Dataset, sop_class_uid: str, sop_instance_uid: str, path: Path) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = sop_instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.file_meta = meta
    data_set.save_as(path, enforce_file_format=True)
    return path
