"""Deliveries: as jobs, with objects, answers and busy peers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from dicom_node.core.delivery import Channel, Delivery, DeliveryState, ObjectStatus
from dicom_node.core.errors import StorageConflict
from dicom_node.core.finding import ResultKind
from dicom_node.core.job import Lease
from dicom_node.core.shipment import Substitution
from tests.contract.rows import STUDY, at, result_objects

OBJECTS = result_objects()
SEG_STORED = ObjectStatus(sop_instance_uid=OBJECTS[0].sop_instance_uid, status=0x0000, answered_at=at(10))
SR_STORED = ObjectStatus(sop_instance_uid=OBJECTS[1].sop_instance_uid, status=0xB000, answered_at=at(11))
SR_REFUSED = ObjectStatus(sop_instance_uid=OBJECTS[1].sop_instance_uid, status=0xA700, answered_at=at(5))


def pending(database: Any, peer: str = "pacs", *, seconds: float = 0, revision: int = 1, **changes: Any) -> Delivery:
    with database.unit_of_work() as uow:
        jobs = {job.revision: job for job in uow.jobs.of_study(STUDY)}
        job = jobs.get(revision) or uow.jobs.add(study_instance_uid=STUDY, revision=revision, created_at=at(0))
        given = {"job_id": job.id, "study_instance_uid": STUDY, "revision": revision, "objects": OBJECTS}
        delivery = uow.deliveries.add(**given | changes, peer=peer, created_at=at(seconds))
        uow.commit()
    return delivery


def claimed(
    database: Any, *, owner: str = "node-1/a", until: float = 60, busy: tuple[str, ...] = ()
) -> Delivery | None:
    with database.unit_of_work() as uow:
        delivery = uow.deliveries.claim(owner=owner, now=at(1), lease_until=at(until), busy_peers=busy)
        uow.commit()
    return delivery


def test_the_list_is_narrowed_by_state_and_receiver_newest_first_and_counted(database: Any) -> None:
    first, second = pending(database, seconds=1), pending(database, "viewer", seconds=2)
    third = pending(database, seconds=3, revision=2)
    taken = claimed(database)
    assert taken is not None
    assert taken.id == first.id
    with database.reading() as uow:
        listed = uow.deliveries.list
        assert [each.id for each in listed()] == [third.id, second.id, first.id]
        assert [each.id for each in listed(peer="pacs")] == [third.id, first.id]
        assert [each.id for each in listed(states=[DeliveryState.PENDING])] == [third.id, second.id]
        assert [each.id for each in listed(states=[DeliveryState.PENDING], peer="pacs")] == [third.id]
        assert [each.id for each in listed(peer="pacs", limit=1, offset=1)] == [first.id]
        assert listed(states=[DeliveryState.STORED]) == ()
        assert listed(peer="nobody") == ()
        assert uow.deliveries.counted() == {
            ("pacs", DeliveryState.SENDING): 1,
            ("pacs", DeliveryState.PENDING): 1,
            ("viewer", DeliveryState.PENDING): 1,
        }


def updated(database: Any, delivery: Delivery, expected: Delivery) -> bool:
    with database.unit_of_work() as uow:
        won = uow.deliveries.update(delivery, expected=expected)
        uow.commit()
    return bool(won)


def stored(database: Any, delivery_id: int) -> Delivery:
    with database.reading() as uow:
        delivery = uow.deliveries.get(delivery_id)
    assert delivery is not None
    return delivery


def record(database: Any, delivery: Delivery, *answers: ObjectStatus) -> None:
    with database.unit_of_work() as uow:
        for answer in answers:
            uow.deliveries.record_answer(delivery.id, answer)


def test_a_new_delivery_is_pending_and_comes_back_with_its_objects_in_order(database: Any) -> None:
    delivery = pending(database)
    assert (delivery.state, delivery.attempt, delivery.objects) == (DeliveryState.PENDING, 0, OBJECTS)
    assert stored(database, delivery.id) == delivery


def test_an_unknown_delivery_is_none(database: Any) -> None:
    with database.reading() as uow:
        assert uow.deliveries.get(12345) is None
        assert uow.deliveries.of_study(STUDY) == ()
        assert uow.deliveries.list() == ()


def test_a_job_has_one_delivery_to_a_peer(database: Any) -> None:
    pending(database, "pacs")
    with pytest.raises(StorageConflict):
        pending(database, "pacs")
    pending(database, "archive")


def test_a_delivery_needs_its_job(database: Any) -> None:
    with pytest.raises(StorageConflict):
        pending(database, job_id=4711)


def test_deliveries_of_a_study_come_oldest_revision_first(database: Any) -> None:
    second, first = pending(database, revision=2), pending(database, revision=1)
    also_first = pending(database, "archive", revision=1)
    with database.reading() as uow:
        assert uow.deliveries.of_study(STUDY) == (first, also_first, second)
        assert uow.deliveries.of_study("1.2.9") == ()


def test_deliveries_are_listed_newest_first_with_pages(database: Any) -> None:
    made = [pending(database, f"peer-{seconds}", seconds=seconds) for seconds in (3, 9, 6)]
    with database.reading() as uow:
        assert uow.deliveries.list() == (made[1], made[2], made[0])
        assert uow.deliveries.list(limit=1, offset=1) == (made[2],)


def test_a_claim_takes_the_oldest_delivery(database: Any) -> None:
    pending(database, "late", seconds=9)
    oldest = pending(database, "early", seconds=1)
    delivery = claimed(database)
    assert delivery == replace(
        oldest, state=DeliveryState.SENDING, attempt=1, lease=Lease(owner="node-1/a", expires_at=at(60))
    )
    assert stored(database, oldest.id) == delivery


def test_a_claim_leaves_busy_peers_alone(database: Any) -> None:
    pending(database, "pacs", seconds=1)
    archive = pending(database, "archive", seconds=2)
    assert claimed(database, busy=("pacs", "archive")) is None
    delivery = claimed(database, busy=("pacs",))
    assert delivery is not None
    assert delivery.id == archive.id


def test_of_many_claims_of_one_delivery_exactly_one_wins(database: Any) -> None:
    pending(database)
    ready = threading.Barrier(4)

    def race(number: int) -> Delivery | None:
        ready.wait()
        return claimed(database, owner=f"node-1/{number}")

    with ThreadPoolExecutor(4) as threads:
        winners = [delivery for delivery in threads.map(race, range(4)) if delivery is not None]
    assert len(winners) == 1


def test_the_owner_extends_its_lease_and_nobody_else(database: Any) -> None:
    pending(database)
    delivery = claimed(database, owner="node-1/a")
    assert delivery is not None
    with database.unit_of_work() as uow:
        assert uow.deliveries.extend_lease(delivery.id, owner="node-1/a", until=at(120))
        assert not uow.deliveries.extend_lease(delivery.id, owner="node-1/b", until=at(500))
        uow.commit()
    assert stored(database, delivery.id) == replace(delivery, lease=Lease(owner="node-1/a", expires_at=at(120)))


def test_an_answer_is_durable_without_a_commit(database: Any) -> None:
    delivery = pending(database)
    record(database, delivery, SEG_STORED)
    assert stored(database, delivery.id).statuses == (SEG_STORED,)


def test_answers_come_in_the_order_of_the_objects_and_the_last_one_counts(database: Any) -> None:
    delivery = pending(database)
    record(database, delivery, SR_REFUSED, SEG_STORED, SR_STORED)
    assert stored(database, delivery.id).statuses == (SEG_STORED, SR_STORED)


def test_an_answer_to_an_unknown_delivery_is_a_conflict(database: Any) -> None:
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.deliveries.record_answer(4711, SEG_STORED)


def test_a_claim_brings_the_answers_of_earlier_attempts(database: Any) -> None:
    delivery = pending(database)
    record(database, delivery, SEG_STORED)
    again = claimed(database)
    assert again is not None
    assert again.statuses == (SEG_STORED,)


def test_a_worker_with_the_delivery_as_it_claimed_it_does_not_wipe_the_answers(database: Any) -> None:
    pending(database)
    delivery = claimed(database)
    assert delivery is not None
    record(database, delivery, SEG_STORED)
    waiting = replace(delivery, state=DeliveryState.RETRY_WAIT, lease=None, failure="the peer hung up")
    assert updated(database, waiting, delivery)
    assert stored(database, delivery.id) == replace(waiting, statuses=(SEG_STORED,))


def test_an_update_that_changes_the_answers_writes_them(database: Any) -> None:
    delivery = pending(database)
    record(database, delivery, SEG_STORED, SR_REFUSED)
    answered = stored(database, delivery.id)
    assert updated(database, replace(answered, statuses=(SR_STORED,)), answered)
    assert stored(database, delivery.id).statuses == (SR_STORED,)
    answered = stored(database, delivery.id)
    assert updated(database, replace(answered, statuses=()), answered)
    assert stored(database, delivery.id).statuses == ()


def test_an_update_writes_everything_that_changes_in_a_deliverys_life(database: Any) -> None:
    pending(database)
    delivery = claimed(database)
    assert delivery is not None
    done = replace(
        delivery,
        state=DeliveryState.FAILED,
        lease=None,
        failure="refused",
        next_attempt_at=at(30),
        finished_at=at(20),
        attempt=4,
    )
    assert updated(database, done, delivery)
    assert stored(database, delivery.id) == done


@pytest.mark.parametrize(
    "meanwhile",
    [{"state": DeliveryState.CANCELLED}, {"attempt": 2}, {"lease": None}],
    ids=lambda each: next(iter(each)),
)
def test_an_update_of_a_delivery_that_changed_meanwhile_is_lost(database: Any, meanwhile: dict[str, Any]) -> None:
    pending(database)
    delivery = claimed(database)
    assert delivery is not None
    changed = replace(delivery, **meanwhile)
    assert updated(database, changed, delivery)
    stale = replace(delivery, state=DeliveryState.STORED, statuses=(SEG_STORED, SR_STORED))
    assert not updated(database, stale, delivery)
    assert stored(database, delivery.id) == changed


def test_deliveries_are_due_expire_and_are_found_by_a_new_life(database: Any) -> None:
    waiting, running = pending(database, "a", seconds=1), pending(database, "b", seconds=2)
    retry = replace(waiting, state=DeliveryState.RETRY_WAIT, next_attempt_at=at(30))
    assert updated(database, retry, waiting)
    sending = claimed(database, owner="node-1/old", until=60)
    assert sending is not None
    assert sending.id == running.id
    with database.reading() as uow:
        assert uow.deliveries.due(at(29)) == ()
        assert uow.deliveries.due(at(30)) == (retry,)
        assert uow.deliveries.expired(at(59)) == ()
        assert uow.deliveries.expired(at(60)) == (sending,)
        assert uow.deliveries.leased_by_others("node-1/new", owner_prefix="node-1/") == (sending,)
        assert uow.deliveries.leased_by_others("node-1/old", owner_prefix="node-1/") == ()
        assert uow.deliveries.leased_by_others("node-2/x", owner_prefix="node-2/") == ()


def test_what_was_sent_instead_of_what_comes_back_in_order_and_is_replaced_as_a_whole(database: Any) -> None:
    delivery = pending(database)
    first = (
        Substitution(wanted=ResultKind.SR, sent=ResultKind.SR_COMPREHENSIVE, why="the peer does not take it"),
        Substitution(wanted=ResultKind.KOS, sent=None, why="the peer does not take it"),
    )
    for substitutions in (first, first[1:], ()):
        with database.unit_of_work() as uow:
            uow.deliveries.record_substitutions(delivery.id, substitutions)
            uow.commit()
        assert stored(database, delivery.id).substitutions == substitutions


def test_a_worker_that_holds_the_delivery_as_it_was_does_not_wipe_the_choice(database: Any) -> None:
    pending(database)
    held = claimed(database)
    assert held is not None
    choice = (Substitution(wanted=ResultKind.KOS, sent=None, why="the peer does not take it"),)
    with database.unit_of_work() as uow:
        uow.deliveries.record_substitutions(held.id, choice)
        uow.commit()
    assert updated(database, replace(held, state=DeliveryState.STORED, lease=None), held)
    assert stored(database, held.id).substitutions == choice


def test_a_job_has_one_delivery_to_a_peer_on_a_channel_in_a_round(database: Any) -> None:
    pending(database, "hl7")
    told = pending(database, "hl7", channel=Channel.HL7, objects=())
    again = pending(database, "hl7", round=2, route="emergency")
    assert (stored(database, told.id).channel, stored(database, told.id).objects) == (Channel.HL7, ())
    assert (stored(database, again.id).round, stored(database, again.id).route) == (2, "emergency")
    with pytest.raises(StorageConflict):
        pending(database, "hl7", round=2)


def test_a_claim_takes_only_its_channels(database: Any) -> None:
    pending(database, "hl7", channel=Channel.HL7, objects=())
    objects = pending(database, "pacs", seconds=1)
    with database.unit_of_work() as uow:
        taken = uow.deliveries.claim(owner="a", now=at(2), lease_until=at(60), channels=(Channel.OBJECTS,))
        assert taken is not None
        assert taken.id == objects.id
        assert uow.deliveries.claim(owner="a", now=at(2), lease_until=at(60), channels=(Channel.OBJECTS,)) is None
        assert uow.deliveries.claim(owner="a", now=at(2), lease_until=at(60), channels=()) is None
