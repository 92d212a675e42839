"""Delivers what waits in a database, for tests that kill it: `python -m tests.builders.delivering_process DIR PORT`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.app.carry_objects import ObjectCarrier
from dicom_node.app.counting import NoCounters
from dicom_node.app.deliver_results import DeliverResults, DeliveryPolicy
from dicom_node.core.delivery import Channel
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer
from dicom_node.dimse.commitment import DimseCommitter
from dicom_node.dimse.requestor import Timeouts
from dicom_node.dimse.sender import DimseSender
from storage.database import open_database


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class _OnePeer:
    def __init__(self, port: int) -> None:
        self._peer = Peer(name="pacs", ae_title=AETitle("PACS"), host="127.0.0.1", port=port, receives_results=True)

    def peers(self) -> tuple[Peer, ...]:
        return (self._peer,)

    def by_name(self, name: str) -> Peer | None:
        return self._peer


def worker(database: Any, port: int, *, life: int) -> DeliverResults:
    """A delivery worker of the node's `life`, to the PACS on this port."""
    sender = DimseSender(own_aet="CSPINE_AI", clock=_Clock(), timeouts=Timeouts(answer_s=10.0))
    carrier = ObjectCarrier(
        uow_factory=database.unit_of_work,
        sender=sender,
        peers=_OnePeer(port),
        clock=_Clock(),
        committer=DimseCommitter(own_aet="CSPINE_AI"),
        terms=DeliveryTerms(),
    )
    return DeliverResults(
        uow_factory=database.unit_of_work,
        carriers={Channel.OBJECTS: carrier},
        clock=_Clock(),
        counters=NoCounters(),
        policy=DeliveryPolicy(),
        owner=f"node/{life}",
        randomness=lambda: 0.0,
    )


if __name__ == "__main__":
    worker(open_database("sqlite", data_dir=Path(sys.argv[1])), int(sys.argv[2]), life=1).step()
