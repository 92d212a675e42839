"""A study's place in the worklist."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.standing import WorklistFilter, search_text, standing_of, time_rank
from dicom_node.core.study import PatientSummary, StudyState
from dicom_node.core.worklist import WorklistState
from tests.contract.rows import at, intake


def test_who_waits_longer_has_the_lower_rank_and_what_is_done_later_has_it():
    assert time_rank(at(1), is_finished=False) < time_rank(at(2), is_finished=False)
    assert time_rank(at(2), is_finished=True) < time_rank(at(1), is_finished=True)


def test_a_study_without_a_job_has_no_verdict():
    standing = standing_of(intake(), (), ())
    assert (standing.state, standing.is_positive, standing.probability) == (WorklistState.RECEIVING, None, None)
    assert standing.place[:2] == (1, 0)


@pytest.mark.parametrize("text", ["not JSON", "[]", "7", '{"patient_overall": null}'])
def test_a_result_that_cannot_be_read_has_no_verdict_and_breaks_nothing(text: str) -> None:
    study = replace(intake(), state=StudyState.CLOSED, revision=1)
    job = AnalysisJob(
        id=1,
        study_instance_uid=study.study_instance_uid,
        revision=1,
        state=JobState.DONE,
        attempt=1,
        created_at=at(1),
        result_json=text,
    )
    standing = standing_of(study, (job,), ())
    assert (standing.is_positive, standing.probability) == (None, None)


def test_the_text_that_is_searched_is_bounded_whatever_a_header_holds():
    patient = PatientSummary(patient_name="ẞ" * 10_000, patient_id="x" * 10_000, accession_number="y" * 10_000)
    assert len(search_text(intake(patient=patient)).encode()) < 2_000


@pytest.mark.parametrize(
    ("narrowed", "is_taken"),
    [
        ({}, True),
        ({"text": "YAMADA"}, False),
        ({"text": "山田 müller"}, True),
        ({"source": "CT_SCANNER"}, True),
        ({"source": "CT"}, False),
        ({"is_positive": False}, True),
        ({"is_positive": True}, False),
        ({"before": at(0)}, False),
        ({"from_at": at(0)}, True),
        ({"state": WorklistState.WAITING}, False),
    ],
)
def test_a_filter_takes_what_fits_all_of_it(narrowed, is_taken):
    study = intake()
    assert WorklistFilter(**narrowed).takes(study, standing_of(study, (), ())) is is_taken


def test_a_word_is_found_only_in_one_study():
    study = replace(intake(), patient=PatientSummary(patient_id="A-7"))
    assert not WorklistFilter(text="müller").takes(study, standing_of(study, (), ()))
