"""From a file to the facts of its header, and from a folder to its instances. No pixels are read.

A header is not believed to be complete: public trauma series (RSNA 2022) have neither Modality nor SOP Class UID
in their data sets, only the file meta information names the class. Missing elements are empty texts or None;
only what a reader cannot do without (a Series and a SOP Instance UID) is demanded.

A plain file's header is read without pydicom (`inference.head`), any other with it; both give the same answers.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from inference import elements
from inference.elements import Source
from inference.errors import UnreadableInstance
from inference.functional_groups import FrameHeader, frame_headers
from inference.head import UNDEFINED_LENGTH, Head, NotPlain, read_head

__all__ = ["UNDEFINED_LENGTH", "InstanceHeader", "PixelDescription", "Scan", "read_header", "scan_folder"]

_PIXEL_DATA_TAG = (0x7FE0, 0x0010)
# What pydicom's parser is seen to raise on bytes that are no DICOM or only part of it; there is no common root.
_PARSER_ERRORS = (
    *(EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError, RecursionError),
    *(struct.error, zlib.error, BytesLengthException, InvalidDicomError, OSError),
)


@dataclass(frozen=True, kw_only=True)
class PixelDescription:
    """How the stored values of an instance are encoded (PS3.3 C.7.6.3, PS3.5 8 and A).

    `offset` and `length` locate the value of Pixel Data (7FE0,0010) in the file, in bytes; both are None where
    it has no place of its own (no pixel data, or a deflated data set). An encapsulated value has the length
    `UNDEFINED_LENGTH`.
    """

    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    padding_value: int | None
    padding_range_limit: int | None
    offset: int | None
    length: int | None
    extended_offsets: tuple[bytes, bytes] | None


@dataclass(frozen=True, kw_only=True)
class InstanceHeader:
    """One SOP Instance as far as reading and selection need it. Millimetres and LPS throughout.

    The geometric fields are those of the first frame; `frames` holds each frame's own, one for a classic
    instance (with `frame_number` None) and `number_of_frames` for an Enhanced one. Texts that are missing are
    empty, numbers that are missing or unreadable are None. `frames` is empty where there is no image.
    """

    file: Path
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    image_type: tuple[str, ...]
    manufacturer: str
    series_description: str
    body_part_examined: str
    convolution_kernel: str
    rows: int | None
    columns: int | None
    number_of_frames: int
    image_orientation: tuple[float, ...] | None
    image_position: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slice_thickness_mm: float | None
    instance_number: int | None
    series_number: int | None
    acquisition_number: int | None
    frame_of_reference_uid: str
    samples_per_pixel: int
    photometric_interpretation: str
    pixels: PixelDescription | None
    frames: tuple[FrameHeader, ...]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A folder's instances in path order, and every other file with the reason why it is none."""

    instances: tuple[InstanceHeader, ...]
    unreadable: tuple[tuple[Path, str], ...]

    def by_series(self) -> dict[str, tuple[InstanceHeader, ...]]:
        """The instances grouped by Series Instance UID, in order of first appearance."""
        groups: dict[str, list[InstanceHeader]] = {}
        for header in self.instances:
            groups.setdefault(header.series_instance_uid, []).append(header)
        return {uid: tuple(headers) for uid, headers in groups.items()}


def read_header(path: Path | str) -> InstanceHeader:
    """The header of one file, with or without the 128-byte preamble.

    Raises UnreadableInstance where the file cannot be opened, is no DICOM file, is a DICOMDIR, or has no
    Series or SOP Instance UID.
    """
    file = Path(path)
    try:
        return _plain_header(file) or _parsed_header(file)
    except UnreadableInstance:
        raise
    except OSError as error:
        raise UnreadableInstance(file, f"cannot be read: {error.strerror or error}") from error
    except _PARSER_ERRORS as error:
        # Sequences are parsed when they are looked at, so this may come late.
        raise UnreadableInstance(file, f"not readable as DICOM: {error}") from error


def _plain_header(file: Path) -> InstanceHeader | None:
    """The header without pydicom; None where the file is not plain enough for that."""
    head = read_head(file)
    if head is None:
        return None
    try:
        _demand_identity(file, head)
        return _header(file, head, head.place)
    except NotPlain:
        return None


def _parsed_header(file: Path) -> InstanceHeader:
    """The header by pydicom."""
    with file.open("rb") as stream:
        dataset = _parse(file, stream)
        return _header(file, dataset, _pixel_data_place(dataset, stream))


def scan_folder(path: Path | str) -> Scan:
    """All DICOM instances below a folder (or the one file named), mixed studies and classes included.

    Nothing is raised for a file that cannot be used: it stands in `unreadable` with its reason. Raises
    UnreadableInstance where the path itself does not exist.
    """
    root = Path(path)
    if not root.exists():
        raise UnreadableInstance(root, "no such file or folder")
    instances: list[InstanceHeader] = []
    unreadable: list[tuple[Path, str]] = []
    for file in [root] if root.is_file() else _files_below(root):
        try:
            instances.append(read_header(file))
        except UnreadableInstance as error:
            unreadable.append((file, error.why))
    return Scan(instances=tuple(instances), unreadable=tuple(unreadable))


def _files_below(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():
                yield file


def _parse(file: Path, stream: BinaryIO) -> FileDataset:
    try:
        dataset = _read_before_pixels(stream)
    except InvalidDicomError as error:
        raise UnreadableInstance(file, "not a DICOM file") from error
    _demand_identity(file, dataset)
    return dataset


def _demand_identity(file: Path, dataset: FileDataset | Head) -> None:
    if _meta(dataset, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise UnreadableInstance(file, "a DICOMDIR, not an instance")
    if not _sop_instance_uid(dataset):
        raise UnreadableInstance(file, "has no SOP Instance UID (0008,0018)")
    if not elements.text(dataset, "SeriesInstanceUID"):
        raise UnreadableInstance(file, "has no Series Instance UID (0020,000E)")


def _read_before_pixels(stream: BinaryIO) -> FileDataset:
    """The data set up to Pixel Data, the stream left at that element's tag."""
    try:
        return dcmread(stream, stop_before_pixels=True)
    except InvalidDicomError:
        # No "DICM" at byte 128. Forcing pydicom accepts any bytes at all, so look whether the first element
        # is one a data set may begin with: file meta (0002), or identification (0008) in either byte order.
        stream.seek(0)
        group = stream.read(2)
        if group not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
            raise
        stream.seek(0)
        return dcmread(stream, stop_before_pixels=True, force=True)


def _pixel_data_place(dataset: FileDataset, stream: BinaryIO) -> tuple[int, int] | None:
    """Offset and length in the file of the value of Pixel Data, where the stream stands before it."""
    implicit, little = dataset.original_encoding
    order = "little" if little else "big"
    if _transfer_syntax_uid(dataset) == DeflatedExplicitVRLittleEndian:
        return None
    start = stream.tell()
    head = stream.read(12)
    tag = (int.from_bytes(head[0:2], order), int.from_bytes(head[2:4], order))  # type: ignore[arg-type]
    if len(head) < 12 or tag != _PIXEL_DATA_TAG:
        return None
    if implicit:
        return start + 8, int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
    return start + 12, int.from_bytes(head[8:12], order)  # type: ignore[arg-type]


def _header(file: Path, dataset: FileDataset | Head, place: tuple[int, int] | None) -> InstanceHeader:
    rows, columns = elements.unsigned(dataset, "Rows"), elements.unsigned(dataset, "Columns")
    frames = frame_headers(dataset) if rows and columns else ()
    first = frames[0] if frames else None
    return InstanceHeader(
        file=file,
        study_instance_uid=elements.text(dataset, "StudyInstanceUID"),
        series_instance_uid=elements.text(dataset, "SeriesInstanceUID"),
        sop_instance_uid=_sop_instance_uid(dataset),
        sop_class_uid=elements.text(dataset, "SOPClassUID") or _meta(dataset, "MediaStorageSOPClassUID"),
        transfer_syntax_uid=_transfer_syntax_uid(dataset),
        modality=elements.text(dataset, "Modality").upper(),
        image_type=tuple(value.upper() for value in elements.texts(dataset, "ImageType")),
        manufacturer=elements.text(dataset, "Manufacturer"),
        series_description=elements.localised_text(dataset, "SeriesDescription"),
        body_part_examined=elements.text(dataset, "BodyPartExamined"),
        convolution_kernel=first.convolution_kernel if first else "",
        rows=rows,
        columns=columns,
        number_of_frames=len(frames),
        image_orientation=first.image_orientation if first else None,
        image_position=first.image_position if first else None,
        pixel_spacing_mm=first.pixel_spacing_mm if first else None,
        slice_thickness_mm=first.slice_thickness_mm if first else None,
        instance_number=elements.integer(dataset, "InstanceNumber"),
        series_number=elements.integer(dataset, "SeriesNumber"),
        acquisition_number=elements.integer(dataset, "AcquisitionNumber"),
        frame_of_reference_uid=elements.text(dataset, "FrameOfReferenceUID"),
        samples_per_pixel=elements.unsigned(dataset, "SamplesPerPixel") or 1,
        photometric_interpretation=elements.text(dataset, "PhotometricInterpretation").upper(),
        pixels=_pixel_description(dataset, place) if frames else None,
        frames=frames,
    )


def _pixel_description(dataset: Source, place: tuple[int, int] | None) -> PixelDescription:
    allocated = elements.unsigned(dataset, "BitsAllocated") or 16
    stored = elements.unsigned(dataset, "BitsStored") or allocated
    high_bit = elements.unsigned(dataset, "HighBit")
    # A plain file has neither: they stand where Pixel Data is looked for.
    offsets, lengths = (
        (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
        if isinstance(dataset, Dataset)
        else (None, None)
    )
    return PixelDescription(
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        is_signed=elements.unsigned(dataset, "PixelRepresentation") == 1,
        padding_value=elements.unsigned(dataset, "PixelPaddingValue"),
        padding_range_limit=elements.unsigned(dataset, "PixelPaddingRangeLimit"),
        offset=place[0] if place else None,
        length=place[1] if place else None,
        extended_offsets=(offsets, lengths) if offsets and lengths else None,
    )


def _sop_instance_uid(dataset: FileDataset | Head) -> str:
    return elements.text(dataset, "SOPInstanceUID") or _meta(dataset, "MediaStorageSOPInstanceUID")


def _meta(dataset: FileDataset | Head, keyword: str) -> str:
    return elements.text(dataset if isinstance(dataset, Head) else dataset.file_meta, keyword)


def _transfer_syntax_uid(dataset: FileDataset | Head) -> str:
    """The file meta's, or where it has none the one that the parser found the data set to be in."""
    named = _meta(dataset, "TransferSyntaxUID")
    if named or isinstance(dataset, Head):
        return named
    implicit, little = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)
