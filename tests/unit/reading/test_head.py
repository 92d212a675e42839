"""The quick way through a header says what pydicom says, and leaves alone what it does not know."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

from dicom_node.demo.ct_headers import HEADER_STYLES, SeriesHeader, image_header, study_header
from inference import headers
from inference.errors import UnreadableInstance
from inference.head import read_head
from tests.builders.stored_ct import ct_slice, enhanced_ct, item, write

STORED = np.arange(48, dtype=np.int16).reshape(6, 8)


def outcome(file: Path) -> object:
    try:
        return headers.read_header(file)
    except UnreadableInstance as error:
        return str(error)


@pytest.fixture
def by_pydicom(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], object]:
    """What is answered where no header is plain."""

    def answer(file: Path) -> object:
        with monkeypatch.context() as patched:
            patched.setattr(headers, "read_head", lambda file: None)
            return outcome(file)

    return answer


def nested(undefined: bool) -> Dataset:
    """Two sequences about each other, written with lengths or with delimiters, and an empty one."""
    inner = item(CodeValue="113100", CodingSchemeDesignator="DCM", CodeMeaning="Basic")
    outer = item(DeidentificationMethodCodeSequence=[inner, item(CodeValue="1")], PixelPaddingValue=7)
    dataset = ct_slice(STORED, 3, ReferencedStudySequence=[], RequestAttributesSequence=[outer, Dataset()])
    for sequence in (dataset["RequestAttributesSequence"], outer["DeidentificationMethodCodeSequence"]):
        sequence.is_undefined_length = undefined
        for entry in sequence:
            entry.is_undefined_length_sequence_item = undefined
    return dataset


def of_a_style(style: str, non_ascii: bool) -> Dataset:
    study = study_header(5, "test", "F", 61, style, non_ascii)
    series = SeriesHeader(
        series_instance_uid=generate_uid(entropy_srcs=["series"]),
        number=3,
        description="Größe μ",
        kernel="bone",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        slice_thickness_mm=0.625,
        gantry_tilt_deg=0.0,
        fov_mm=200.0,
    )
    dataset = image_header(
        study,
        series,
        sop_instance_uid=generate_uid(entropy_srcs=["instance"]),
        number=17,
        position_mm=np.array([-100.25, 50.5, 1234.125]),
        row_mm=np.array([1.0, 0, 0]),
        column_mm=np.array([0, 0.9659258, -0.258819]),
        spacing_mm=(0.390625, 0.390625),
    )
    pixels = ct_slice(STORED)
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"):
        dataset[keyword] = pixels[keyword]
    return dataset


def private() -> Dataset:
    dataset = ct_slice(STORED, 4, SeriesDescription="Neck", ConvolutionKernel=["Br64d", "3"])
    block = dataset.private_block(0x0029, "SOMEBODY'S HEADER", create=True)
    block.add_new(0x10, "OB", bytes(range(256)) * 200)
    block.add_new(0x11, "UN", b"12")
    return dataset


PLAIN: dict[str, Callable[[], Dataset]] = {
    **{f"{style}, plain name": lambda style=style: of_a_style(style, False) for style in HEADER_STYLES},
    **{f"{style}, non ascii name": lambda style=style: of_a_style(style, True) for style in HEADER_STYLES},
    "sequences with lengths": lambda: nested(False),
    "sequences with delimiters": lambda: nested(True),
    "private elements beyond the first window": private,
    "empty values": lambda: ct_slice(STORED, 1, Manufacturer="", InstanceNumber="", PixelSpacing="", RescaleSlope=""),
    "padding": lambda: ct_slice(STORED, 1, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990),
    "one frame that counts itself": lambda: ct_slice(STORED, 1, NumberOfFrames=1, StackID="2"),
    "no class in the data set": lambda: ct_slice(STORED, 1, SOPClassUID=None, Modality=None),
    "no identity": lambda: ct_slice(STORED, 1, SeriesInstanceUID=None),
}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless])
@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_header_says_what_pydicom_says(tmp_path: Path, by_pydicom, kind: str, syntax: str) -> None:
    file = tmp_path / "a.dcm"
    dataset = PLAIN[kind]()
    if syntax == JPEG2000Lossless:
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.PixelData = b"\xfe\xff\x00\xe0" + bytes(4)
    write(dataset, file, syntax)
    assert read_head(file) is not None
    assert outcome(file) == by_pydicom(file)


def _without_preamble(file: Path) -> None:
    file.write_bytes(file.read_bytes()[132:])


def _announced_wrongly(file: Path) -> None:
    content = file.read_bytes()
    explicit, implicit = (f"{uid}".encode() for uid in (ExplicitVRLittleEndian, ImplicitVRLittleEndian))
    file.write_bytes(content.replace(explicit.ljust(20, b"\0"), implicit.ljust(20, b"\0")))


def _out_of_order(file: Path) -> None:
    content = file.read_bytes()
    rows, columns = content.index(b"\x28\x00\x10\x00US"), content.index(b"\x28\x00\x11\x00US")
    assert columns == rows + 10
    swapped = content[columns : columns + 10] + content[rows:columns]
    file.write_bytes(content[:rows] + swapped + content[columns + 10 :])


@pytest.mark.parametrize("spoil", [_without_preamble, _announced_wrongly, _out_of_order])
def test_a_file_that_is_not_as_it_should_be_is_left_to_pydicom(tmp_path: Path, by_pydicom, spoil) -> None:
    file = write(ct_slice(STORED, 2), tmp_path / "a.dcm")
    sound = outcome(file)
    spoil(file)
    assert read_head(file) is None
    assert outcome(file) == by_pydicom(file)
    assert isinstance(sound, headers.InstanceHeader)
    assert outcome(file).rows == sound.rows  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("dataset", "syntax"),
    [
        pytest.param(ct_slice(STORED), ExplicitVRBigEndian, id="big endian"),
        pytest.param(ct_slice(STORED), DeflatedExplicitVRLittleEndian, id="deflated"),
        pytest.param(enhanced_ct(STORED[None], [[0, 0, 0]]), ExplicitVRLittleEndian, id="functional groups"),
        pytest.param(ct_slice(STORED, PixelData=None), ExplicitVRLittleEndian, id="no pixel data"),
        pytest.param(ct_slice(STORED), "1.2.840.113619.5.2", id="a private syntax"),
    ],
)
def test_what_needs_more_than_places_is_left_to_pydicom(tmp_path: Path, dataset: Dataset, syntax: str) -> None:
    file = tmp_path / "a.dcm"
    if syntax.startswith("1.2.840.113619"):
        write(dataset, file)
        changed = dcmread(file)
        changed.file_meta.TransferSyntaxUID = syntax
        changed.save_as(file, implicit_vr=True, little_endian=True)
    else:
        if syntax == ExplicitVRBigEndian:
            dataset["PixelData"].value = STORED.astype(">i2").tobytes()
        write(dataset, file, syntax)
    assert read_head(file) is None
    assert outcome(file).rows == 6  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("kind", ["scanner, non ascii name", "sequences with lengths"])
def test_a_damaged_header_is_read_as_pydicom_reads_it_or_left_to_it(tmp_path, by_pydicom, kind, syntax) -> None:
    """Any byte may be another, and the file may end anywhere: where the quick way answers, it answers the same."""
    content = write(PLAIN[kind](), tmp_path / "a.dcm", syntax).read_bytes()
    random_ = random.Random(11)
    answered = 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(random_.choice((1, 1, 3))):
            damaged[random_.randrange(128, len(damaged))] = random_.randrange(256)
        file = tmp_path / "b.dcm"
        file.write_bytes(damaged[: random_.choice((len(damaged), len(damaged), random_.randrange(len(damaged))))])
        answered += read_head(file) is not None
        assert outcome(file) == by_pydicom(file)
    assert answered > 10


def test_sequences_within_sequences_without_end_are_left_to_pydicom(tmp_path: Path) -> None:
    file = write(ct_slice(STORED, ReferencedStudySequence=[]), tmp_path / "a.dcm")
    content = file.read_bytes()
    at = content.index(b"\x08\x00\x10\x11SQ")
    endless = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff"
    file.write_bytes(content[:at] + b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff" + endless * 200 + content[at + 12 :])
    assert read_head(file) is None
