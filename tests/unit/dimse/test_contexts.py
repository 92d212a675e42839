"""Which presentation contexts are accepted, and what goes in front of a stored data set."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread
from pydicom.uid import (
    HTJ2K,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedCTImageStorage,
    KeyObjectSelectionDocumentStorage,
    RawDataStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.dimse import statuses
from dicom_node.dimse.contexts import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    TRANSFER_SYNTAXES,
    VERIFICATION,
    choose_transfer_syntax,
    encoding_of,
    is_storage_sop_class,
    is_transfer_syntax,
)
from dicom_node.dimse.file_meta import encode_file_meta

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize(
    "uid",
    [
        CT,
        EnhancedCTImageStorage,
        ComprehensiveSRStorage,
        SegmentationStorage,
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        KeyObjectSelectionDocumentStorage,
        SecondaryCaptureImageStorage,
        EncapsulatedPDFStorage,
        RTStructureSetStorage,
        RawDataStorage,
        "1.2.840.10008.5.1.4.1.1.9",  # retired
        "1.2.840.10008.5.1.4.1.1.4711",  # not yet known to the libraries
        "1.3.12.2.1107.5.9.1",  # private
    ],
)
def test_what_comes_along_with_a_ct_study_is_accepted(uid):
    assert is_storage_sop_class(uid)


@pytest.mark.parametrize(
    "uid",
    [
        VERIFICATION,
        "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root Query/Retrieve, FIND
        "1.2.840.10008.1.20.1",  # Storage Commitment
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol: belongs to no study
        "1.2.840.10008.1.3.10",  # DICOMDIR
        "",
        "no uid",
    ],
)
def test_what_is_no_object_of_a_study_is_not(uid):
    assert not is_storage_sop_class(uid)


def test_every_transfer_syntax_of_the_standard_is_accepted():
    assert len(TRANSFER_SYNTAXES) >= 59
    assert all(is_transfer_syntax(uid) for uid in TRANSFER_SYNTAXES)
    assert is_transfer_syntax(HTJ2K)
    assert is_transfer_syntax("1.2.840.10008.1.2.4.110")  # JPEG XL, whether pydicom knows it or not
    assert not is_transfer_syntax("1.2.840.113619.5.2")


def test_the_first_known_proposal_is_chosen():
    assert choose_transfer_syntax(CT, ["1.2.840.113619.5.2", HTJ2K, EXPLICIT_LITTLE]) == HTJ2K
    assert choose_transfer_syntax(CT, ["1.2.840.113619.5.2"]) is None
    assert choose_transfer_syntax(VERIFICATION, [HTJ2K, EXPLICIT_LITTLE]) == EXPLICIT_LITTLE


@pytest.mark.parametrize(
    ("uid", "implicit", "little", "deflated"),
    [
        (IMPLICIT_LITTLE, True, True, False),
        (EXPLICIT_LITTLE, False, True, False),
        (EXPLICIT_BIG, False, False, False),
        ("1.2.840.10008.1.2.1.99", False, True, True),
        ("1.2.840.10008.1.2.4.95", False, True, True),
        (HTJ2K, False, True, False),
    ],
)
def test_the_notation_follows_from_the_syntax(uid, implicit, little, deflated):
    encoding = encoding_of(uid)
    assert (encoding.is_implicit_vr, encoding.is_little_endian, encoding.is_deflated) == (implicit, little, deflated)


@pytest.mark.parametrize("calling", ["A", "PACS", "SIXTEEN_LETTERS_"])
def test_the_file_meta_reads_back(calling):
    meta = encode_file_meta(
        sop_class_uid=CT,
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=EXPLICIT_LITTLE,
        calling_aet=calling,
        called_aet="US",
    )
    read = dcmread(io.BytesIO(meta + b"\x08\x00\x60\x00CS\x02\x00CT"))
    assert read.file_meta.FileMetaInformationGroupLength == len(meta) - 144
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert read.file_meta.SourceApplicationEntityTitle == calling
    assert read.Modality == "CT"


def test_an_error_comment_fits_its_vr():
    assert statuses.comment("no\\space für " + "x" * 100) == "no?space f?r " + "x" * 51


@pytest.mark.parametrize("data_set_bytes", [65_536, 65_538, 526_040, *range(70_000, 74_096, 314)])
def test_a_file_with_a_long_data_set_ends_where_a_block_of_the_disk_does(data_set_bytes: int) -> None:
    values = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "transfer_syntax_uid": EXPLICIT_LITTLE}
    plain = encode_file_meta(**values, calling_aet="A", called_aet="B")
    meta = encode_file_meta(**values, calling_aet="A", called_aet="B", data_set_bytes=data_set_bytes)
    assert (len(meta) + data_set_bytes) % 4096 == 0
    read = dcmread(io.BytesIO(meta)).file_meta
    assert read.FileMetaInformationGroupLength == len(meta) - 144
    del read[0x00020100], read[0x00020102]
    assert list(read)[1:] == list(dcmread(io.BytesIO(plain)).file_meta)[1:]


def test_a_short_data_set_gets_no_filling() -> None:
    values = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "transfer_syntax_uid": EXPLICIT_LITTLE}
    plain = encode_file_meta(**values, calling_aet="A", called_aet="B")
    assert encode_file_meta(**values, calling_aet="A", called_aet="B", data_set_bytes=60_000) == plain
