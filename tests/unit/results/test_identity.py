"""UIDs of result objects: the same for the same input, never shared between different ones."""

import dataclasses

import pytest

from dicom_node.core.finding import AnalysisResult, BundleIdentity, Outcome, ResultKind, SelectionRecord
from dicom_node.core.identifiers import is_standard_uid
from dicom_node.results.identity import ObjectIdentity, identify

RESULT = AnalysisResult(
    study_instance_uid="1.2.3",
    outcome=Outcome.ANALYSED,
    reason=None,
    selection=SelectionRecord(chosen="1.2.3.4"),
    bundle=BundleIdentity(name="b", version="1", sha256="00"),
    device="cpu",
)


def uids(identity: ObjectIdentity) -> list[str]:
    return [
        identity.series_instance_uid,
        identity.sop_instance_uid,
        identity.dimension_organization_uid,
        *identity.tracking.values(),
    ]


def test_the_same_study_revision_and_bundle_give_the_same_uids():
    assert identify(ResultKind.SR, RESULT, revision=2) == identify(ResultKind.SR, RESULT, revision=2)


@pytest.mark.parametrize(
    ("other", "revision"),
    [
        (RESULT, 2),
        (dataclasses.replace(RESULT, study_instance_uid="1.2.4"), 1),
        (dataclasses.replace(RESULT, bundle=dataclasses.replace(RESULT.bundle, sha256="01")), 1),
        (dataclasses.replace(RESULT, bundle=dataclasses.replace(RESULT.bundle, levels_named_by="Other 2")), 1),
    ],
)
def test_another_study_revision_or_bundle_shares_no_uid(other, revision):
    first = uids(identify(ResultKind.SEG, RESULT, revision=1))
    assert not set(first) & set(uids(identify(ResultKind.SEG, other, revision=revision)))


def test_sr_and_seg_differ_as_objects_and_agree_on_what_they_track():
    sr, seg = (identify(kind, RESULT, revision=1) for kind in (ResultKind.SR, ResultKind.SEG))
    assert sr.sop_instance_uid != seg.sop_instance_uid
    assert sr.series_instance_uid != seg.series_instance_uid
    assert sr.series_number != seg.series_number
    assert sr.tracking == seg.tracking


def test_every_uid_obeys_the_standard_and_stands_for_one_thing():
    made = uids(identify(ResultKind.SEG, RESULT, revision=1))
    assert all(is_standard_uid(uid) for uid in made)
    assert len(set(made)) == len(made)


def test_every_kind_is_a_series_of_its_own_and_no_revision_reaches_into_the_next():
    numbers = [identify(kind, RESULT, revision=n).series_number for n in (1, 2) for kind in ResultKind]
    series = {identify(kind, RESULT, revision=1).series_instance_uid for kind in ResultKind}
    assert len(set(numbers)) == len(numbers)
    assert len(series) == len(ResultKind)


def test_the_instances_of_a_series_share_it_and_are_apart_otherwise():
    first, second = (identify(ResultKind.SC, RESULT, revision=1, instance=n) for n in (1, 2))
    assert first.series_instance_uid == second.series_instance_uid
    assert first.sop_instance_uid != second.sop_instance_uid
    assert (first.instance_number, second.instance_number) == (1, 2)
