from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.retry import GiveUp, RetryAt, RetryPolicy, next_attempt
from tests.unit.core.builders import T0

policies = st.builds(
    RetryPolicy,
    base_s=st.floats(0.1, 100),
    factor=st.floats(1, 10),
    cap_s=st.integers(1, 10_000),
    jitter=st.floats(0, 1),
    max_attempts=st.integers(1, 2_000),
)
attempts = st.integers(1, 2_000)
randomness = st.floats(0, 1, exclude_max=True)


@given(policies, attempts, randomness)
def test_a_wait_is_never_negative_and_never_longer_than_the_cap(policy, attempt, random):
    verdict = next_attempt(attempt, T0, policy, random)
    if isinstance(verdict, RetryAt):
        assert 0 <= (verdict.at - T0).total_seconds() <= policy.cap_s


@given(policies, attempts, randomness)
def test_waits_never_get_shorter_while_attempts_are_left(policy, attempt, random):
    now, then = (next_attempt(n, T0, policy, random) for n in (attempt, attempt + 1))
    if isinstance(now, RetryAt) and isinstance(then, RetryAt):
        assert then.at >= now.at


@given(policies, attempts, randomness)
def test_giving_up_depends_on_the_number_of_attempts_alone(policy, attempt, random):
    verdict = next_attempt(attempt, T0, policy, random)
    assert isinstance(verdict, GiveUp) == (attempt >= policy.max_attempts)
