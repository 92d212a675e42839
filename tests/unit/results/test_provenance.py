"""Demographics, character set, times and equipment of a result object."""

import struct
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.core.errors import ConfigurationError, StorageUnavailable
from dicom_node.core.finding import BundleIdentity
from dicom_node.results.provenance import (
    Equipment,
    device_uid,
    stamp_equipment,
    stamp_times,
    study_facts,
    take_over_study,
    write,
)

BUNDLE = BundleIdentity(name="b", version="1", sha256="00")
AT = datetime(2026, 3, 1, 23, 30, 5, 1200, tzinfo=UTC)


def as_sent(elements: list[tuple[str, str, bytes]], syntax: str) -> Dataset:
    """A data set read from exactly these (keyword, VR, value) elements, right or wrong."""
    is_implicit = syntax == ImplicitVRLittleEndian
    stream = BytesIO()
    for keyword, vr, value in elements:
        tag = Tag(keyword)
        stream.write(struct.pack("<HH", tag.group, tag.element))
        stream.write(struct.pack("<L", len(value)) if is_implicit else vr.encode() + struct.pack("<H", len(value)))
        stream.write(value)
    stream.seek(0)
    return read_dataset(stream, is_implicit, True)


def taken_over(source: Dataset, folder: Path) -> Dataset:
    """What a receiver of the result reads."""
    target = Dataset()
    take_over_study(target, source, study_instance_uid="1.2.3")
    target.SOPClassUID, target.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.4"
    target.file_meta = FileMetaDataset()
    target.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    write(target, folder / "result.dcm")
    return dcmread(folder / "result.dcm")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"", b"Doe^Jane"),
        (b"ISO_IR 100", "Müller^Jürgen ".encode("latin-1")),
        (b"ISO_IR 192", "Müller^Jürgen=山田^太郎 ".encode()),
        (b"\\ISO 2022 IR 87 ", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (b"GB18030 ", "Wang^XiaoDong=王^小东 ".encode("gb18030")),
        (b"", b"M\xfcller^undeclared "),
        (b"ISO_IR 192", b"M\xfcller^not UTF-8"),
    ],
)
def test_a_name_keeps_its_character_set_and_its_very_bytes(tmp_path, charset, name, syntax):
    declared = [("SpecificCharacterSet", "CS", charset)] if charset else []
    source = as_sent([*declared, ("PatientName", "PN", name)], syntax)
    copy = taken_over(source, tmp_path)
    assert copy.get_item("PatientName").value == name
    assert copy.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")


def test_type_2_attributes_that_the_source_lacks_are_there_and_empty(tmp_path):
    copy = taken_over(Dataset(), tmp_path)
    for keyword in ("PatientName", "PatientSex", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate"):
        assert keyword in copy
        assert not copy[keyword].value
    assert copy.StudyInstanceUID == "1.2.3"


def test_values_against_the_standard_are_copied_not_judged(tmp_path):
    source = as_sent(
        [("PatientBirthDate", "DA", b"1961.02.03"), ("PatientSex", "CS", b"weiblich")], ExplicitVRLittleEndian
    )
    copy = taken_over(source, tmp_path)
    assert copy.get_item("PatientSex").value == b"weiblich"
    assert copy.get_item("PatientBirthDate").value == b"1961.02.03"


def test_facts_for_the_page_are_decoded_and_leave_the_source_untouched():
    elements = [
        ("SpecificCharacterSet", "CS", b"ISO_IR 100"),
        ("PatientName", "PN", "Müller^Jürgen ".encode("latin-1")),
    ]
    source = as_sent(elements, ExplicitVRLittleEndian)
    assert dict(study_facts(source))["Patient"] == "Müller^Jürgen"
    assert source.get_item("PatientName").is_raw


def test_times_follow_the_clock_that_the_study_states():
    target = Dataset()
    target.TimezoneOffsetFromUTC = "+0100"
    stamp_times(target, AT)
    assert (target.ContentDate, target.ContentTime) == ("20260302", "003005.001200")
    assert target.InstanceCreationDate == target.SeriesDate == target.ContentDate


def test_times_without_a_stated_clock_follow_the_machine():
    target = Dataset()
    stamp_times(target, AT)
    local = AT.astimezone()
    assert target.ContentDate + target.ContentTime == local.strftime("%Y%m%d%H%M%S.%f")


def test_the_device_uid_changes_with_the_weights_and_with_the_software():
    old, new = (Equipment(manufacturer="m", software_version=version, device_serial="1") for version in ("1.0", "1.1"))
    retrained = BundleIdentity(name="b", version="1", sha256="01")
    assert len({device_uid(old, BUNDLE), device_uid(new, BUNDLE), device_uid(old, retrained)}) == 3


def test_equipment_says_who_named_the_levels_where_it_was_not_the_bundle():
    equipment = Equipment(manufacturer="m", software_version="1.0", device_serial="1")
    for bundle, said in ((BUNDLE, False), (replace(BUNDLE, levels_named_by="TotalSegmentator 2.18.0 total"), True)):
        target = Dataset()
        stamp_equipment(target, equipment, bundle)
        description = target.ContributingEquipmentSequence[0].ContributionDescription
        assert ("levels named by TotalSegmentator 2.18.0 total" in description) is said


def test_a_language_in_which_nothing_is_written_is_refused():
    with pytest.raises(ConfigurationError, match="'tlh'"):
        Equipment(manufacturer="m", software_version="1", device_serial="1", language="tlh")


def test_a_disk_that_refuses_is_a_transient_error(tmp_path: Path):
    with pytest.raises(StorageUnavailable, match=r"sr\.dcm"):
        write(Dataset(), tmp_path / "missing folder" / "sr.dcm")
