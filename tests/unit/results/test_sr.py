"""What the structured report says, and that viewers can show it."""

import dataclasses
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import LEVELS, AnalysisResult, LevelStatus, ResultKind, ResultObject
from dicom_node.results.identity import identify
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import read_sources
from dicom_node.results.sr import SOP_CLASSES, SegmentReference, build_reports
from tests.builders.results import make_result

EQUIPMENT = Equipment(manufacturer="m", software_version="1", device_serial="1")
SEGMENTS = SegmentReference(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
    sop_instance_uid="2.25.1",
    series_instance_uid="2.25.2",
    segment_numbers={"C1": 1, "C2": 2},
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> AnalysisResult:
    return make_result(tmp_path_factory.mktemp("study"), n=24, rows=32, columns=32)


def report_of(result: AnalysisResult, predecessor: tuple[ResultObject, ...] = ()) -> Dataset:
    sources = read_sources(result.slices, study_instance_uid=result.study_instance_uid)
    identities = {ResultKind.SR: identify(ResultKind.SR, result, revision=1)}
    return build_reports(result, sources, (SEGMENTS,), EQUIPMENT, identities, predecessor)[ResultKind.SR]


def named(item: Dataset, code: str) -> list[Dataset]:
    """Children whose concept name has this code value."""
    return [child for child in item.ContentSequence if child.ConceptNameCodeSequence[0].CodeValue == code]


def groups_of(report: Dataset) -> dict[str, Dataset]:
    """Measurement groups by their finding site."""
    (measurements,) = named(report, "126010")
    return {
        named(group, "363698007")[0].ConceptCodeSequence[0].CodeMeaning: group for group in measurements.ContentSequence
    }


def evaluations_of(report: Dataset) -> Dataset:
    (container,) = named(report, "C0034375")
    return container


def comments_of(report: Dataset) -> list[str]:
    return [item.TextValue for item in named(evaluations_of(report), "121106")]


def status_of(report: Dataset) -> str:
    return named(evaluations_of(report), "111017")[0].ConceptCodeSequence[0].CodeValue


def unseen(result: AnalysisResult, **status: LevelStatus) -> AnalysisResult:
    findings = tuple(
        dataclasses.replace(finding, status=status[finding.level], probability=None, key_index_zyx=None)
        if finding.level in status
        else finding
        for finding in result.findings
    )
    return dataclasses.replace(result, findings=findings)


def test_every_assessed_level_says_present_or_absent_with_its_probability_and_threshold(result):
    groups = groups_of(report_of(result))
    assert set(groups) == {"Cervical spine", *(f"{level} vertebra" for level in LEVELS)}
    for finding in result.findings:
        group = groups[f"{finding.level} vertebra"]
        (number,) = named(group, "122157")
        measured = number.MeasuredValueSequence[0]
        assert float(measured.NumericValue) == pytest.approx(100 * finding.probability, abs=0.006)
        assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        assert "threshold=30.0 %" in [item.TextValue for item in named(number, "111002")]
        (fracture,) = named(group, "72704001")
        assert fracture.ConceptCodeSequence[0].CodeMeaning == ("Present" if finding.level == "C2" else "Absent")


def test_every_group_has_a_2d_point_at_the_pixel_centre_of_its_key_slice(result):
    groups = groups_of(report_of(result))
    for finding in result.findings:
        (region,) = named(groups[f"{finding.level} vertebra"], "111030")
        z, row, column = finding.key_index_zyx
        assert (region.ValueType, region.GraphicType) == ("SCOORD", "POINT")
        assert list(region.GraphicData) == [column + 0.5, row + 0.5]
        image = region.ContentSequence[0].ReferencedSOPSequence[0]
        assert image.ReferencedSOPInstanceUID == result.slices[z].sop_instance_uid
    assert all(named(group, "111030") for group in groups.values())


def test_the_overall_point_shares_its_slice_with_no_level(result):
    (region,) = named(groups_of(report_of(result))["Cervical spine"], "111030")
    shown = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    z = [source.sop_instance_uid for source in result.slices].index(shown)
    taken = {finding.key_index_zyx[0] for finding in result.findings}
    suspicious = next(finding for finding in result.findings if finding.level == "C2")
    assert z not in taken
    assert abs(z - suspicious.key_index_zyx[0]) == 1


def test_the_algorithm_is_named_on_the_number_only(result):
    for group in groups_of(report_of(result)).values():
        assert not named(group, "111001")
        (number,) = named(group, "122157")
        assert named(number, "111001")[0].TextValue == result.bundle.name
        assert named(number, "111000")[0].ConceptCodeSequence[0].CodeValue == "123110"


def test_content_is_separate_everywhere(result):
    def containers(item: Dataset):
        if item.get("ValueType") == "CONTAINER":
            yield item
        for child in item.get("ContentSequence", []):
            yield from containers(child)

    found = list(containers(report_of(result)))
    assert len(found) == 3 + len(LEVELS) + 1
    assert {item.ContinuityOfContent for item in found} == {"SEPARATE"}


def test_levels_that_were_not_assessed_have_no_group_and_a_reason(result):
    report = report_of(unseen(result, C6=LevelStatus.PARTLY_IN_FIELD_OF_VIEW, C7=LevelStatus.NOT_ASSESSED))
    assert not {"C6 vertebra", "C7 vertebra"} & set(groups_of(report))
    assert "C6: not assessed, only partly in the field of view." in comments_of(report)
    assert "C7: not assessed, not found in the field of view." in comments_of(report)


@pytest.mark.parametrize(
    ("unseen_levels", "positive", "code"),
    [((), False, "111241"), ((), True, "111242"), (("C7",), False, "111243"), (("C7",), True, "111244")],
)
def test_the_summary_tells_whether_all_was_assessed_and_something_found(result, unseen_levels, positive, code):
    if not positive:
        calm = tuple(dataclasses.replace(finding, probability=0.01) for finding in result.findings)
        result = dataclasses.replace(result, findings=calm, overall_probability=0.02)
    status = dict.fromkeys(unseen_levels, LevelStatus.NOT_ASSESSED)
    assert status_of(report_of(unseen(result, **status))) == code


def test_a_study_in_which_nothing_could_be_assessed_still_gets_a_report(result):
    nothing = unseen(result, **dict.fromkeys(LEVELS, LevelStatus.NOT_ASSESSED))
    report = report_of(dataclasses.replace(nothing, overall_probability=None))
    assert not named(report, "126010")
    assert status_of(report) == "111245"
    assert len([text for text in comments_of(report) if ": not assessed, " in text]) == len(LEVELS)


def test_a_probability_without_a_place_stands_among_the_comments(result):
    findings = tuple(
        dataclasses.replace(finding, key_index_zyx=None) if finding.level == "C3" else finding
        for finding in result.findings
    )
    report = report_of(dataclasses.replace(result, findings=findings))
    assert "C3 vertebra" not in groups_of(report)
    assert any(text.startswith("C3: fracture probability 3.0 %, without a point") for text in comments_of(report))


def test_the_notice_and_the_segmentation_are_part_of_the_report(result):
    report = report_of(result)
    assert "AI result, not a diagnosis. Trained on synthetic data." in comments_of(report)
    (reference,) = named(evaluations_of(report), "121191")
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == SEGMENTS.sop_instance_uid
    evidence = {
        instance.ReferencedSOPInstanceUID
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert evidence == {SEGMENTS.sop_instance_uid, *(source.sop_instance_uid for source in result.slices)}


def test_a_later_revision_names_the_report_before_it(result, tmp_path):
    earlier = tuple(
        ResultObject(
            kind=kind,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            sop_instance_uid=f"2.25.{number}1",
            series_instance_uid=f"2.25.{number}2",
            file=tmp_path / "x",
        )
        for number, kind in enumerate((ResultKind.SEG, ResultKind.SR), 1)
    )
    (study,) = report_of(result, earlier).PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == result.study_instance_uid
    assert series.SeriesInstanceUID == "2.25.22"
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == ["2.25.21"]
    assert "PredecessorDocumentsSequence" not in report_of(result)


def test_a_point_outside_the_series_is_refused(result):
    stray = dataclasses.replace(result.findings[0], key_index_zyx=(2, 3, 32))
    with pytest.raises(EncodingInvalid, match="outside the series"):
        report_of(dataclasses.replace(result, findings=(stray, *result.findings[1:])))


@pytest.mark.parametrize("unseen_level", [None, "C7"])
def test_absent_is_said_of_the_whole_spine_only_where_every_level_was_assessed(result, unseen_level):
    calm = tuple(dataclasses.replace(finding, probability=0.01) for finding in result.findings)
    result = dataclasses.replace(result, findings=calm, overall_probability=0.02)
    if unseen_level:
        result = unseen(result, **{unseen_level: LevelStatus.NOT_ASSESSED})
    groups = groups_of(report_of(result))
    assert called(groups["Cervical spine"]) == ("Undetermined" if unseen_level else "Absent")
    assert called(groups["C1 vertebra"]) == "Absent"


def test_no_level_is_called_absent_where_the_spine_is_suspicious_and_no_level_stands_out(result):
    calm = tuple(dataclasses.replace(finding, probability=0.2) for finding in result.findings)
    groups = groups_of(report_of(dataclasses.replace(result, findings=calm, overall_probability=0.9)))
    assert called(groups.pop("Cervical spine")) == "Present"
    assert {called(group) for group in groups.values()} == {"Undetermined"}


def called(group: Dataset) -> str:
    return named(group, "72704001")[0].ConceptCodeSequence[0].CodeMeaning


def test_a_level_that_was_not_assessed_is_coded_as_not_attempted_at_its_vertebra(result):
    report = report_of(unseen(result, C6=LevelStatus.PARTLY_IN_FIELD_OF_VIEW, C7=LevelStatus.NOT_ASSESSED))
    items = named(evaluations_of(report), "111064")
    assert [item.ConceptCodeSequence[0].CodeValue for item in items] == ["111225", "111225"]
    sites = [item.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning for item in items]
    assert sites == ["C6 vertebra", "C7 vertebra"]


def test_the_same_document_exists_for_receivers_that_refuse_3d_or_comprehensive_reports(result):
    sources = read_sources(result.slices, study_instance_uid=result.study_instance_uid)
    identities = {kind: identify(kind, result, revision=1) for kind in SOP_CLASSES}
    earlier = ResultObject(
        kind=ResultKind.SR_ENHANCED,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.22",
        sop_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        file=Path("x"),
    )
    made = build_reports(result, sources, (SEGMENTS,), EQUIPMENT, identities, (earlier,))
    assert len({report.SOPClassUID for report in made.values()}) == len(SOP_CLASSES)
    assert {report.SOPInstanceUID for report in made.values()} == {
        identity.sop_instance_uid for identity in identities.values()
    }
    assert len({report.SeriesNumber for report in made.values()}) == len(SOP_CLASSES)
    assert len({str(report.ContentSequence) for report in made.values()}) == 1
    assert [kind for kind, report in made.items() if "PredecessorDocumentsSequence" in report] == [earlier.kind]


def test_comments_are_written_in_the_configured_language(result):
    german = dataclasses.replace(EQUIPMENT, language="de")
    sources = read_sources(result.slices, study_instance_uid=result.study_instance_uid)
    identities = {ResultKind.SR: identify(ResultKind.SR, result, revision=1)}
    report = build_reports(result, sources, (), german, identities)[ResultKind.SR]
    assert named(report, "121049")[0].ConceptCodeSequence[0].CodeValue == "de"
    assert "KI-Ergebnis, keine Diagnose. Mit synthetischen Daten trainiert." in comments_of(report)
