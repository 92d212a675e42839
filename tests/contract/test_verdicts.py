"""Readers' verdicts: rows that the database and its twin keep alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dicom_node.core.errors import StorageConflict
from dicom_node.core.verdict import Verdict
from tests.builders.verdicts import verdict
from tests.contract.rows import STUDY, at, intake

OTHER = f"{STUDY}.2"


@pytest.fixture
def known(database: Any) -> Any:
    with database.unit_of_work() as uow:
        for uid in (STUDY, OTHER):
            uow.studies.save(intake(uid))
        uow.commit()
    return database


def added(database: Any, *given: Verdict) -> tuple[Verdict, ...]:
    with database.unit_of_work() as uow:
        kept = tuple(uow.verdicts.add(each) for each in given)
        uow.commit()
    return kept


def test_what_is_added_comes_back_whole_with_a_number(known: Any) -> None:
    given = verdict(
        study_instance_uid=STUDY,
        levels=("C2",),
        whole=True,
        false_positives=("C2",),
        missed=("C1", "C7"),
        note="größer als\n„gedacht“ 山",
        at=at(1.5),
    )
    (kept,) = added(known, given)
    assert kept.id > 0
    assert replace(kept, id=0) == given
    with known.reading() as uow:
        assert uow.verdicts.of_study(STUDY) == (kept,)


def test_the_newest_of_a_study_comes_first_and_others_are_not_among_them(known: Any) -> None:
    first, second, other = added(
        known,
        verdict(study_instance_uid=STUDY, at=at(1)),
        verdict(study_instance_uid=STUDY, at=at(2)),
        verdict(study_instance_uid=OTHER, at=at(3)),
    )
    with known.reading() as uow:
        assert uow.verdicts.of_study(STUDY) == (second, first)
        assert uow.verdicts.of_study("9.9") == ()
        assert uow.verdicts.newest() == (second, other)


def test_the_newest_since_a_moment_are_those_whose_last_verdict_is_not_older(known: Any) -> None:
    old, new = added(
        known,
        verdict(study_instance_uid=OTHER, at=at(1)),
        verdict(study_instance_uid=STUDY, at=at(2)),
    )
    with known.reading() as uow:
        assert uow.verdicts.newest(since=at(2)) == (new,)
        assert uow.verdicts.newest(since=at(1)) == (old, new)
        assert uow.verdicts.newest(since=at(3)) == ()


def test_a_verdict_on_a_study_that_is_not_there_is_refused(known: Any) -> None:
    with pytest.raises(StorageConflict):
        added(known, verdict(study_instance_uid="9.9"))
