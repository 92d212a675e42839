"""Which refusals of a receiver pass and which are for good: one table for each way in which it may refuse.

Sources: C-STORE responses PS3.4 table B.2-1 and PS3.7 annex C; A-ASSOCIATE-RJ PS3.8 table 9-21; STOW-RS responses
PS3.18 10.5.3 and RFC 9110. What is not in a table is refused for good: an operator looks at it, and starts it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """What a status means for the sender."""

    STORED = "stored"  # the peer holds the object
    BUSY = "busy"  # try again later, with the rest as well
    UNCLEAR = "unclear"  # try this object again later: Cxxx, which peers use for anything (observed in the field)
    UNSUITABLE = "unsuitable"  # the peer can do nothing with this kind; another kind of the same content may do
    REFUSED = "refused"  # for good


@dataclass(frozen=True, kw_only=True)
class Status:
    """A status, or a range of them up to and with `last`, in the standard's words."""

    first: int
    last: int
    answer: Answer
    name: str
    source: str


def _row(first: int, last: int, answer: Answer, name: str, source: str) -> Status:
    return Status(first=first, last=last, answer=answer, name=name, source=source)


STORE: tuple[Status, ...] = (
    _row(0x0000, 0x0000, Answer.STORED, "Success", "PS3.7 C"),
    _row(0x0001, 0x0001, Answer.STORED, "Requested optional attributes are not supported (warning)", "PS3.7 C"),
    _row(0x0107, 0x0107, Answer.STORED, "Attribute list error (warning)", "PS3.7 C"),
    _row(0x0110, 0x0110, Answer.BUSY, "Processing failure", "PS3.7 C"),
    # Our UIDs depend on the result alone: the instance that is there is the one sent before.
    _row(0x0111, 0x0111, Answer.STORED, "Duplicate SOP instance", "PS3.7 C"),
    _row(0x0116, 0x0116, Answer.STORED, "Attribute value out of range (warning)", "PS3.7 C"),
    _row(0x0122, 0x0122, Answer.UNSUITABLE, "Refused: SOP class not supported", "PS3.7 C"),
    _row(0x0124, 0x0124, Answer.REFUSED, "Refused: not authorized", "PS3.7 C"),
    _row(0x0213, 0x0213, Answer.BUSY, "Resource limitation", "PS3.7 C"),
    _row(0xA700, 0xA7FF, Answer.BUSY, "Refused: out of resources", "PS3.4 B.2-1"),
    _row(0xA900, 0xA9FF, Answer.UNSUITABLE, "Error: data set does not match SOP class", "PS3.4 B.2-1"),
    _row(0xB000, 0xBFFF, Answer.STORED, "Warning", "PS3.4 B.2-1"),
    _row(0xC000, 0xCFFF, Answer.UNCLEAR, "Error: cannot understand", "PS3.4 B.2-1"),
)
"""Of C-STORE responses, and of the reasons that a STOW-RS response gives for one instance."""

HTTP: tuple[Status, ...] = (
    _row(408, 408, Answer.BUSY, "Request timeout", "RFC 9110"),
    _row(413, 413, Answer.UNSUITABLE, "Content too large", "RFC 9110"),
    _row(415, 415, Answer.UNSUITABLE, "Unsupported media type", "PS3.18 10.5.3"),
    _row(425, 425, Answer.BUSY, "Too early", "RFC 8470"),
    _row(429, 429, Answer.BUSY, "Too many requests", "RFC 6585"),
    _row(500, 500, Answer.BUSY, "Internal server error", "RFC 9110"),
    _row(502, 504, Answer.BUSY, "Bad gateway, service unavailable, gateway timeout", "RFC 9110, PS3.18 10.5.3"),
    _row(507, 507, Answer.BUSY, "Insufficient storage", "RFC 4918"),
)
"""Of a STOW-RS request as a whole, where the response says nothing about the instance."""

_TRANSIENT_RESULT = 2
_PROVIDER_PRESENTATION = 3  # whose reasons are temporary congestion and a local limit


def meaning(status: int) -> Answer:
    """What the sender does after this DIMSE status."""
    return _found(STORE, status)


def http_meaning(status: int) -> Answer:
    """What the sender does after this HTTP status."""
    return _found(HTTP, status)


def is_rejected_for_good(*, result: int, source: int) -> bool:
    """Whether an A-ASSOCIATE-RJ with these two numbers (PS3.8 table 9-21) will not be otherwise next time.

    Congestion passes, also where a peer calls it permanent.
    """
    return result != _TRANSIENT_RESULT and source != _PROVIDER_PRESENTATION


def _found(table: Iterable[Status], status: int) -> Answer:
    return next((row.answer for row in table if row.first <= status <= row.last), Answer.REFUSED)
