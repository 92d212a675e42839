"""What a peer said when it was tried: whether it answers C-ECHO, and which of our objects it would take. Pure.

A test changes nothing at the peer: it asks for an association, sends C-ECHO, and offers the presentation contexts of
the results without sending any.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.core.finding import ResultKind
from dicom_node.core.peer import Peer
from dicom_node.core.result_classes import SYNTAX_NAMES
from dicom_node.core.shipment import FALLBACKS


class Trouble(StrEnum):
    """Why a peer did not do what it was asked."""

    UNKNOWN_HOST = "unknown host"
    REFUSED = "connection refused"
    NO_ROUTE = "not reachable"
    TIMEOUT = "timeout"
    CLOSED = "closed without an answer"
    TLS = "no TLS"
    CALLED_AE_TITLE = "called AE title not recognised"
    CALLING_AE_TITLE = "calling AE title not recognised"
    BUSY = "rejected for now"
    REJECTED = "rejected"
    NOT_ACCEPTED = "no presentation context accepted"
    STATUS = "failure status"
    ABORTED = "aborted"
    OURS = "our own configuration"
    SERVICE = "DICOMweb service"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Of one question. `ms` is from its start to the answer; `why` and `advice` are empty where it is good.

    `advice` says in a sentence what to look at.
    """

    ok: bool
    ms: float = 0.0
    trouble: Trouble | None = None
    why: str = ""
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class OfferedContext:
    """One presentation context that was offered; `why` says why it was not accepted (PS3.8 9.3.3.2)."""

    sop_class_uid: str
    transfer_syntax_uid: str
    accepted: bool
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class OfferedClass:
    """A SOP class, the kinds of our objects that are of it, and the presentation contexts they could travel in.

    `wanted` are the kinds that the peer is configured to get.
    """

    uid: str
    name: str
    kinds: tuple[ResultKind, ...]
    wanted: tuple[ResultKind, ...]
    contexts: tuple[OfferedContext, ...]

    @property
    def is_taken(self) -> bool:
        """Whether one of its contexts was accepted."""
        return any(context.accepted for context in self.contexts)

    def in_syntax(self, transfer_syntax_uid: str) -> OfferedContext | None:
        """What became of it in this transfer syntax; None where it was not offered so."""
        return next((entry for entry in self.contexts if entry.transfer_syntax_uid == transfer_syntax_uid), None)


@dataclass(frozen=True, kw_only=True)
class PeerTest:
    """`echo` and `stow` are None where there was nothing to ask in that way; `offer` where it was not made.

    `offer` says whether the offer could be made at all; what was accepted of it stands in `classes`. `missing` are
    configured kinds that would find no way to the peer, `instead` what would go in whose place.
    """

    peer: str
    echo: Answer | None = None
    offer: Answer | None = None
    stow: Answer | None = None
    classes: tuple[OfferedClass, ...] = ()
    missing: tuple[ResultKind, ...] = ()
    instead: tuple[tuple[ResultKind, ResultKind], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything that was asked was answered well, and no object is without a way."""
        asked = [answer for answer in (self.echo, self.offer, self.stow) if answer is not None]
        return bool(asked) and all(answer.ok for answer in asked) and not self.missing


def configured_kinds(peer: Peer) -> tuple[ResultKind, ...]:
    """What the peer gets by C-STORE; nothing where results go another way or not at all."""
    if not peer.receives_results or peer.stow is not None:
        return ()
    return (*peer.objects.kinds, *((ResultKind.STATUS_SR,) if peer.status_reports else ()))


def judged(peer: Peer, classes: tuple[OfferedClass, ...]) -> PeerTest:
    """The offer's outcome for this peer: which of its objects find no way to it, and what goes instead of which.

    As a shipment decides it (`core.shipment`), here before there is anything to send.
    """
    taken = {kind for entry in classes if entry.is_taken for kind in entry.kinds}
    missing: list[ResultKind] = []
    instead: list[tuple[ResultKind, ResultKind]] = []
    for kind in configured_kinds(peer):
        line = FALLBACKS[kind] if peer.objects.negotiates else ()
        other = next((candidate for candidate in (kind, *line) if candidate in taken), None)
        if other is None:
            missing.append(kind)
        elif other is not kind:
            instead.append((kind, other))
    return PeerTest(peer=peer.name, classes=classes, missing=tuple(missing), instead=tuple(instead))


def trial_json(tested: PeerTest) -> dict[str, object]:
    """For the API and `--json`."""
    return {
        "peer": tested.peer,
        "ok": tested.ok,
        "echo": _answer_json(tested.echo),
        "offer": _answer_json(tested.offer),
        "stow": _answer_json(tested.stow),
        "accepts": [_class_json(entry) for entry in tested.classes],
        "missing": [kind.value for kind in tested.missing],
        "instead": {kind.value: other.value for kind, other in tested.instead},
    }


def _answer_json(answer: Answer | None) -> dict[str, object] | None:
    if answer is None:
        return None
    return {
        "ok": answer.ok,
        "elapsed_ms": round(answer.ms, 1),
        "trouble": answer.trouble.value if answer.trouble else "",
        "why": answer.why,
        "advice": answer.advice,
    }


def _class_json(entry: OfferedClass) -> dict[str, object]:
    return {
        "sop_class_uid": entry.uid,
        "sop_class": entry.name,
        "objects": [kind.value for kind in entry.kinds],
        "configured": [kind.value for kind in entry.wanted],
        "accepted": entry.is_taken,
        "contexts": [
            {
                "transfer_syntax_uid": context.transfer_syntax_uid,
                "transfer_syntax": SYNTAX_NAMES.get(context.transfer_syntax_uid, ""),
                "accepted": context.accepted,
                "why": context.why,
            }
            for context in entry.contexts
        ],
    }
