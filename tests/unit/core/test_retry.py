from datetime import timedelta

import pytest

from dicom_node.core.retry import GiveUp, RetryAt, RetryPolicy, next_attempt
from tests.unit.core.builders import T0

POLICY = RetryPolicy(base_s=5.0, factor=2.0, cap_s=60.0, jitter=0.2, max_attempts=8)


@pytest.mark.parametrize(("attempt", "delay_s"), [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (5, 60.0), (7, 60.0)])
def test_the_delay_doubles_up_to_the_cap(attempt, delay_s):
    assert next_attempt(attempt, T0, POLICY, 0.0) == RetryAt(at=T0 + timedelta(seconds=delay_s))


def test_jitter_shortens_the_delay():
    assert next_attempt(1, T0, POLICY, 0.5) == RetryAt(at=T0 + timedelta(seconds=4.5))


def test_the_last_attempt_is_followed_by_giving_up():
    assert next_attempt(8, T0, POLICY, 0.0) == GiveUp(why="gave up after 8 attempts")


def test_a_thousand_failures_do_not_overflow():
    endless = RetryPolicy(cap_s=600.0, max_attempts=10_000)
    assert next_attempt(5_000, T0, endless, 0.0) == RetryAt(at=T0 + timedelta(seconds=600))
