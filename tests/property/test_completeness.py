from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.completeness import ClosePolicy, Complete, Wait, assess
from dicom_node.core.transitions import StudyEvent
from tests.unit.core.builders import T0, intake

seconds = st.integers(0, 5000)
policies = st.builds(ClosePolicy, quiet_period_s=st.integers(1, 600), hard_limit_s=st.integers(1, 4000))


@st.composite
def studies(draw):
    first, gap = draw(seconds), draw(seconds)
    return intake(
        first_received_at=T0 + timedelta(seconds=first),
        last_received_at=T0 + timedelta(seconds=first + gap),
        open_associations=tuple(draw(st.lists(st.sampled_from("abc"), unique=True))),
        instance_count=draw(st.integers(1, 9)),
    )


@given(studies(), policies, seconds)
def test_an_open_association_keeps_a_study_open_until_the_hard_limit(study, policy, later):
    now = study.last_received_at + timedelta(seconds=later)
    verdict = assess(study, now, policy)
    if study.open_associations and isinstance(verdict, Complete):
        assert verdict.event is StudyEvent.HARD_LIMIT_REACHED
        assert (now - study.first_received_at).total_seconds() >= policy.hard_limit_s


@given(studies(), policies, seconds)
def test_a_wait_ends_in_the_future_and_looking_again_then_changes_it(study, policy, later):
    now = study.last_received_at + timedelta(seconds=later)
    verdict = assess(study, now, policy)
    if isinstance(verdict, Wait):
        assert verdict.until > now
        assert isinstance(assess(study, verdict.until, policy), Complete)


@given(studies(), policies, seconds)
def test_every_study_closes_at_the_hard_limit_at_the_latest(study, policy, later):
    end = study.first_received_at + timedelta(seconds=policy.hard_limit_s + later)
    assert isinstance(assess(study, end, policy), Complete)


@given(studies(), policies, seconds, seconds)
def test_once_complete_it_stays_complete_while_nothing_arrives(study, policy, later, more):
    now = study.last_received_at + timedelta(seconds=later)
    if isinstance(assess(study, now, policy), Complete):
        assert isinstance(assess(study, now + timedelta(seconds=more), policy), Complete)


@given(studies(), policies, seconds)
def test_another_image_never_makes_a_study_complete_sooner(study, policy, later):
    now = study.last_received_at + timedelta(seconds=later)
    before = assess(study, now, policy)
    after = assess(intake(**{**vars(study), "last_received_at": now}), now, policy)
    if isinstance(after, Complete):
        assert isinstance(before, Complete)
        assert after.event is StudyEvent.HARD_LIMIT_REACHED
