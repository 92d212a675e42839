"""One attempt at giving a peer its objects: what it does not hold yet is sent, and the choice is written down first.

The choice of kinds is durable before the first object goes out, and every answer before the next one does. So a kill
re-sends at most the object whose answer was lost, with the same UID, and a later attempt keeps to the choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from dicom_node.app.commitments import without_unkept
from dicom_node.app.deliver_results import Carried
from dicom_node.app.moves import NODE, note
from dicom_node.core.commitment import CommitmentRequest, Reference, uncommitted
from dicom_node.core.delivery import Delivery, ObjectStatus
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.errors import PeerBusy, PeerRefused, PeerUnreachable, SopClassNotAccepted
from dicom_node.core.finding import ResultObject
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.peer import Peer
from dicom_node.core.routing import why_not_deliverable
from dicom_node.core.shipment import Plan
from dicom_node.core.store_status import Answer, meaning
from dicom_node.ports import Clock, PeerDirectory, ResultSender, StorageCommitter, UnitOfWorkFactory


class ObjectCarrier:
    """`deliver_results.Carrier` for deliveries of objects."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        sender: ResultSender,
        peers: PeerDirectory,
        clock: Clock,
        committer: StorageCommitter,
        terms: DeliveryTerms,
    ) -> None:
        """`committer` asks the peers that are to commit; `terms` are those of every peer that has none of its own."""
        self._committer = committer
        self._terms = terms
        self._uow = uow_factory
        self._sender = sender
        self._peers = peers
        self._clock = clock

    def carry(self, delivery: Delivery, answers: list[ObjectStatus]) -> Carried:
        """The peer holds what it takes, and was asked to commit where it is to. Answers are appended as they come.

        Raises what `ports.ResultSender` raises, PeerRefused and PeerUnreachable for a peer that is gone or disabled.
        """
        peer = self._usable_peer(delivery)
        if not peer.delivery.storage_commitment:
            return Carried(what=self._send(peer, delivery, answers))
        with self._uow() as uow:
            requests = uow.commitments.requests_of(delivery.id)
        what = self._send(peer, without_unkept(delivery, requests), answers)
        return self._ask_to_commit(peer, delivery, what)

    def _send(self, peer: Peer, delivery: Delivery, answers: list[ObjectStatus]) -> str:
        plan = self._expected(delivery, peer)
        if all(entry.sop_instance_uid in _stored(delivery) for entry in plan.objects):
            return _holds(peer, plan)
        plans = [plan]
        recorded = delivery.substitutions

        def on_plan(latest: Plan) -> None:
            nonlocal recorded
            plans.append(latest)
            if latest.substitutions != recorded:
                self._record(delivery, latest)
                recorded = latest.substitutions

        def on_answer(status: ObjectStatus) -> None:
            # Kept before it is written: where writing fails now, the end of this step may still write it.
            answers.append(status)
            with self._uow() as uow:
                uow.deliveries.record_answer(delivery.id, status)
                uow.commit()

        self._sender.send(peer, delivery.shipment(peer.objects), on_plan=on_plan, on_answer=on_answer)
        missing = (entry for entry in plans[-1].objects if entry.sop_instance_uid not in _stored(delivery))
        raise_for_answers(peer, missing, answers)
        return _holds(peer, plans[-1])

    def _ask_to_commit(self, peer: Peer, delivery: Delivery, what: str) -> Carried:
        """The request is a row before it goes out: the report may be here before the answer to it."""
        now = self._clock.now()
        by = now + timedelta(seconds=peer.delivery.over(self._terms).commitment.timeout_s)
        with self._uow() as uow:
            row = uow.deliveries.get(delivery.id) or delivery
            earlier = uow.commitments.requests_of(delivery.id)
            missing = uncommitted(row, earlier, row.stored)
            if not missing:
                return Carried(what=what, commitment_by=by)
            transaction_uid = derived_uid(
                "storage-commitment", delivery.study_instance_uid, str(delivery.id), str(len(earlier)), now.isoformat()
            )
            uow.commitments.ask(
                CommitmentRequest(transaction_uid=transaction_uid, delivery_id=delivery.id, asked_at=now)
            )
            uow.commit()
        references = tuple(
            Reference(sop_class_uid=entry.sop_class_uid, sop_instance_uid=entry.sop_instance_uid) for entry in missing
        )
        report = self._committer.request(peer, transaction_uid, references)
        if report is not None:
            with self._uow() as uow:
                uow.commitments.report(report, at=self._clock.now())
                uow.commit()
        return Carried(what=f"{what}; asked to commit to {len(references)} of them", commitment_by=by)

    def _usable_peer(self, delivery: Delivery) -> Peer:
        peer = self._peers.by_name(delivery.peer)
        refusal = why_not_deliverable(peer, delivery.peer, is_routed=bool(delivery.route))
        if refusal or peer is None:
            raise PeerRefused(refusal)
        if not peer.enabled:
            raise PeerUnreachable(f"peer {peer.name} is disabled in the configuration")
        return peer

    def _expected(self, delivery: Delivery, peer: Peer) -> Plan:
        """The plan if the peer takes today what it took before."""
        refused = {entry.wanted: entry for entry in delivery.substitutions}

        def refusal(entry: ResultObject) -> str:
            return refused[entry.kind].why if entry.kind in refused else ""

        return delivery.shipment(peer.objects).plan(refusal)

    def _record(self, delivery: Delivery, plan: Plan) -> None:
        with self._uow() as uow:
            uow.deliveries.record_substitutions(delivery.id, plan.substitutions)
            note(
                uow,
                f"delivery:{delivery.id}",
                "objects_chosen",
                at=self._clock.now(),
                from_state=delivery.state.value,
                to_state=delivery.state.value,
                reason=plan.reasons or "the peer takes every object as it is configured",
                actor=NODE,
                study_instance_uid=delivery.study_instance_uid,
            )
            uow.commit()


def raise_for_answers(peer: Peer, sent: Iterable[ResultObject], answers: Iterable[ObjectStatus]) -> None:
    """Return where every object sent is held by the peer; else raise what its worst answer means.

    What was not answered, and what the peer may take later (see `store_status`), is worth waiting for.
    """
    by_uid = {answer.sop_instance_uid: answer for answer in answers}
    refused: list[str] = []
    waiting: list[str] = []
    for entry in sent:
        answer = by_uid.get(entry.sop_instance_uid)
        if answer is None or answer.status is None:
            waiting.append(f"{entry.kind.value} was not answered")
        elif not answer.is_stored:
            is_passing = meaning(answer.status) in (Answer.BUSY, Answer.UNCLEAR)
            (waiting if is_passing else refused).append(f"{entry.kind.value} was answered 0x{answer.status:04X}")
    if refused:
        raise PeerRefused(f"{peer.name}: {', '.join(refused + waiting)}")
    if waiting:
        raise PeerBusy(f"{peer.name}: {', '.join(waiting)}")


def _stored(delivery: Delivery) -> frozenset[str]:
    return frozenset(entry.sop_instance_uid for entry in delivery.stored)


def _holds(peer: Peer, plan: Plan) -> str:
    if not plan.objects and not plan.substitutions:
        raise SopClassNotAccepted(f"{peer.name} is given {peer.objects}, and the result has none of these")
    if plan.why_not_enough:
        raise SopClassNotAccepted(f"{peer.name}: {plan.why_not_enough}")
    count = len(plan.objects)
    holds = f"{peer.name} holds {count} {'object' if count == 1 else 'objects'}"
    return f"{holds}; {plan.reasons}" if plan.reasons else holds
