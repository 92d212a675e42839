import json
from dataclasses import replace
from pathlib import Path

from dicom_node.app.result_json import failed_json, result_json
from dicom_node.core.finding import Finding, LevelStatus, ResultKind, ResultObject
from tests.unit.app.node import analysed, not_applicable

KEYS = [
    "study_instance_uid",
    "outcome",
    "reason",
    "series",
    "bundle",
    "device",
    "patient_overall",
    "levels",
    "objects",
    "quality",
    "timings_s",
    "inputs",
]
SEG = ResultObject(
    kind=ResultKind.SEG,
    sop_class_uid="1.2",
    sop_instance_uid="2.25.1",
    series_instance_uid="2.25.2",
    file=Path("a"),
)


def test_every_outcome_has_every_key_of_the_contract_in_its_order():
    for report in (
        result_json(analysed(), (SEG,)),
        result_json(not_applicable()),
        failed_json("1.2.3", "no bundle"),
    ):
        assert list(report) == KEYS
        assert [level["level"] for level in report["levels"]] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
        assert list(report["timings_s"]) == ["read", "localise", "classify", "encode", "total"]
        assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_an_analysed_study_says_what_was_found_and_where():
    report = result_json(analysed(probability=0.9), (SEG,), encode_s=0.5, total_s=7.25)
    assert report["patient_overall"] == {"probability": 0.9, "threshold": 0.5, "fracture": True}
    assert [level["fracture"] for level in report["levels"]] == [
        False,
        True,
        False,
        False,
        False,
        False,
        None,
    ]
    assert report["timings_s"] == {
        "read": 1.0,
        "localise": 2.0,
        "classify": 3.0,
        "encode": 0.5,
        "total": 7.25,
    }
    assert report["objects"][0] == {
        "kind": "SEG",
        "sop_class_uid": "1.2",
        "sop_instance_uid": "2.25.1",
        "series_instance_uid": "2.25.2",
        "file": "a",
    }


def test_without_a_total_the_stages_are_added_up():
    assert result_json(analysed(), encode_s=0.5)["timings_s"]["total"] == 6.5


def test_a_level_that_was_not_assessed_has_no_probability_and_no_negative_answer():
    c7 = result_json(analysed())["levels"][6]
    assert (c7["status"], c7["probability"], c7["fracture"]) == ("not_assessed", None, None)


def test_a_level_partly_in_the_field_of_view_keeps_its_status_and_place():
    partly = Finding(
        level="C7", status=LevelStatus.PARTLY_IN_FIELD_OF_VIEW, threshold=0.5, location_mm_lps=(1.0, 2.0, 3.0)
    )
    result = replace(analysed(), findings=(*analysed().findings, partly))
    c7 = result_json(result)["levels"][6]
    assert c7 == {
        "level": "C7",
        "status": "partly_in_field_of_view",
        "probability": None,
        "threshold": 0.5,
        "fracture": None,
        "location_mm_lps": [1.0, 2.0, 3.0],
    }


def test_a_study_that_is_not_applicable_says_why_and_lists_the_series_left_out():
    report = result_json(not_applicable())
    assert (report["outcome"], report["reason"]) == ("not_applicable", "no cervical spine was found")
    assert report["series"] == {
        "chosen": None,
        "rejected": [{"series_instance_uid": "1.2.3.1", "rule": "no_cervical_spine", "detail": "no vertebra found"}],
    }
    assert report["patient_overall"]["fracture"] is None


def test_a_failed_study_says_why_and_nothing_else():
    report = failed_json("1.2.3", "the bundle is damaged")
    assert (report["outcome"], report["reason"]) == ("failed", "the bundle is damaged")
    assert {level["status"] for level in report["levels"]} == {"not_assessed"}
