"""What may be said about an A-ASSOCIATE-RQ before anybody decodes it (PS3.8 9.3.2, annex D)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PDU_TYPE = 0x01
LONGEST_BYTES = 1 << 19
"""A request that uses every context with thirty transfer syntaxes of full length has half of this."""

_FIRST_ITEM = 74
_CONTEXT_HEAD = 4
_CONTEXT_ITEM, _USER_ITEM = 0x20, 0x50
_MOST_CONTEXTS = 128  # odd context ids from 1 to 255 (PS3.8 9.3.2.2)
_MOST_SUB_ITEMS_OF_A_CONTEXT = 128
_MOST_USER_SUB_ITEMS = 1024


class _Malformed(ValueError):
    pass


def problem_of(pdu: bytes | bytearray | memoryview) -> str:
    """Why the whole PDU `pdu` is not worth decoding; "" where it may be.

    Items must lie inside one another and be no more than the standard has room for: decoding is work, and the one
    who asks for it has shown nothing yet.
    """
    view = memoryview(pdu)
    try:
        if len(view) < _FIRST_ITEM:
            raise _Malformed(f"{len(view)} bytes are no association request")
        _examine(view)
    except _Malformed as error:
        return str(error)
    return ""


def _examine(view: memoryview) -> None:
    contexts = 0
    for kind, value in _items(view[_FIRST_ITEM:]):
        if kind == _CONTEXT_ITEM:
            contexts += 1
            _at_most(contexts, _MOST_CONTEXTS, "presentation contexts")
            _at_most(_count(value[_CONTEXT_HEAD:]), _MOST_SUB_ITEMS_OF_A_CONTEXT, "syntaxes in one context")
        elif kind == _USER_ITEM:
            _at_most(_count(value), _MOST_USER_SUB_ITEMS, "user information items")


def _items(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(view):
        if at + 4 > len(view):
            raise _Malformed("an item is cut in its head")
        kind, length = view[at], struct.unpack_from(">H", view, at + 2)[0]
        if at + 4 + length > len(view):
            raise _Malformed(f"item 0x{kind:02X} of {length} bytes goes beyond what holds it")
        yield kind, view[at + 4 : at + 4 + length]
        at += 4 + length


def _count(view: memoryview) -> int:
    return sum(1 for _ in _items(view))


def _at_most(number: int, maximum: int, what: str) -> None:
    if number > maximum:
        raise _Malformed(f"more than {maximum} {what}")
