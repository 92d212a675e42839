"""CT Image Storage data sets of an invented person (PS3.3 A.3), without pixels.

Three styles: "scanner" is complete and valid; "rsna" is the poor header of a public challenge's files, with neither
Modality nor SOP Class UID in the data set; "minimal" has what geometry and pixels need and no more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage

HEADER_STYLES: Final = ("scanner", "rsna", "minimal")
# Family, given; the third is written in ISO_IR 192, like every name here.
_NAMES: Final = (
    "Testmann^Anna",
    "Proband^Karl Otto",
    "Łąckięć^Žofia Ñandú",
    "Phantom^Åse",
    "Muster^Zoë",
    "Ersatz^Ivan",
)
_NON_ASCII: Final = "Gössl-Дмитриева^Jürgen Šimon=Βασίλης^Άννα"
_MAKERS: Final = (
    ("Example Imaging", "Ring 64", {"bone": "BONEPLUS", "soft": "STANDARD"}),
    ("Sample Medical", "Helix 128", {"bone": "Br64h", "soft": "B30s"}),
    ("Specimen Systems", "Spiral 16", {"bone": "FC30", "soft": "FC08"}),
)
_FORBIDDEN_PADDING_BELOW: Final = -1024


@dataclass(frozen=True, kw_only=True)
class StudyHeader:
    """What every image of the study shares. Dates are drawn from the seed: nothing reads a clock."""

    study_instance_uid: UID
    frame_of_reference_uid: UID
    patient_name: str
    patient_id: str
    patient_sex: str
    patient_age: int
    study_date: str
    study_time: str
    accession_number: str
    maker: int
    style: str
    patient_position: str


@dataclass(frozen=True, kw_only=True)
class SeriesHeader:
    """What the images of one series share. `kernel` is "bone" or "soft"."""

    series_instance_uid: UID
    number: int
    description: str
    kernel: str
    image_type: tuple[str, ...]
    slice_thickness_mm: float
    gantry_tilt_deg: float
    fov_mm: float


def uid_of(*parts: object) -> UID:
    """A UUID-derived UID (PS3.5 B.2) that depends on nothing but the parts."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def study_header(seed: int, spec_text: str, sex: str, age: int, style: str, non_ascii: bool) -> StudyHeader:
    """An invented person and visit. `spec_text` keeps studies of one seed apart."""
    if style not in HEADER_STYLES:
        raise ValueError(f"header style {style!r} is not one of {HEADER_STYLES}")
    rng = np.random.default_rng([seed, 9001])
    digits = str(int(rng.integers(1, 32000)))
    day = f"20{rng.integers(10, 26):02d}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    name = _NON_ASCII if non_ascii else _NAMES[int(rng.integers(len(_NAMES)))]
    return StudyHeader(
        study_instance_uid=uid_of("study", seed, spec_text),
        frame_of_reference_uid=uid_of("frame", seed, spec_text),
        patient_name=digits if style == "rsna" else name,
        patient_id=digits if style == "rsna" else f"PH{seed:06d}",
        patient_sex=sex,
        patient_age=age,
        study_date=day,
        study_time=f"{rng.integers(0, 24):02d}{rng.integers(0, 60):02d}{rng.integers(0, 60):02d}",
        accession_number=f"A{rng.integers(10**6, 10**7)}",
        maker=int(rng.integers(len(_MAKERS))),
        style=style,
        # Head first or feet first into the gantry: the patient coordinates do not change, the numbering does.
        patient_position="HFS" if rng.random() < 0.85 else "FFS",
    )


def image_header(
    study: StudyHeader,
    series: SeriesHeader,
    *,
    sop_instance_uid: UID,
    number: int,
    position_mm: NDArray[np.floating],
    row_mm: NDArray[np.floating],
    column_mm: NDArray[np.floating],
    spacing_mm: tuple[float, float],
) -> Dataset:
    """One image's data set without pixels. `row_mm` and `column_mm` are the directions of rows and columns (unit).

    `spacing_mm` is (between rows, between columns), PS3.3 10.7.1.3.
    """
    ds = Dataset()
    if study.style != "rsna":
        ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPInstanceUID = sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.study_instance_uid, series.series_instance_uid
    ds.PatientName, ds.PatientID = study.patient_name, study.patient_id
    ds.ContentDate, ds.ContentTime = study.study_date, study.study_time
    ds.SliceThickness = _ds(series.slice_thickness_mm)
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [_ds(v) for v in position_mm]
    ds.ImageOrientationPatient = [_ds(v) for v in (*row_mm, *column_mm)]
    ds.PixelSpacing = [_ds(v) for v in spacing_mm]
    if study.style == "rsna":
        return ds
    ds.SOPClassUID = CTImageStorage
    ds.Modality = "CT"
    ds.ImageType = list(series.image_type)
    ds.FrameOfReferenceUID = study.frame_of_reference_uid
    if study.style == "scanner":
        _complete(ds, study, series)
    return ds


def _complete(ds: Dataset, study: StudyHeader, series: SeriesHeader) -> None:
    maker, model, kernels = _MAKERS[study.maker]
    birth = int(study.study_date[:4]) - study.patient_age
    values: dict[str, Any] = {
        "PatientBirthDate": f"{birth}0115",
        "PatientSex": study.patient_sex,
        "PatientAge": f"{study.patient_age:03d}Y",
        "StudyDate": study.study_date,
        "StudyTime": study.study_time,
        "SeriesDate": study.study_date,
        "SeriesTime": study.study_time,
        "AcquisitionDate": study.study_date,
        "AcquisitionTime": study.study_time,
        "AccessionNumber": study.accession_number,
        "ReferringPhysicianName": "",
        "StudyID": "1",
        "StudyDescription": "CT CERVICAL SPINE (SYNTHETIC)",
        "SeriesNumber": series.number,
        "SeriesDescription": series.description,
        "BodyPartExamined": "CSPINE",
        "PatientPosition": study.patient_position,
        "PositionReferenceIndicator": "",
        "Manufacturer": maker,
        "ManufacturerModelName": model,
        "StationName": "PHANTOM",
        "InstitutionName": "No hospital",
        "SoftwareVersions": "1",
        "DeviceSerialNumber": "0",
        "AcquisitionNumber": 1,
        "KVP": "120",
        "DataCollectionDiameter": "500",
        "ReconstructionDiameter": _ds(series.fov_mm),
        "GantryDetectorTilt": _ds(series.gantry_tilt_deg),
        "ConvolutionKernel": kernels[series.kernel],
        "ExposureTime": 800,
        "XRayTubeCurrent": 240,
        "Exposure": 192,
        "RotationDirection": "CW",
        "BurnedInAnnotation": "NO",
    }
    for keyword, value in values.items():
        setattr(ds, keyword, value)


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2), as precise as fits."""
    for digits in range(10, 0, -1):
        text = f"{float(value) + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError(f"{value!r} does not fit a decimal string")


def describe_pixels(
    ds: Dataset, hu: NDArray[np.int16], outside: NDArray[np.bool_] | None, padding_hu: int
) -> NDArray[Any]:
    """Set the Image Pixel and rescale elements; returns the stored values [y, x] for `hu`.

    With padding below -1024 HU values are signed 16-bit with Pixel Padding Value, as some scanners write (the poor
    header keeps the values and loses the element); else they are unsigned 12-bit with an intercept of -1024.
    """
    signed = padding_hu < _FORBIDDEN_PADDING_BELOW and outside is not None
    intercept = -1024
    stored = hu.astype(np.int32) - intercept
    if signed and outside is not None:
        stored[outside] = padding_hu - intercept
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape
    ds.BitsAllocated, ds.BitsStored = 16, 16 if signed else 12
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(signed)
    ds.RescaleIntercept, ds.RescaleSlope = str(intercept), "1"
    if "SOPClassUID" in ds:
        ds.RescaleType = "HU"
    ds.WindowCenter, ds.WindowWidth = ["350", "50"], ["2500", "350"]
    if signed and "SOPClassUID" in ds:
        ds.PixelPaddingValue = padding_hu - intercept
    if signed:
        return stored.astype(np.int16)
    return np.clip(stored, 0, 4095).astype(np.uint16)
