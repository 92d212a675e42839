"""C-ECHO to a peer: is it there, does it know us."""

from __future__ import annotations

import time

from dicom_node.core.errors import NodeError
from dicom_node.core.peer import Peer
from dicom_node.core.peer_test import Answer, Trouble
from dicom_node.dimse.requestor import VERIFICATION_PROPOSALS, Timeouts, associated
from dicom_node.dimse.troubles import failed


def echo(peer: Peer, own_aet: str, timeout_s: float = 10.0) -> Answer:
    """The peer's answer to C-ECHO (PS3.7 9.1.5). A failure is an answer, not an error."""
    timeouts = Timeouts(connect_s=timeout_s, associate_s=timeout_s, answer_s=timeout_s)
    started = time.perf_counter()
    try:
        with associated(peer, own_aet=own_aet, proposals=VERIFICATION_PROPOSALS, timeouts=timeouts) as session:
            status = session.echo()
    except NodeError as error:
        return failed(peer, error, _ms_since(started), timeout_s)
    ms = _ms_since(started)
    if status == 0x0000:
        return Answer(ok=True, ms=ms)
    why = f"the peer answered status 0x{status:04X}"
    return Answer(ok=False, ms=ms, trouble=Trouble.STATUS, why=why, advice="The peer's log says why.")


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000.0
