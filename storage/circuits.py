"""Receivers that could not be reached, in the database."""

from __future__ import annotations

from sqlalchemy import RowMapping, delete, select

from dicom_node.core.circuit import Circuit
from dicom_node.core.delivery import Channel
from storage.rows import CircuitRow, table_of
from storage.transaction import UPSERT, Transaction

_circuit = table_of(CircuitRow)
_CHANGING = ("failures", "failing_since", "probe_at", "is_open", "why")


class Circuits:
    """`CircuitRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def all(self) -> tuple[Circuit, ...]:
        rows = self._transaction.read(select(_circuit).order_by(_circuit.c.channel, _circuit.c.peer)).mappings()
        return tuple(_from(row) for row in rows)

    def get(self, channel: Channel, peer: str) -> Circuit | None:
        of_this = (_circuit.c.channel == channel.value, _circuit.c.peer == peer)
        row = self._transaction.read(select(_circuit).where(*of_this)).mappings().one_or_none()
        return None if row is None else _from(row)

    def save(self, circuit: Circuit) -> None:
        values = {name: getattr(circuit, name) for name in _CHANGING}
        statement = UPSERT[self._transaction.dialect](_circuit)
        statement = statement.values(channel=circuit.channel.value, peer=circuit.peer, **values)
        statement = statement.on_conflict_do_update(index_elements=[_circuit.c.channel, _circuit.c.peer], set_=values)
        self._transaction.write(statement)

    def forget(self, channel: Channel, peer: str) -> bool:
        of_this = (_circuit.c.channel == channel.value, _circuit.c.peer == peer)
        return self._transaction.write(delete(_circuit).where(*of_this)).rowcount == 1


def _from(row: RowMapping) -> Circuit:
    return Circuit(channel=Channel(row["channel"]), peer=row["peer"], **{name: row[name] for name in _CHANGING})
