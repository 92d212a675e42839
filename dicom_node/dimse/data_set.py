"""What must be known of a data set to store it as sent: a few attributes, and that it is whole.

The receiver keeps the bytes it gets, so a data set is never decoded here. `read_head` walks over the top-level
elements by their lengths (PS3.5 7.1) and keeps the values it wants. The walk goes to the end on purpose: an object
whose last element claims more bytes than there are was cut on its way and must not be answered with Success. It costs
microseconds, because pixel data are stepped over, not read.

Leniency, observed in the field: group lengths, odd lengths, elements out of order, an implicit element among explicit
ones, a stray delimiter, trailing zeros. To edit safely: every loop advances or raises, nesting has a limit, and so has
the number of elements looked at, because bytes can be read in two ways (`_after_unknown`) again and again. Whoever
sends a data set chooses its bytes, and everybody else's threads wait for the walk.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.charset import convert_encodings, decode_bytes

from dicom_node.dimse.contexts import Encoding

Buffer = bytes | memoryview

SPECIFIC_CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_DATE = 0x00080020
ACCESSION_NUMBER = 0x00080050
MODALITY = 0x00080060
STATION_NAME = 0x00081010
STUDY_DESCRIPTION = 0x00081030
PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
BODY_PART_EXAMINED = 0x00180015
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E

WANTED = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        SOP_CLASS_UID,
        SOP_INSTANCE_UID,
        STUDY_DATE,
        ACCESSION_NUMBER,
        MODALITY,
        STATION_NAME,
        STUDY_DESCRIPTION,
        PATIENT_NAME,
        PATIENT_ID,
        BODY_PART_EXAMINED,
        STUDY_INSTANCE_UID,
        SERIES_INSTANCE_UID,
    }
)

_LAST_WANTED_GROUP = max(WANTED) >> 16
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
# fmt: off
_SHORT_VRS = frozenset({
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO",
    b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
})  # PS3.5 7.1.2: a length of 16 bits
# fmt: on
_PLAIN_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UC", b"UN", b"UR", b"UT"})
_TEXT_DELIMITERS = {ord("\\"), ord("^"), ord("=")}  # where a code extension ends (PS3.5 6.1.2.5.3)
_MAXIMUM_DEPTH = 64
_MAXIMUM_ELEMENTS = 4_000_000  # looked at; those inside of what has a length are not
_SCANNED_AT_ONCE = 65_536
_MAXIMUM_VALUE = 65_536  # a wanted value longer than this is not one


class DataSetUnreadable(Exception):
    """The bytes are no whole data set in the transfer syntax that was agreed; says where it ends or breaks."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The wanted values as text, in the data set's own character set; absent and empty attributes are ""."""

    values: Mapping[int, str]
    element_count: int

    def __getitem__(self, tag: int) -> str:
        return self.values.get(tag, "")


def read_head(data_set: Buffer, encoding: Encoding, *, maximum_inflated_bytes: int = 1 << 30) -> Head:
    """The wanted attributes of a whole data set. Raises DataSetUnreadable."""
    if encoding.is_deflated:
        with _inflating:
            raw, count = _Walk(memoryview(_inflated(data_set, maximum_inflated_bytes)), encoding).top_level()
    else:
        raw, count = _Walk(memoryview(data_set), encoding).top_level()
    if count == 0:
        raise DataSetUnreadable("the data set has no elements")
    return Head(values=_decoded(raw), element_count=count)


_inflating = threading.Lock()
"""A megabyte can inflate to a gigabyte: one at a time."""


def _inflated(data_set: Buffer, maximum: int) -> bytes:
    """PS3.5 A.5: a raw deflate stream (RFC 1951), padded to even length."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data_set, maximum)
    except zlib.error as error:
        raise DataSetUnreadable(f"the deflated data set is damaged ({error})") from error
    if inflater.unconsumed_tail:
        raise DataSetUnreadable(f"the data set inflates to more than {maximum} bytes")
    if not inflater.eof:
        raise DataSetUnreadable("the deflated data set is cut")
    return plain


class _Walk:
    """Positions in one data set. `_element` is (tag, value's offset, length or undefined)."""

    def __init__(self, view: memoryview, encoding: Encoding) -> None:
        order = "<" if encoding.is_little_endian else ">"
        self._view = view
        self._end = len(view)
        self._content_end: int | None = None
        # A whole data set has one element in eight bytes at most; twice that is for what is read in two ways.
        self._left_to_look_at = min(self._end // 4 + 64, _MAXIMUM_ELEMENTS)
        self._is_implicit = encoding.is_implicit_vr
        self._explicit = struct.Struct(order + "HH2sH").unpack_from
        self._implicit = struct.Struct(order + "HHL").unpack_from
        self._tag = struct.Struct(order + "HH").unpack_from
        self._short = struct.Struct(order + "H").unpack_from
        self._long = struct.Struct(order + "L").unpack_from

    def top_level(self) -> tuple[dict[int, bytes], int]:
        """The wanted values and the number of elements."""
        found: dict[int, bytes] = {}
        position = count = 0
        plain = self._plain_implicit if self._is_implicit else self._plain_explicit
        while position < self._end:
            position, count = plain(position, count, found)
            if position >= self._end or self._is_padding(position):
                break
            tag, start, length, vr = self._element(position, self._is_implicit)
            position = self._after(tag, start, length, vr, self._is_implicit, 0)
            self._keep(tag, start, length, found)
            count += 1
        return found, count

    def _keep(self, tag: int, start: int, length: int, found: dict[int, bytes]) -> None:
        if tag in WANTED and length <= _MAXIMUM_VALUE and tag not in found:
            found[tag] = bytes(self._view[start : start + length])

    # Most elements are plain: of a known form, not empty of meaning, and their value is there. What is not is left to
    # `_element`, which judges it, so these two may give up wherever they like, but must read no element otherwise.

    def _plain_explicit(self, position: int, count: int, found: dict[int, bytes]) -> tuple[int, int]:
        view, end, unpack = self._view, self._end, self._explicit
        before = count
        while position + 12 <= end and count - before < self._left_to_look_at:
            group, element, vr, length = unpack(view, position)
            start = position + 8
            if vr in _PLAIN_LONG_VRS:
                (length,) = self._long(view, start)
                start += 4
            elif vr not in _SHORT_VRS:
                break
            if group == 0xFFFE or not (group or element) or length > end - start:
                break
            position = start + length
            count += 1
            if group <= _LAST_WANTED_GROUP:
                self._keep(group << 16 | element, start, length, found)
        self._left_to_look_at -= count - before
        return position, count

    def _plain_implicit(self, position: int, count: int, found: dict[int, bytes]) -> tuple[int, int]:
        view, end, unpack = self._view, self._end, self._implicit
        before = count
        while position + 8 <= end and count - before < self._left_to_look_at:
            group, element, length = unpack(view, position)
            start = position + 8
            if group == 0xFFFE or not (group or element) or length > end - start:
                break
            position = start + length
            count += 1
            if group <= _LAST_WANTED_GROUP:
                self._keep(group << 16 | element, start, length, found)
        self._left_to_look_at -= count - before
        return position, count

    def _is_padding(self, position: int) -> bool:
        """Zeros to the end, after the last element (observed in the field)."""
        if position == 0 or any(self._view[position : position + 8]):
            return False
        if self._content_end is None:
            self._content_end = _end_of_content(self._view)
        return position >= self._content_end

    def _element(self, position: int, is_implicit: bool) -> tuple[int, int, int, bytes]:
        self._left_to_look_at -= 1
        if self._left_to_look_at < 0:
            raise DataSetUnreadable("the data set has more elements, or more ways to read them, than it has room for")
        if position + 8 > self._end:
            raise DataSetUnreadable(f"the data set ends inside an element's header at byte {position}")
        group, element = self._tag(self._view, position)
        tag = group << 16 | element
        vr = b"" if is_implicit or group == 0xFFFE else bytes(self._view[position + 4 : position + 6])
        if vr in _SHORT_VRS:
            return tag, position + 8, self._short(self._view, position + 6)[0], vr
        if not (vr.isalpha() and vr.isupper()):
            return tag, position + 8, self._long(self._view, position + 4)[0], b""
        if position + 12 > self._end:
            raise DataSetUnreadable(f"the data set ends inside the header of {_name(tag)}")
        return tag, position + 12, self._long(self._view, position + 8)[0], vr

    def _after(self, tag: int, start: int, length: int, vr: bytes, is_implicit: bool, depth: int) -> int:
        """The position behind an element's value."""
        if length == _UNDEFINED:
            if vr == b"UN":
                return self._after_unknown(tag, start, depth)
            return self._after_items(tag, start, is_implicit, depth)
        if start + length > self._end:
            missing = start + length - self._end
            raise DataSetUnreadable(f"the data set ends inside {_name(tag)}, {missing} bytes are missing")
        return start + length

    def _after_unknown(self, tag: int, start: int, depth: int) -> int:
        """UN of undefined length holds Implicit VR (PS3.5 6.2.2, note 2); some senders leave it as it was."""
        try:
            return self._after_items(tag, start, True, depth)
        except DataSetUnreadable:
            return self._after_items(tag, start, False, depth)

    def _after_items(self, tag: int, position: int, is_implicit: bool, depth: int) -> int:
        """The position behind the Sequence Delimitation Item (PS3.5 7.5; fragments of pixel data as well, A.4)."""
        if depth > _MAXIMUM_DEPTH:
            raise DataSetUnreadable(f"sequences in {_name(tag)} are nested more than {_MAXIMUM_DEPTH} deep")
        while True:
            item, start, length, _vr = self._element(position, is_implicit)
            if item == _SEQUENCE_END:
                return start
            if item != _ITEM:
                raise DataSetUnreadable(f"{_name(tag)} holds {_name(item)} where an item was expected")
            if length == _UNDEFINED:
                position = self._after_item(tag, start, is_implicit, depth + 1)
            else:
                position = self._after(tag, start, length, b"", is_implicit, depth)

    def _after_item(self, tag: int, position: int, is_implicit: bool, depth: int) -> int:
        while True:
            inner, start, length, vr = self._element(position, is_implicit)
            if inner == _ITEM_END:
                return start
            if inner == _SEQUENCE_END:
                raise DataSetUnreadable(f"{_name(tag)} ends inside an item")
            position = self._after(inner, start, length, vr, is_implicit, depth)


def _end_of_content(view: memoryview) -> int:
    """Where nothing but zeros follows."""
    end = len(view)
    while end and not (part := bytes(view[max(0, end - _SCANNED_AT_ONCE) : end])).strip(b"\0"):
        end -= len(part)
    return end - (len(part) - len(part.rstrip(b"\0"))) if end else 0


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _decoded(raw: Mapping[int, bytes]) -> dict[int, str]:
    character_sets = raw.get(SPECIFIC_CHARACTER_SET, b"").decode("ascii", "replace").strip(" \0").split("\\")
    return {tag: _text(value, character_sets) for tag, value in raw.items()}


def _text(value: bytes, character_sets: list[str]) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii").strip(" \0")
    try:
        encodings = convert_encodings([name.strip() for name in character_sets])
        return decode_bytes(value, encodings, _TEXT_DELIMITERS).strip(" \0")
    except (LookupError, ValueError):
        # Python is asked for a codec of that name: it has none, one that is not for text, or no such name can be.
        return value.decode("ascii", "replace").strip(" \0")
