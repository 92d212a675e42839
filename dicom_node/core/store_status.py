"""How the sender reads the status of a C-STORE response (PS3.4 B.2.3, PS3.7 annex C), and of a STOW-RS failure."""

from __future__ import annotations

from enum import StrEnum

_STORED = frozenset(
    {
        0x0000,  # Success
        0x0001,  # Success with a requested optional service not done
        0x0107,  # Attribute list warning
        0x0111,  # Duplicate SOP instance: our UIDs depend on the result alone, so it is the one sent before
    }
)
_PASSING = frozenset(
    {
        0x0110,  # Processing failure
        0x0213,  # Resource limitation
    }
)
_SOP_CLASS_NOT_SUPPORTED = 0x0122


class Answer(StrEnum):
    """What a status means for the sender."""

    STORED = "stored"  # the peer holds the object
    BUSY = "busy"  # try again later, with the rest as well
    UNCLEAR = "unclear"  # try this object again later: Cxxx, which peers use for anything (observed in the field)
    UNSUITABLE = "unsuitable"  # the peer can do nothing with this kind; another kind of the same content may do
    REFUSED = "refused"  # for good


def meaning(status: int) -> Answer:
    """What the sender does next. A warning (Bxxx) is a success with a remark."""
    if status in _STORED or status >> 12 == 0xB:
        return Answer.STORED
    if status >> 8 == 0xA7 or status in _PASSING:
        return Answer.BUSY
    if status >> 12 == 0xC:
        return Answer.UNCLEAR
    if status == _SOP_CLASS_NOT_SUPPORTED or status >> 8 == 0xA9:
        return Answer.UNSUITABLE
    return Answer.REFUSED
