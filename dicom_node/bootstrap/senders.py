"""Which way results go to a peer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.core.delivery import ObjectStatus
from dicom_node.core.peer import Peer
from dicom_node.core.shipment import Plan, Shipment
from dicom_node.ports import ResultSender


@dataclass(frozen=True, kw_only=True)
class ChosenSender:
    """`ports.ResultSender`: STOW-RS for a peer that has such a service, C-STORE for the others."""

    dimse: ResultSender
    stow: ResultSender

    def send(
        self,
        peer: Peer,
        shipment: Shipment,
        *,
        on_plan: Callable[[Plan], None],
        on_answer: Callable[[ObjectStatus], None],
    ) -> None:
        """As `ports.ResultSender` says."""
        chosen = self.dimse if peer.stow is None else self.stow
        chosen.send(peer, shipment, on_plan=on_plan, on_answer=on_answer)
