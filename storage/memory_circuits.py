"""Receivers that could not be reached, in the in-memory twin."""

from __future__ import annotations

from dicom_node.core.circuit import Circuit
from dicom_node.core.delivery import Channel
from storage.memory_transaction import MemoryTransaction


class MemoryCircuits:
    """`CircuitRepository` of the ports."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction

    def all(self) -> tuple[Circuit, ...]:
        circuits = self._transaction.read().circuits.values()
        return tuple(sorted(circuits, key=lambda each: (each.channel.value, each.peer)))

    def get(self, channel: Channel, peer: str) -> Circuit | None:
        return self._transaction.read().circuits.get((channel, peer))

    def save(self, circuit: Circuit) -> None:
        circuits = self._transaction.write(circuit.failing_since, circuit.probe_at).circuits
        circuits[circuit.channel, circuit.peer] = circuit

    def forget(self, channel: Channel, peer: str) -> bool:
        return self._transaction.write().circuits.pop((channel, peer), None) is not None
