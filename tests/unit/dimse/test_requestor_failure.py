"""Why there is no association: what the peer answered counts, wherever pynetdicom has left it."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE

from dicom_node.core.errors import NodeError, PeerBusy, PeerRefused, PeerUnreachable
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer
from dicom_node.dimse.requestor import Timeouts, _failure, _Progress

PACS = Peer(name="pacs", ae_title=AETitle("PACS"), host="pacs.example", port=104)


def answer(result: int, source: int, reason: int) -> A_ASSOCIATE:
    primitive = A_ASSOCIATE()
    primitive.result, primitive.result_source, primitive.diagnostic = result, source, reason
    return primitive


def failure(*left: Any, taken: A_ASSOCIATE | None = None) -> NodeError:
    waiting: queue.Queue[Any] = queue.Queue()
    for primitive in left:
        waiting.put(primitive)
    association: Any = SimpleNamespace(
        is_rejected=taken is not None,
        acceptor=SimpleNamespace(primitive=taken),
        dul=SimpleNamespace(to_user_queue=waiting),
    )
    return _failure(association, PACS, _Progress(connected=True, timeout_s=1.0), Timeouts())


@pytest.mark.parametrize(
    ("numbers", "kind"), [((1, 1, 3), PeerRefused), ((2, 3, 2), PeerBusy)], ids=["for good", "for now"]
)
def test_a_rejection_is_one_whether_pynetdicom_has_noticed_it_or_not(
    numbers: tuple[int, int, int], kind: type[NodeError]
) -> None:
    for found in (failure(taken=answer(*numbers)), failure(answer(*numbers)), failure(A_ABORT(), answer(*numbers))):
        assert isinstance(found, kind)
        assert found.rejection == numbers


def test_a_peer_that_said_nothing_was_not_reached() -> None:
    assert isinstance(failure(), PeerUnreachable)
    assert isinstance(failure(A_ABORT()), PeerUnreachable)
