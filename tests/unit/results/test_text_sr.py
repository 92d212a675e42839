"""The text SR: what people read, and what it refers to."""

import dataclasses
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from dicom_node.core.finding import AnalysisResult, Outcome, ResultKind, ResultObject
from dicom_node.results.identity import identify
from dicom_node.results.not_analysed import identify_status
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import read_sources
from dicom_node.results.telling import tell
from dicom_node.results.text_sr import build_status_report, build_text_report
from tests.builders.results import make_result
from tests.unit.results.test_sr import named

EQUIPMENT = Equipment(manufacturer="m", software_version="1", device_serial="1", language="de")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> AnalysisResult:
    return make_result(tmp_path_factory.mktemp("study"), n=24, rows=32, columns=32)


def text_report_of(result: AnalysisResult, predecessor: tuple[ResultObject, ...] = ()) -> Dataset:
    sources = read_sources(result.slices, study_instance_uid=result.study_instance_uid)
    narrative = tell(result, EQUIPMENT, sources, predecessor)
    identity = identify(ResultKind.TEXT_SR, result, revision=1)
    return build_text_report(narrative, result, sources, EQUIPMENT, identity, predecessor)


def texts_of(report: Dataset, section: str) -> list[str]:
    return [item.TextValue for container in named(report, section) for item in container.ContentSequence]


def evidence_of(report: Dataset) -> set[str]:
    return {
        instance.ReferencedSOPInstanceUID
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }


def test_the_verdict_is_the_first_thing_that_is_read(result):
    report = text_report_of(result)
    containers = [item for item in report.ContentSequence if item.ValueType == "CONTAINER"]
    assert containers[0].ConceptNameCodeSequence[0].CodeMeaning == "Impressions"
    assert texts_of(report, "121072") == [
        "Frakturverdacht: C2.",
        "KI-Ergebnis, keine Diagnose. Mit synthetischen Daten trainiert.",
    ]


def test_every_level_and_the_series_have_their_sentences(result):
    report = text_report_of(result)
    findings = texts_of(report, "121070")
    assert findings[1] == (
        "C2: frakturverdächtig, Wahrscheinlichkeit 91,2 % (Schwellenwert 30,0 %)."
        f" Siehe Bild {result.findings[1].key_index_zyx[0] + 1} der Serie 3."
    )
    assert len(findings) == 8
    assert texts_of(report, "121064")[0] == (
        "Analysierte CT-Serie: 3; Bilder: 24, Schichtdicke 2,00 mm, Schichtabstand 2,00 mm."
    )
    assert len(texts_of(report, "121076")) == 2


def test_a_suspicious_sentence_refers_to_its_key_image(result):
    (findings,) = named(text_report_of(result), "121070")
    shown = [item.ContentSequence[0] for item in findings.ContentSequence if "ContentSequence" in item]
    z = result.findings[1].key_index_zyx[0]
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in shown] == [
        result.slices[z].sop_instance_uid
    ]
    assert shown[0].RelationshipType == "INFERRED FROM"


def test_text_views_print_names_beside_values_because_nothing_is_continuous(result):
    report = text_report_of(result)
    containers = [report, *(item for item in report.ContentSequence if item.ValueType == "CONTAINER")]
    assert {item.ContinuityOfContent for item in containers} == {"SEPARATE"}


def test_it_is_an_enhanced_sr_of_tid_2000_that_rests_on_the_whole_series(result):
    report = text_report_of(result)
    assert report.SOPClassUID == EnhancedSRStorage
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "2000"
    assert evidence_of(report) == {source.sop_instance_uid for source in result.slices}
    assert named(report, "121049")[0].ConceptCodeSequence[0].CodeValue == "de"


def test_a_later_revision_names_the_text_before_it_and_says_what_changed(result, tmp_path: Path):
    earlier = ResultObject(
        kind=ResultKind.TEXT_SR,
        sop_class_uid=EnhancedSRStorage,
        sop_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        file=tmp_path / "gone",
    )
    report = text_report_of(result, (earlier,))
    (series,) = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.1"
    assert texts_of(report, "121068") == [
        "Dieser Bericht ersetzt einen früheren zur selben Untersuchung.",
        "Die früheren Befunde sind nicht mehr lesbar; ein Vergleich ist nicht möglich.",
    ]
    assert not named(text_report_of(result), "121068")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome.NOT_APPLICABLE, "nicht anwendbar"),
        (Outcome.FAILED, "fehlgeschlagen"),
        (Outcome.NOT_RUN, "nicht durchgeführt"),
    ],
)
def test_a_study_that_was_not_analysed_says_why_and_claims_no_level(result, outcome, words):
    source = result.slices[0]
    silent = dataclasses.replace(result, outcome=outcome, reason="the study holds no image series", findings=())
    reference = ("1.2.3", source.sop_class_uid, source.sop_instance_uid)
    identity = identify_status(silent, revision=1)
    report = build_status_report(tell(silent, EQUIPMENT), silent, reference, EQUIPMENT, identity)
    verdict, silence = texts_of(report, "121072")
    assert silence.startswith("Zu Frakturen wird nichts ausgesagt")
    assert words in verdict
    assert "Die Untersuchung enthält keine auswertbaren Bilder." in verdict
    assert not named(report, "121070")
    assert evidence_of(report) == {source.sop_instance_uid}
    assert result.study_instance_uid == named(report, "121018")[0].UID


def test_another_reason_is_another_instance_of_the_same_series(result):
    failed, again, later = (
        identify_status(dataclasses.replace(result, outcome=Outcome.FAILED, reason=reason), revision=1)
        for reason in ("no memory", "no memory", "no disk")
    )
    assert failed == again
    assert failed.sop_instance_uid != later.sop_instance_uid
    assert failed.series_instance_uid == later.series_instance_uid
