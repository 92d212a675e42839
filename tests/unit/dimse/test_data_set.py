"""Reading the head of a data set without decoding it, against pydicom's own writer."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dicom_node.dimse import data_set as ds
from dicom_node.dimse.contexts import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, encoding_of
from dicom_node.dimse.data_set import DataSetUnreadable, read_head

EXPLICIT = encoding_of(EXPLICIT_LITTLE)
IMPLICIT = encoding_of(IMPLICIT_LITTLE)
NOTATIONS = [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]


def a_data_set(**values: object) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.StudyInstanceUID = "1.2.4"
    dataset.PatientName = "Müller^Jörg"
    dataset.PixelData = b"\1\2" * 100
    dataset["PixelData"].VR = "OW"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset, notation: str = EXPLICIT_LITTLE) -> bytes:
    buffer = DicomBytesIO()
    encoding = encoding_of(notation)
    buffer.is_implicit_VR, buffer.is_little_endian = encoding.is_implicit_vr, encoding.is_little_endian
    write_dataset(buffer, dataset)
    plain = buffer.getvalue()
    if not encoding.is_deflated:
        return plain
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(plain) + deflater.flush()


def nested(undefined: bool) -> Dataset:
    inner = Dataset()
    inner.StudyInstanceUID = "9.9.9"
    inner.SOPInstanceUID = "9.9.8"
    outer = Dataset()
    outer.ReferencedSOPSequence = Sequence([inner])
    outer.StudyInstanceUID = "9.9.7"
    dataset = a_data_set(ReferencedStudySequence=Sequence([outer, outer]))
    for holder in (dataset, outer):
        for element in holder:
            if element.VR == "SQ":
                element.is_undefined_length = undefined
                for item in element.value:
                    item.is_undefined_length_sequence_item = undefined
    return dataset


@pytest.mark.parametrize("notation", NOTATIONS)
def test_the_wanted_values_are_read_in_every_notation(notation):
    head = read_head(encoded(a_data_set(), notation), encoding_of(notation))
    assert head[ds.SOP_INSTANCE_UID] == "1.2.3"
    assert head[ds.STUDY_INSTANCE_UID] == "1.2.4"
    assert head[ds.PATIENT_NAME] == "Müller^Jörg"
    assert head[ds.SERIES_INSTANCE_UID] == ""


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("undefined", [True, False])
def test_what_stands_inside_a_sequence_is_not_taken_for_the_data_set_s_own(notation, undefined):
    head = read_head(encoded(nested(undefined), notation), encoding_of(notation))
    assert head[ds.STUDY_INSTANCE_UID] == "1.2.4"
    assert head[ds.SOP_INSTANCE_UID] == "1.2.3"


def test_encapsulated_pixel_data_is_walked_over():
    dataset = a_data_set(PixelData=encapsulate([b"\xfe\xff\xdd\xe0" * 5, b"abcd"]))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    data = encoded(dataset)
    assert read_head(data, EXPLICIT)[ds.SOP_INSTANCE_UID] == "1.2.3"
    with pytest.raises(DataSetUnreadable):
        read_head(data[:-8], EXPLICIT)


@pytest.mark.parametrize(
    ("character_set", "raw", "expected"),
    [
        ("", b"Plain^Name", "Plain^Name"),
        ("ISO_IR 192", "山田^太郎".encode(), "山田^太郎"),
        ("ISO_IR 144", "Люк^Иван".encode("iso8859-5"), "Люк^Иван"),
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
            "Yamada^Tarou=山田^太郎",
        ),
    ],
)
def test_names_are_read_in_the_data_set_s_character_set(character_set, raw, expected):
    data = short(0x0008, 0x0005, b"CS", character_set.encode()) + short(0x0010, 0x0010, b"PN", raw)
    assert read_head(data, EXPLICIT)[ds.PATIENT_NAME] == expected


def short(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


UID = short(0x0008, 0x0018, b"UI", b"1.2.3\0")
ODDITIES = {
    "a group length": short(0x0008, 0x0000, b"UL", struct.pack("<L", 14)) + UID,
    "zeros at the end": UID + b"\0" * 37,
    "elements out of order": short(0x0020, 0x000D, b"UI", b"1.2.4\0") + UID,
    "an implicit element among explicit ones": struct.pack("<HHL", 0x0009, 0x0010, 4) + b"ABCD" + UID,
    "a VR nobody knows": struct.pack("<HH2s2xL", 0x0009, 0x0010, b"ZZ", 4) + b"ABCD" + UID,
    "a stray delimiter": struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + UID,
    "an odd length": struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 3) + b"ABC" + UID,
    "UN that holds implicit items": struct.pack("<HH2s2xL", 0x0009, 0x1001, b"UN", 0xFFFFFFFF)
    + struct.pack("<HHLHHL", 0xFFFE, 0xE000, 0xFFFFFFFF, 0x0009, 0x0010, 4)
    + b"ABCD"
    + struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    + UID,
}


@pytest.mark.parametrize("name", ODDITIES)
def test_what_is_odd_and_seen_in_the_field_is_read(name):
    assert read_head(ODDITIES[name], EXPLICIT)[ds.SOP_INSTANCE_UID] == "1.2.3"


def test_a_missing_end_is_told_with_its_place():
    with pytest.raises(DataSetUnreadable, match=r"inside \(7FE0,0010\), 3 bytes are missing"):
        read_head(encoded(a_data_set())[:-3], EXPLICIT)


@given(st.sampled_from(NOTATIONS), st.booleans(), st.data())
def test_a_data_set_that_is_cut_anywhere_but_between_elements_is_found_out(notation, undefined, data):
    dataset = nested(undefined)
    whole = encoded(dataset, notation)
    encoding = encoding_of(notation)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        head = read_head(whole[:cut], encoding)
    except DataSetUnreadable:
        return
    assert not encoding.is_deflated
    assert 0 < head.element_count < read_head(whole, encoding).element_count


@given(st.binary(max_size=400), st.sampled_from(NOTATIONS))
def test_any_bytes_are_read_or_refused_and_nothing_else(data, notation):
    with contextlib.suppress(DataSetUnreadable):
        read_head(data, encoding_of(notation))


def test_nesting_without_end_is_refused():
    item = struct.pack("<HHL", 0x0008, 0x1110, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(DataSetUnreadable, match="nested"):
        read_head(item * 5000, IMPLICIT)


def test_a_data_set_that_inflates_without_end_is_refused():
    bomb = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    data = bomb.compress(b"\0" * 10_000_000) + bomb.flush()
    with pytest.raises(DataSetUnreadable, match="more than 1000000 bytes"):
        read_head(data, encoding_of(DEFLATED), maximum_inflated_bytes=1_000_000)


def test_a_buffer_need_not_be_copied():
    assert read_head(io.BytesIO(UID).getbuffer(), EXPLICIT)[ds.SOP_INSTANCE_UID] == "1.2.3"


def element(tag: tuple[int, int], vr: bytes, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HH2s2xL", *tag, vr, len(value) if length is None else length) + value


def test_a_data_set_of_empty_elements_is_walked_once_and_not_once_for_each_of_them():
    zeros = bytes(8 * 50_000)
    begun = time.perf_counter()
    with pytest.raises(DataSetUnreadable):
        read_head(zeros + b"\1\0\0\0\xff\xff\0\0", IMPLICIT)
    # Fifty thousand looks at four hundred thousand bytes took ten minutes.
    assert time.perf_counter() - begun < 20.0


def test_a_data_set_that_can_be_read_in_two_ways_again_and_again_is_given_up():
    # Each UN can be entered as implicit items, which come to no end, and as explicit ones, which hold the next UN.
    start = element((0x0009, 0x1001), b"UN", b"", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    begun = time.perf_counter()
    with pytest.raises(DataSetUnreadable):
        read_head(start * 60 + struct.pack("<HHL", 0x0009, 0x1002, 0) * 30_000, EXPLICIT)
    assert time.perf_counter() - begun < 20.0


def test_zeros_after_the_last_element_are_no_elements_however_many():
    whole = encoded(a_data_set())
    assert read_head(whole + bytes(200_001), EXPLICIT).element_count == read_head(whole, EXPLICIT).element_count


@pytest.mark.parametrize(
    "name", [b"IS\0\0IR 100", b"hex", b"rot13", b"zlib", b"idna", b"punycode", b"\\\\", b"\xff\xfe"]
)
def test_a_character_set_that_is_none_costs_the_names_their_letters_and_nothing_else(name):
    text = struct.pack("<HHL", 0x0008, 0x0005, len(name)) + name
    text += struct.pack("<HHL", 0x0010, 0x0010, 6) + "Müller".encode("latin-1")
    text += struct.pack("<HHL", 0x0020, 0x000D, 6) + b"1.2.4\0"
    head = read_head(text, IMPLICIT)
    assert head[ds.STUDY_INSTANCE_UID] == "1.2.4"
    assert isinstance(head[ds.PATIENT_NAME], str)
