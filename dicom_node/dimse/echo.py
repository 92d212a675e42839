"""C-ECHO to a peer: is it there, does it know us."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dicom_node.core.errors import NodeError
from dicom_node.core.peer import Peer
from dicom_node.dimse.requestor import VERIFICATION_PROPOSALS, Timeouts, associated


@dataclass(frozen=True, kw_only=True)
class EchoResult:
    """`ms` is from the connection's start to the answer; `why` is "" where `ok`."""

    ok: bool
    ms: float
    why: str = ""


def echo(peer: Peer, own_aet: str, timeout_s: float = 10.0) -> EchoResult:
    """The peer's answer to C-ECHO (PS3.7 9.1.5). A failure is a result, not an error."""
    timeouts = Timeouts(connect_s=timeout_s, associate_s=timeout_s, answer_s=timeout_s)
    started = time.perf_counter()
    status, why = None, ""
    try:
        with associated(peer, own_aet=own_aet, proposals=VERIFICATION_PROPOSALS, timeouts=timeouts) as session:
            status = session.echo()
    except NodeError as error:
        why = str(error)
    ms = (time.perf_counter() - started) * 1000.0
    if status is not None and status != 0x0000:
        why = f"the peer answered status 0x{status:04X}"
    return EchoResult(ok=status == 0x0000, ms=ms, why=why)
