"""The DIMSE status codes this node answers with; `core.store_status` reads those of a peer.

PS3.4 B.2.3 (Storage Service Class) and PS3.7 annex C (statuses of every service).
"""

from __future__ import annotations

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.13
INVALID_SOP_INSTANCE = 0x0117  # PS3.7 C.5.12: the UID violates the construction rules
MISSING_ATTRIBUTE = 0x0120  # PS3.7 C.5.16
SOP_CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 C.5.6
NOT_AUTHORISED = 0x0124  # PS3.7 C.5.23
UNRECOGNISED_OPERATION = 0x0211  # PS3.7 C.5.24
MISTYPED_ARGUMENT = 0x0212  # PS3.7 C.5.15
OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3
DOES_NOT_MATCH_SOP_CLASS = 0xA900  # PS3.4 B.2.3
CANNOT_UNDERSTAND = 0xC000  # PS3.4 B.2.3


def comment(text: str) -> str:
    """`text` as an Error Comment (0000,0902): printable ASCII, 64 characters at most (VR LO, PS3.7 C)."""
    printable = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
    return printable[:64]
