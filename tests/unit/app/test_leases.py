import threading
from datetime import timedelta

import pytest

from dicom_node.app.leases import Heartbeat, failures_so_far
from dicom_node.app.moves import note
from dicom_node.core.errors import StorageUnavailable
from tests.unit.app.node import STUDY, T0, FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def heart(clock, extend):
    return Heartbeat(extend, clock=clock, lease_s=60.0, until=T0 + timedelta(seconds=60), name="test")


def test_a_beat_asks_for_a_full_lease_from_now(clock):
    asked = []
    beats = heart(clock, lambda until: asked.append(until) or True)
    clock.advance(20)
    beats.beat()
    assert asked == [T0 + timedelta(seconds=80)]
    assert not beats.is_lost


def test_a_refused_beat_means_that_the_lease_is_lost(clock):
    beats = heart(clock, lambda until: False)
    beats.beat()
    assert beats.is_lost


def test_a_database_that_is_away_costs_the_lease_only_once_it_has_run_out(clock):
    def fails(until):
        raise StorageUnavailable("locked")

    beats = heart(clock, fails)
    clock.advance(59)
    beats.beat()
    assert not beats.is_lost
    clock.advance(1)
    beats.beat()
    assert beats.is_lost


def test_the_thread_beats_by_itself_and_ends_with_the_block(clock):
    beaten = threading.Event()
    beats = Heartbeat(
        lambda until: beaten.set() or True,
        clock=clock,
        lease_s=0.03,
        until=T0 + timedelta(seconds=60),
        name="test",
    )
    with beats:
        assert beaten.wait(5)
    assert not beats._thread.is_alive()


def test_failures_are_counted_since_the_last_retry_by_an_operator(node):
    with node.uow() as uow:
        for event in ("transient_error", "transient_error", "operator_retried", "leased", "transient_error"):
            note(
                uow,
                "job:1",
                event,
                at=T0,
                from_state="",
                to_state="",
                reason="",
                actor="node",
                study_instance_uid=STUDY,
            )
        assert failures_so_far(uow, "job:1", STUDY, "transient_error") == 1
        assert failures_so_far(uow, "job:2", STUDY, "transient_error") == 0
