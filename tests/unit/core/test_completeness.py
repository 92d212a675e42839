from datetime import timedelta

from dicom_node.core.completeness import ClosePolicy, Complete, Wait, assess
from dicom_node.core.transitions import StudyEvent
from tests.unit.core.builders import T0, intake

POLICY = ClosePolicy(quiet_period_s=30.0, hard_limit_s=1800.0)


def after(seconds: float):
    return T0 + timedelta(seconds=seconds)


def test_a_study_waits_until_the_quiet_period_after_its_last_image_has_passed():
    study = intake(last_received_at=after(10))
    assert assess(study, after(39.9), POLICY) == Wait(
        until=after(40), why="the last image came 30 s ago, the quiet period is 30 s"
    )
    verdict = assess(study, after(40), POLICY)
    assert isinstance(verdict, Complete)
    assert verdict.event is StudyEvent.QUIET_ELAPSED
    assert "30 s" in verdict.why


def test_an_open_association_that_carries_the_study_blocks_the_quiet_period():
    study = intake(open_associations=("a", "b"))
    assert assess(study, after(1799), POLICY) == Wait(until=after(1800), why="2 open associations carry the study")


def test_the_hard_limit_closes_despite_an_open_association():
    verdict = assess(intake(open_associations=("a",), last_received_at=after(1800)), after(1800), POLICY)
    assert isinstance(verdict, Complete)
    assert verdict.event is StudyEvent.HARD_LIMIT_REACHED


def test_the_wait_ends_at_the_hard_limit_where_that_comes_first():
    verdict = assess(intake(last_received_at=after(1790)), after(1795), POLICY)
    assert isinstance(verdict, Wait)
    assert verdict.until == after(1800)


def test_a_clock_that_jumped_back_waits_and_tells_no_negative_age():
    verdict = assess(intake(last_received_at=after(100)), after(0), POLICY)
    assert isinstance(verdict, Wait)
    assert verdict.until == after(130)
    assert "0 s ago" in verdict.why


def test_time_while_the_node_was_down_is_not_quiet_time():
    policy = ClosePolicy(quiet_period_s=30.0, hard_limit_s=1800.0, up_since=after(500))
    study = intake(last_received_at=after(10))
    verdict = assess(study, after(529), policy)
    assert isinstance(verdict, Wait)
    assert verdict.until == after(530)
    assert isinstance(assess(study, after(530), policy), Complete)


def test_a_restart_does_not_move_the_hard_limit():
    policy = ClosePolicy(quiet_period_s=30.0, hard_limit_s=1800.0, up_since=after(1795))
    assert isinstance(assess(intake(last_received_at=after(10)), after(1800), policy), Complete)
