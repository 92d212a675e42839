"""Presentation contexts are offered to a peer without sending anything: which of our objects would it take?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from dicom_node.core.errors import NodeError, SopClassNotAccepted
from dicom_node.core.peer import Peer
from dicom_node.core.peer_test import Answer, OfferedClass, OfferedContext, configured_kinds
from dicom_node.core.result_classes import IMPLICIT_LITTLE, SopClass, kinds_by_class
from dicom_node.dimse.contexts import PUSH_MODEL
from dicom_node.dimse.requestor import Proposal, Timeouts, associated
from dicom_node.dimse.troubles import failed

# PS3.8 table 9-18, Result/Reason.
_ACCEPTED = 0
_REASONS = {
    1: "refused",
    2: "refused without a reason",
    3: "SOP class not supported",
    4: "transfer syntax not supported",
}
_COMMITMENT = SopClass(uid=PUSH_MODEL, name="Storage Commitment Push Model", transfer_syntaxes=(IMPLICIT_LITTLE,))


def offer(peer: Peer, own_aet: str, timeout_s: float = 10.0) -> tuple[Answer, tuple[OfferedClass, ...]]:
    """Whether the offer could be made, and what became of the contexts of each SOP class of ours.

    That none was accepted is an answer too: each context then says why.
    """
    timeouts = Timeouts(connect_s=timeout_s, associate_s=timeout_s, answer_s=timeout_s)
    classes = _classes(peer)
    proposals: list[Proposal] = [(entry.uid, syntax) for entry in classes for syntax in entry.transfer_syntaxes]
    started = time.perf_counter()
    results: Mapping[int, int] = {}
    try:
        with associated(peer, own_aet=own_aet, proposals=proposals, timeouts=timeouts) as session:
            results = session.results()
    except SopClassNotAccepted:
        pass
    except NodeError as error:
        return failed(peer, error, (time.perf_counter() - started) * 1000.0, timeout_s), ()
    answer = Answer(ok=True, ms=(time.perf_counter() - started) * 1000.0)
    contexts = [_context(proposal, results.get(place)) for place, proposal in enumerate(proposals)]
    return answer, tuple(_offered(peer, entry, contexts) for entry in classes)


def _classes(peer: Peer) -> tuple[SopClass, ...]:
    return (*kinds_by_class(), *((_COMMITMENT,) if peer.delivery.storage_commitment else ()))


def _context(proposal: Proposal, result: int | None) -> OfferedContext:
    abstract, transfer = proposal
    why = "" if result == _ACCEPTED else _REASONS.get(result or 0, "not accepted")
    return OfferedContext(sop_class_uid=abstract, transfer_syntax_uid=transfer, accepted=result == _ACCEPTED, why=why)


def _offered(peer: Peer, entry: SopClass, contexts: Iterable[OfferedContext]) -> OfferedClass:
    kinds, wanted = kinds_by_class().get(entry, ()), configured_kinds(peer)
    return OfferedClass(
        uid=entry.uid,
        name=entry.name,
        kinds=kinds,
        wanted=tuple(kind for kind in kinds if kind in wanted),
        contexts=tuple(context for context in contexts if context.sop_class_uid == entry.uid),
    )
