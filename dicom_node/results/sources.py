"""The headers of the images a result was made from, reduced to what a result object needs of them.

Headers in the field are incomplete (RSNA-style data sets have neither Modality nor SOP Class UID; a Frame of
Reference may be missing) and inconsistent (an orientation that jitters in the seventh digit). highdicom rightly
refuses such input, so it never sees it: it gets small, complete stand-ins made from what is read here. What a
receiver will compare with the source (UIDs, frame numbers, demographics) is taken over unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import SourceSlice
from dicom_node.core.identifiers import derived_uid

# All that is needed of the second and later single-frame instances: reading no more makes 300 headers cheap.
_POSITION_ONLY = ["ImagePositionPatient", "InstanceNumber", "SOPInstanceUID"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceFrame:
    """One image plane. `position_mm_lps` is the centre of its first pixel (PS3.3 C.7.6.2.1.1), LPS mm.

    `image_number` is what readers call it: the Instance Number, or the frame's number; None where there is neither.
    """

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int | None
    position_mm_lps: tuple[float, float, float]
    image_number: int | None = None

    @property
    def key(self) -> tuple[str, int | None]:
        """What makes a plane one of its kind."""
        return self.sop_instance_uid, self.frame_number


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceSeries:
    """The analysed series. `frames[k]` belongs to z index k of the mask; a frame may stand there more than once.

    `header` is the first instance's data set without pixels, from which the demographics come; it is not changed.
    `orientation` are row and column cosines, `pixel_spacing_mm` is (between rows, between columns).
    `slice_thickness_mm` is None where the headers are silent.
    """

    header: Dataset
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float | None
    rows: int
    columns: int
    frames: tuple[SourceFrame, ...]

    @property
    def instances(self) -> tuple[tuple[str, str], ...]:
        """(SOP Class UID, SOP Instance UID) of each instance, once, in the order of z."""
        return tuple(dict.fromkeys((frame.sop_class_uid, frame.sop_instance_uid) for frame in self.frames))

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit normal of the planes: row direction x column direction."""
        cosines = np.asarray(self.orientation, dtype=np.float64)
        normal: NDArray[np.float64] = np.cross(cosines[:3], cosines[3:])
        return normal / np.linalg.norm(normal)


def read_sources(slices: tuple[SourceSlice, ...], *, study_instance_uid: str) -> SourceSeries:
    """The first instance's header has been read, without pixels; others where the analysis has not kept what is needed.

    Raises EncodingInvalid where geometry is missing.
    """
    if not slices:
        raise EncodingInvalid("the analysis names no source slices, so its results would refer to nothing")
    try:
        headers = _read_headers(slices)
        first = headers[slices[0].file]
        geometry = _geometry(first, slices[0].frame_number)
        frames = tuple(_frame(headers, source) for source in slices)
        series_uid = str(first.SeriesInstanceUID)
        rows, columns = int(first.Rows), int(first.Columns)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise EncodingInvalid(f"the header of a source image lacks what a result object refers to: {error}") from error
    return SourceSeries(
        header=first,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_uid,
        # Type 1 in a segmentation; a source without one shares no space with any other series.
        frame_of_reference_uid=str(first.get("FrameOfReferenceUID") or derived_uid("frame of reference", series_uid)),
        rows=rows,
        columns=columns,
        frames=frames,
        **geometry,
    )


def _read_headers(slices: tuple[SourceSlice, ...]) -> dict[Path, Dataset]:
    headers: dict[Path, Dataset] = {}
    for source in slices:
        if source.file in headers or (headers and _is_known(source)):
            continue
        whole = not headers or source.frame_number is not None
        try:
            headers[source.file] = dcmread(
                source.file, stop_before_pixels=True, force=True, specific_tags=None if whole else list(_POSITION_ONLY)
            )
        except (OSError, InvalidDicomError, EOFError) as error:
            raise EncodingInvalid(f"the source image {source.file.name} can no longer be read: {error}") from error
    return headers


def _geometry(header: Dataset, frame_number: int | None) -> dict[str, Any]:
    orientation = _group(header, frame_number, "PlaneOrientationSequence").ImageOrientationPatient
    measures = _group(header, frame_number, "PixelMeasuresSequence")
    thickness = measures.get("SliceThickness")
    return {
        "orientation": tuple(float(value) for value in orientation),
        "pixel_spacing_mm": (float(measures.PixelSpacing[0]), float(measures.PixelSpacing[1])),
        "slice_thickness_mm": float(thickness) if thickness else None,
    }


def _is_known(source: SourceSlice) -> bool:
    return source.frame_number is None and source.position_mm_lps is not None and source.instance_number is not None


def _frame(headers: dict[Path, Dataset], source: SourceSlice) -> SourceFrame:
    position: Any = source.position_mm_lps
    number = source.instance_number
    if not _is_known(source):
        header = headers[source.file]
        position = _group(header, source.frame_number, "PlanePositionSequence").ImagePositionPatient
        number = _instance_number(header) if source.frame_number is None else source.frame_number
    x, y, z = position
    return SourceFrame(
        sop_instance_uid=source.sop_instance_uid,
        sop_class_uid=source.sop_class_uid,
        frame_number=source.frame_number,
        position_mm_lps=(float(x), float(y), float(z)),
        image_number=number,
    )


def _instance_number(header: Dataset) -> int | None:
    """Instance Number (0020,0013), type 2, so it may be empty; observed in the field: not a number."""
    try:
        return int(header.InstanceNumber)
    except (AttributeError, TypeError, ValueError):
        return None


def _group(header: Dataset, frame_number: int | None, keyword: str) -> Dataset:
    """The data set that holds a plane's attributes: the header itself, or its functional group (PS3.3 C.7.6.16)."""
    if frame_number is None:
        return header
    per_frame = header.PerFrameFunctionalGroupsSequence[frame_number - 1]
    groups = per_frame if keyword in per_frame else header.SharedFunctionalGroupsSequence[0]
    item: Dataset = groups[keyword].value[0]
    return item
