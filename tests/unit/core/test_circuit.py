from datetime import time, timedelta

import pytest

from dicom_node.core.circuit import Circuit, Failure, after_failure
from dicom_node.core.delivery import Channel
from dicom_node.core.delivery_terms import CircuitPolicy, DeliveryTerms, OwnTerms
from dicom_node.core.hours import ALWAYS, parse_hours
from dicom_node.core.retry import RetryPolicy
from tests.unit.core.builders import T0

POLICY = CircuitPolicy(failures=3, open_s=30.0, open_maximum_s=100.0)
RETRY = RetryPolicy(base_s=5.0, factor=2.0, cap_s=900.0, jitter=0.5)


def failing(times: int, randomness: float = 0.0) -> Circuit:
    circuit = None
    for _ in range(times):
        failure = Failure(channel=Channel.OBJECTS, peer="pacs", at=T0, why="no answer")
        circuit = after_failure(circuit, failure, policy=POLICY, retry=RETRY, randomness=randomness)
    assert circuit is not None
    return circuit


@pytest.mark.parametrize(
    ("failures", "is_open", "wait_s"),
    [(1, False, 5), (2, False, 10), (3, True, 30), (4, True, 60), (5, True, 100), (500, True, 100)],
)
def test_a_circuit_opens_after_a_few_failures_and_for_longer_each_time(failures, is_open, wait_s):
    circuit = failing(failures)
    assert (circuit.is_open, circuit.probe_at) == (is_open, T0 + timedelta(seconds=wait_s))
    assert circuit.holds(T0)
    assert not circuit.holds(circuit.probe_at)


def test_jitter_keeps_two_nodes_from_probing_together():
    assert failing(3, randomness=0.5).probe_at == T0 + timedelta(seconds=22.5)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("22:00-06:00", [time(22), time(23, 59), time(0), time(5, 59)], [time(6), time(12), time(21, 59)]),
        ("08:30-17:00", [time(8, 30), time(16, 59)], [time(8, 29), time(17), time(0)]),
        ("", [time(0), time(12), time(23, 59)], []),
        ("07:00-07:00", [time(0), time(7), time(23, 59)], []),
    ],
)
def test_hours_may_span_midnight(text, inside, outside):
    hours = parse_hours(text)
    assert all(hours.includes(moment) for moment in inside)
    assert not any(hours.includes(moment) for moment in outside)


@pytest.mark.parametrize("text", ["22-06", "24:00-06:00", "22:00", "always", "22:00-06:60", "22:00 - 06:00"])
def test_hours_that_are_written_otherwise_are_refused(text):
    with pytest.raises(ValueError, match="22:00-06:00"):
        parse_hours(text)


def test_hours_are_shown_as_they_are_written():
    assert str(parse_hours("22:00-06:00")) == "22:00-06:00"


def test_a_peer_without_terms_of_its_own_has_those_of_all_others():
    general = DeliveryTerms(retry=RetryPolicy(max_attempts=9), give_up_after_s=5.0)
    assert OwnTerms().over(general) == general
    own = OwnTerms(attempts=2, storage_commitment=True, commitment_timeout_s=7.0, hours=ALWAYS).over(general)
    assert (own.retry.max_attempts, own.commitment.wanted, own.commitment.timeout_s) == (2, True, 7.0)
    assert own.give_up_after_s == 5.0
