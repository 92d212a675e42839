"""Where the elements of a plain file's header lie: one pass over its first bytes, nothing decoded.

pydicom makes objects of everything that stands before Pixel Data, about a millisecond an instance and most of the time
that reading an uncompressed slice takes. A reader needs thirty of those elements. Here the file meta information and
the data set are walked from length to length (PS3.10 7.1, PS3.5 7.1), sequences are stepped over, and values are cut
out when they are asked for.

How to edit safely: whatever is not plain is left to pydicom, by `read_head` answering None: another byte order, a
deflated data set, an encoding other than the one announced, a VR nobody knows, elements out of order or longer than the
file, functional groups, no pixel data. So every question about a doubtful file has one answer, pydicom's. What is
accepted here has to say the same as pydicom does; `tests/unit/reading/test_head.py` compares them over every style of
header there is a builder for, and over damaged ones.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

UNDEFINED_LENGTH = 0xFFFFFFFF
# The second step is for headers with a protocol or an icon in them; beyond that pydicom reads as it likes.
_WINDOWS = (1 << 15, 1 << 20)
_META_AT = 132
_PIXEL_DATA, _PIXEL_GROUP = 0x7FE00010, 0x7FE0
_TRANSFER_SYNTAX_UID = 0x00020010
_BEFORE_DATA_SET = 0x0007FFFF
_SHARED_GROUPS, _PER_FRAME_GROUPS, _TEMPORAL_POSITION_INDEX = 0x52009229, 0x52009230, 0x00209128
_LEFT_TO_PYDICOM = frozenset({_SHARED_GROUPS, _PER_FRAME_GROUPS, _TEMPORAL_POSITION_INDEX})
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST_SEQUENCE = 16

_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_PIXEL_VRS = frozenset((b"OB", b"OW"))
_PLAIN_SYNTAXES = frozenset(
    str(uid)
    for uid in AllTransferSyntaxes
    if uid not in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian) and "Deflate" not in uid.name
)

_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_IMPLICIT = struct.Struct("<HHL").unpack_from
_LENGTH = struct.Struct("<L").unpack_from

Elements = dict[int, tuple[int, int]]
"""Tag to the place and length of the value, both in bytes."""


class NotPlain(Exception):
    """Something that is left to pydicom was met, or asked for."""


@dataclass(frozen=True, slots=True)
class Head:
    """The elements before Pixel Data, little endian, and those of the file meta information.

    `place` is the offset in the file and the length of the value of Pixel Data (7FE0,0010). Holds the bytes of the
    header for as long as it lives.
    """

    content: bytes
    elements: Elements
    place: tuple[int, int]

    def __contains__(self, tag: int) -> bool:
        return tag in self.elements

    def value(self, tag: int) -> bytes | None:
        """The bytes of an element; None where there is none. Raises NotPlain for one of undefined length."""
        found = self.elements.get(tag)
        if found is None:
            return None
        start, length = found
        if length == UNDEFINED_LENGTH:
            raise NotPlain
        return self.content[start : start + length]


class _Further(Exception):
    """The header goes on behind the bytes that were read."""


def read_head(file: Path) -> Head | None:
    """The file's header where it is plain; None where pydicom is to be asked. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        for window in _WINDOWS:
            content = os.pread(descriptor, window, 0)
            try:
                return parse_head(content)
            except _Further:
                if len(content) < window:
                    return None
    finally:
        os.close(descriptor)
    return None


def parse_head(content: bytes) -> Head | None:
    """As `read_head`, from the first bytes of a file. Raises _Further where they end before Pixel Data."""
    if content[128:_META_AT] != b"DICM":
        return None
    elements: Elements = {}
    try:
        at = _walk_meta(content, elements)
        syntax = elements.get(_TRANSFER_SYNTAX_UID)
        if syntax is None:
            return None
        uid = content[syntax[0] : syntax[0] + syntax[1]].strip(b" \0").decode("latin-1")
        if uid not in _PLAIN_SYNTAXES:
            return None
        walk = _walk_implicit if uid == ImplicitVRLittleEndian else _walk_explicit
        return Head(content, elements, walk(content, at, elements))
    except NotPlain:
        return None
    except struct.error as error:
        raise _Further from error


def _walk_meta(content: bytes, elements: Elements) -> int:
    """The file meta information, always Explicit VR Little Endian; where the data set begins."""
    at, last = _META_AT, 0
    while True:
        group, number, vr, length = _EXPLICIT(content, at)
        if group != 2:
            return at
        tag = group << 16 | number
        start = at + 8
        if vr not in _SHORT_VRS:
            if vr not in _LONG_VRS:
                raise NotPlain
            (length,) = _LENGTH(content, start)
            start += 4
        at = start + length
        if tag <= last or length == UNDEFINED_LENGTH:
            raise NotPlain
        last = tag
        elements[tag] = start, length


def _walk_explicit(content: bytes, at: int, elements: Elements) -> tuple[int, int]:
    """Fill in the elements up to Pixel Data; its place."""
    last = _BEFORE_DATA_SET
    short, long = _SHORT_VRS, _LONG_VRS
    while True:
        group, number, vr, length = _EXPLICIT(content, at)
        tag = group << 16 | number
        if tag <= last:
            raise NotPlain
        last = tag
        if vr in short:
            start = at + 8
            at = start + length
        elif vr in long:
            start = at + 12
            (length,) = _LENGTH(content, at + 8)
            if group == _PIXEL_GROUP:
                return _pixel_data(tag, vr in _PIXEL_VRS, start, length)
            if length != UNDEFINED_LENGTH:
                at = start + length
            elif vr == b"SQ":
                at = _after_sequence(content, start, _after_explicit, 0)
            else:
                raise NotPlain
        else:
            raise NotPlain
        if group == _PIXEL_GROUP or tag in _LEFT_TO_PYDICOM:
            raise NotPlain
        elements[tag] = start, length


def _walk_implicit(content: bytes, at: int, elements: Elements) -> tuple[int, int]:
    """As `_walk_explicit`. A data set that begins like an explicit one is left to pydicom, which finds out."""
    if content[at + 4 : at + 6] in _SHORT_VRS | _LONG_VRS:
        raise NotPlain
    last = _BEFORE_DATA_SET
    while True:
        group, number, length = _IMPLICIT(content, at)
        tag = group << 16 | number
        if tag <= last or tag in _LEFT_TO_PYDICOM:
            raise NotPlain
        last = tag
        start = at + 8
        if group == _PIXEL_GROUP:
            return _pixel_data(tag, True, start, length)
        if length == UNDEFINED_LENGTH:
            at = _after_sequence(content, start, _after_implicit, 0)
        else:
            at = start + length
        elements[tag] = start, length


def _pixel_data(tag: int, is_known: bool, start: int, length: int) -> tuple[int, int]:
    if tag != _PIXEL_DATA or not is_known:
        raise NotPlain
    return start, length


_After = Callable[[bytes, int, int], int]


def _after_sequence(content: bytes, at: int, after: _After, depth: int) -> int:
    """Where a sequence of undefined length ends, its items and delimiters stepped over (PS3.5 7.5)."""
    if depth > _DEEPEST_SEQUENCE:
        raise NotPlain
    while True:
        group, number, length = _IMPLICIT(content, at)
        tag = group << 16 | number
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise NotPlain
        at = at + length if length != UNDEFINED_LENGTH else _after_item(content, at, after, depth)


def _after_item(content: bytes, at: int, after: _After, depth: int) -> int:
    while True:
        group, number, _length = _IMPLICIT(content, at)
        tag = group << 16 | number
        if tag == _ITEM_END:
            return at + 8
        if group == 0xFFFE:
            raise NotPlain
        at = after(content, at, depth)


def _after_explicit(content: bytes, at: int, depth: int) -> int:
    _group, _number, vr, length = _EXPLICIT(content, at)
    if vr in _SHORT_VRS:
        return at + 8 + int(length)
    if vr not in _LONG_VRS:
        raise NotPlain
    (length,) = _LENGTH(content, at + 8)
    if length != UNDEFINED_LENGTH:
        return at + 12 + int(length)
    if vr != b"SQ":
        raise NotPlain
    return _after_sequence(content, at + 12, _after_explicit, depth + 1)


def _after_implicit(content: bytes, at: int, depth: int) -> int:
    _group, _number, length = _IMPLICIT(content, at)
    if length != UNDEFINED_LENGTH:
        return at + 8 + int(length)
    return _after_sequence(content, at + 8, _after_implicit, depth + 1)
