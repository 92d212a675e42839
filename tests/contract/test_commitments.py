"""Receivers that cannot be reached, and storage commitment: the same on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dicom_node.core.circuit import Circuit
from dicom_node.core.commitment import CommitmentDuty, CommitmentReport, CommitmentRequest, Reference
from dicom_node.core.delivery import Channel, DeliveryState
from dicom_node.core.errors import StorageConflict
from tests.contract.rows import at
from tests.contract.test_deliveries import claimed, pending, stored, updated

DOWN = Circuit(
    channel=Channel.OBJECTS, peer="pacs", failures=2, failing_since=at(0), probe_at=at(9), is_open=False, why="silent"
)
DUTY = CommitmentDuty(
    id=0,
    transaction_uid="2.25.7",
    calling_aet="CT_SCANNER",
    peer="scanner",
    references=(Reference(sop_class_uid="1.2", sop_instance_uid="1.2.3"),),
    asked_at=at(0),
    next_attempt_at=at(5),
)


def test_a_circuit_is_kept_changed_and_forgotten(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.circuits.save(DOWN)
        uow.circuits.save(replace(DOWN, failures=3, is_open=True))
        uow.circuits.save(replace(DOWN, channel=Channel.HL7))
        uow.commit()
    with database.unit_of_work() as uow:
        assert [(each.channel, each.failures) for each in uow.circuits.all()] == [
            (Channel.HL7, 2),
            (Channel.OBJECTS, 3),
        ]
        assert uow.circuits.get(Channel.OBJECTS, "pacs") == replace(DOWN, failures=3, is_open=True)
        assert uow.circuits.forget(Channel.OBJECTS, "pacs") is True
        assert uow.circuits.forget(Channel.OBJECTS, "pacs") is False
        uow.commit()
    with database.reading() as uow:
        assert uow.circuits.get(Channel.OBJECTS, "pacs") is None


def test_what_is_urgent_is_claimed_before_what_is_older(database: Any) -> None:
    older = pending(database, "a", seconds=0)
    urgent = pending(database, "b", seconds=5, is_urgent=True)
    more_urgent = pending(database, "c", seconds=4, is_urgent=True)
    assert stored(database, urgent.id).is_urgent
    assert [claimed(database).id for _ in range(3)] == [more_urgent.id, urgent.id, older.id]  # type: ignore[union-attr]


def test_out_of_its_hours_a_receiver_is_given_only_what_is_urgent(database: Any) -> None:
    pending(database, "a")
    urgent = pending(database, "a", seconds=5, revision=2, is_urgent=True)
    with database.unit_of_work() as uow:
        taken = uow.deliveries.claim(owner="n", now=at(1), lease_until=at(60), only_urgent=("a",))
        assert taken is not None
        assert taken.id == urgent.id
        assert uow.deliveries.claim(owner="n", now=at(1), lease_until=at(60), only_urgent=("a",)) is None


def test_a_delivery_that_awaits_its_commitment_is_found_when_the_time_is_over(database: Any) -> None:
    pending(database)
    held = claimed(database)
    assert held is not None
    waits = replace(held, state=DeliveryState.COMMIT_WAIT, lease=None, next_attempt_at=at(100))
    assert updated(database, waits, held)
    with database.reading() as uow:
        assert uow.deliveries.uncommitted(at(99)) == ()
        assert [each.id for each in uow.deliveries.uncommitted(at(100))] == [held.id]
        assert uow.deliveries.due(at(200)) == ()


def test_failed_and_waiting_deliveries_are_told_apart_by_receiver(database: Any) -> None:
    pending(database, "a")
    held = claimed(database)
    assert held is not None
    assert updated(database, replace(held, state=DeliveryState.FAILED, lease=None), held)
    pending(database, "a", revision=2)
    pending(database, "b")
    with database.reading() as uow:
        assert [each.id for each in uow.deliveries.failed("a")] == [held.id]
        assert uow.deliveries.failed("b") == ()
        assert uow.deliveries.waiting() == {(Channel.OBJECTS, "a"): 1, (Channel.OBJECTS, "b"): 1}


def test_a_request_keeps_what_the_peer_reported_also_in_two_parts(database: Any) -> None:
    delivery = pending(database)
    request = CommitmentRequest(transaction_uid="2.25.1", delivery_id=delivery.id, asked_at=at(3))
    with database.unit_of_work() as uow:
        uow.commitments.ask(request)
        uow.commitments.ask(replace(request, transaction_uid="2.25.2", asked_at=at(4)))
        uow.commit()
    for report in (
        CommitmentReport(transaction_uid="2.25.1", committed=("1.1",)),
        CommitmentReport(transaction_uid="2.25.1", committed=("1.1", "1.2"), failed=(("1.3", 0x0112),)),
        CommitmentReport(transaction_uid="2.25.9", committed=("1.9",)),
    ):
        with database.unit_of_work() as uow:
            uow.commitments.report(report, at=at(8))
            uow.commit()
    with database.reading() as uow:
        first, second = uow.commitments.requests_of(delivery.id)
        assert (first.committed, first.failed, first.reported_at) == (("1.1", "1.2"), (("1.3", 0x0112),), at(8))
        assert second == replace(request, transaction_uid="2.25.2", asked_at=at(4))
        assert uow.commitments.request("2.25.9") is None


def test_two_requests_with_one_transaction_uid_are_a_conflict(database: Any) -> None:
    delivery = pending(database)
    request = CommitmentRequest(transaction_uid="2.25.1", delivery_id=delivery.id, asked_at=at(3))
    with database.unit_of_work() as uow:
        uow.commitments.ask(request)
        uow.commit()
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.commitments.ask(request)


def test_a_duty_is_due_until_it_is_finished_and_begins_anew_when_asked_again(database: Any) -> None:
    with database.unit_of_work() as uow:
        duty = uow.commitments.take_on(DUTY)
        uow.commit()
    assert duty.references == DUTY.references
    with database.unit_of_work() as uow:
        assert uow.commitments.duties_due(at(4)) == ()
        assert uow.commitments.duties_due(at(5)) == (duty,)
        uow.commitments.save_duty(replace(duty, attempt=1, finished_at=at(6), next_attempt_at=None, outcome="told"))
        uow.commit()
    with database.unit_of_work() as uow:
        assert uow.commitments.duties_due(at(100)) == ()
        assert uow.commitments.open_duties() == ()
        again = uow.commitments.take_on(replace(DUTY, asked_at=at(50), next_attempt_at=at(51)))
        assert uow.commitments.take_on(replace(DUTY, peer="other")).id != again.id
        uow.commit()
    with database.reading() as uow:
        assert again.id == duty.id
        assert again in uow.commitments.duties_due(at(60))
        assert len(uow.commitments.open_duties()) == 2
        assert [each.peer for each in uow.commitments.duties()] == ["scanner", "other"]
