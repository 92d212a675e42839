"""What a later revision says about the report before it."""

import dataclasses
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from dicom_node.core.finding import LEVELS, AnalysisResult, ResultKind, ResultObject
from dicom_node.results.calls import OVERALL, Call
from dicom_node.results.earlier import Said, changes, read_earlier, today
from dicom_node.results.words import Words
from tests.builders.result_json import document
from tests.builders.results import make_result
from tests.unit.results.test_sr import report_of


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> AnalysisResult:
    return make_result(tmp_path_factory.mktemp("study"), n=24, rows=32, columns=32)


def stored(report: Dataset, file: Path) -> tuple[ResultObject, ...]:
    report.PatientName = "x"
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.save_as(file, enforce_file_format=True)
    return (earlier_report(file),)


def earlier_report(file: Path) -> ResultObject:
    return ResultObject(
        kind=ResultKind.SR,
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        file=file,
    )


def test_the_earlier_findings_are_read_from_the_report_itself(result, tmp_path):
    unseen = dataclasses.replace(result.findings[6], probability=None, key_index_zyx=None)
    cut = dataclasses.replace(result, findings=(*result.findings[:6], unseen))
    found = read_earlier(stored(report_of(cut), tmp_path / "sr.dcm"))
    assert found["C2"] == Said(call=Call.PRESENT, probability=pytest.approx(0.9123))
    assert found["C3"] == Said(call=Call.ABSENT, probability=pytest.approx(0.03))
    assert found["C7"] == Said()
    assert found[OVERALL].call is Call.PRESENT


def test_only_what_changed_is_said(result, tmp_path):
    earlier = stored(report_of(result), tmp_path / "sr.dcm")
    now = document(suspicious=("C5",), unseen=("C7",))
    assert changes(earlier, now, Words()) == (
        "This report replaces an earlier one on the same study.",
        "C2: now 2.1 % (no fracture found), was 91.2 % (suspicious).",
        "C5: now 87.6 % (suspicious), was 5.0 % (no fracture found).",
        "C7: now not assessed, was 7.0 % (no fracture found).",
    )


def test_where_only_the_probability_moved_the_judgement_is_not_repeated(result, tmp_path):
    earlier = stored(report_of(result), tmp_path / "sr.dcm")
    now = document(suspicious=("C2",))
    now["levels"][6]["probability"] = 0.2
    assert changes(earlier, now, Words(language="de")) == (
        "Dieser Bericht ersetzt einen früheren zur selben Untersuchung.",
        "C7: jetzt 20,0 %, zuvor 7,0 %.",
    )


def test_an_unchanged_result_says_so(result, tmp_path):
    earlier = stored(report_of(result), tmp_path / "sr.dcm")
    levels = {finding.level: finding.probability for finding in result.findings}
    now = document(suspicious=("C2",))
    for entry in now["levels"]:
        entry["probability"] = levels[entry["level"]] + 0.01
    now["patient_overall"]["probability"] = result.overall_probability
    assert len(changes(earlier, now, Words())) == 2
    assert "No level is judged differently" in changes(earlier, now, Words())[1]


@pytest.mark.parametrize("content", [None, b"", b"not DICOM at all", b"\0" * 128 + b"DICM"])
def test_an_earlier_report_that_cannot_be_read_is_not_guessed_at(tmp_path, content):
    file = tmp_path / "sr.dcm"
    if content is not None:
        file.write_bytes(content)
    said = changes((earlier_report(file),), document(), Words())
    assert said[1] == "The earlier findings can no longer be read, so nothing is said about changes."


def test_a_first_report_says_nothing_about_changes():
    assert changes((), document(), Words()) == ()


def test_today_is_what_the_result_says():
    said = today(document(suspicious=("C2",)))
    assert set(said) == {*LEVELS, OVERALL}
    assert said["C2"] == Said(call=Call.PRESENT, probability=0.876)
