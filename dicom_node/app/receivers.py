"""What is shown of receivers and commitments: who could not be reached, what waits, who was asked to keep what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dicom_node.app.queries import iso
from dicom_node.core.circuit import Circuit
from dicom_node.core.commitment import CommitmentDuty, CommitmentRequest, in_words
from dicom_node.core.delivery import Channel
from dicom_node.ports import UnitOfWork


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Who is to get something, or could not be reached; `circuit` is None for one that could."""

    channel: Channel
    peer: str
    waiting: int
    circuit: Circuit | None

    @property
    def state(self) -> str:
        """In a word: reachable, failing (tried again soon), or open (left alone and probed now and then)."""
        if self.circuit is None:
            return "reachable"
        return "open" if self.circuit.is_open else "failing"

    def as_json(self) -> dict[str, Any]:
        """The receiver for `--json` and the API."""
        circuit = self.circuit
        return {
            "peer": self.peer,
            "channel": self.channel.value,
            "state": self.state,
            "waiting": self.waiting,
            "failures": circuit.failures if circuit else 0,
            "failing_since": iso(circuit.failing_since if circuit else None),
            "next_probe_at": iso(circuit.probe_at if circuit else None),
            "why": circuit.why if circuit else "",
        }


def list_receivers(uow: UnitOfWork) -> tuple[Receiver, ...]:
    """Every receiver for which something waits or that could not be reached, by name."""
    waiting = uow.deliveries.waiting()
    circuits = {(circuit.channel, circuit.peer): circuit for circuit in uow.circuits.all()}
    return tuple(
        Receiver(
            channel=channel, peer=peer, waiting=waiting.get((channel, peer), 0), circuit=circuits.get((channel, peer))
        )
        for channel, peer in sorted(waiting.keys() | circuits.keys(), key=lambda key: (key[1], key[0].value))
    )


def request_json(request: CommitmentRequest) -> dict[str, Any]:
    """What we asked a peer to commit to, and what it said."""
    return {
        "transaction_uid": request.transaction_uid,
        "asked_at": iso(request.asked_at),
        "reported_at": iso(request.reported_at),
        "committed": list(request.committed),
        "failed": [{"sop_instance_uid": uid, "reason": in_words(reason)} for uid, reason in request.failed],
    }


def duty_json(duty: CommitmentDuty) -> dict[str, Any]:
    """What a peer asked us to commit to, and what it was told."""
    return {
        "transaction_uid": duty.transaction_uid,
        "peer": duty.peer,
        "calling_aet": duty.calling_aet,
        "instances": len(duty.references),
        "asked_at": iso(duty.asked_at),
        "attempt": duty.attempt,
        "next_attempt_at": iso(duty.next_attempt_at),
        "finished_at": iso(duty.finished_at),
        "outcome": duty.outcome,
    }
