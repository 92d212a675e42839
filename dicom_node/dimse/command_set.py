"""Command sets (PS3.7 6.3.1, annex E) as far as a receiver of images needs them without a library in between.

`read_command` understands what is plain and says None to everything else, which is then the library's to judge. So an
element of another group, one that is twice there, a length that leads out, a value of the wrong size, an element that
nobody expects: None. Always Implicit VR Little Endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dicom_node.core.identifiers import is_uid

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_ECHO_RQ = 0x0030
C_ECHO_RSP = 0x8030

_NO_DATA_SET = 0x0101
_GROUP_LENGTH, _SOP_CLASS, _FIELD, _MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
_RESPONDED_TO, _PRIORITY, _DATA_SET_TYPE, _STATUS, _COMMENT = 0x0120, 0x0700, 0x0800, 0x0900, 0x0902
_SOP_INSTANCE, _MOVE_ORIGINATOR, _MOVE_MESSAGE_ID = 0x1000, 0x1030, 0x1031
_PRIORITIES = (0x0000, 0x0001, 0x0002)
_EXPECTED_IN_A_STORE = frozenset(
    {
        _GROUP_LENGTH,
        _SOP_CLASS,
        _FIELD,
        _MESSAGE_ID,
        _PRIORITY,
        _DATA_SET_TYPE,
        _SOP_INSTANCE,
        _MOVE_ORIGINATOR,
        _MOVE_MESSAGE_ID,
    }
)
_EXPECTED_IN_AN_ECHO = frozenset({_GROUP_LENGTH, _SOP_CLASS, _FIELD, _MESSAGE_ID, _DATA_SET_TYPE})

_head = struct.Struct("<HHL")
_short = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """A C-STORE-RQ that lacks nothing (PS3.7 9.3.1.1)."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class EchoCommand:
    """A C-ECHO-RQ that lacks nothing (PS3.7 9.3.5.1)."""

    message_id: int
    sop_class_uid: str


@dataclass(frozen=True, slots=True)
class OtherCommand:
    """Any other message; `has_data_set` says whether more of it follows."""

    has_data_set: bool


def read_command(encoded: bytes | bytearray) -> StoreCommand | EchoCommand | OtherCommand | None:
    """What a whole command set asks for; None where it is not plain."""
    elements = _elements(encoded)
    if elements is None:
        return None
    data_set_type = _number(elements.get(_DATA_SET_TYPE))
    if data_set_type is None or _number(elements.get(_FIELD)) is None:
        return None
    has_data_set = data_set_type != _NO_DATA_SET
    return (_store(elements) if has_data_set else _echo(elements)) or OtherCommand(has_data_set)


def store_response(command: StoreCommand, status: int, comment: str = "") -> bytes:
    """The command set of a C-STORE-RSP (PS3.7 9.3.1.2); `comment` is an Error Comment of 64 characters at most."""
    body = b"".join(
        (
            _element(_SOP_CLASS, _padded(command.sop_class_uid, b"\0")),
            _element(_FIELD, _short.pack(C_STORE_RSP)),
            _element(_RESPONDED_TO, _short.pack(command.message_id)),
            _element(_DATA_SET_TYPE, _short.pack(_NO_DATA_SET)),
            _element(_STATUS, _short.pack(status)),
            _element(_COMMENT, _padded(comment, b" ")) if comment else b"",
            _element(_SOP_INSTANCE, _padded(command.sop_instance_uid, b"\0")),
        )
    )
    return _element(_GROUP_LENGTH, struct.pack("<L", len(body))) + body


def echo_response(command: EchoCommand, status: int) -> bytes:
    """The command set of a C-ECHO-RSP (PS3.7 9.3.5.2)."""
    body = b"".join(
        (
            _element(_SOP_CLASS, _padded(command.sop_class_uid, b"\0")),
            _element(_FIELD, _short.pack(C_ECHO_RSP)),
            _element(_RESPONDED_TO, _short.pack(command.message_id)),
            _element(_DATA_SET_TYPE, _short.pack(_NO_DATA_SET)),
            _element(_STATUS, _short.pack(status)),
        )
    )
    return _element(_GROUP_LENGTH, struct.pack("<L", len(body))) + body


def _elements(encoded: bytes | bytearray) -> dict[int, bytes] | None:
    found: dict[int, bytes] = {}
    at, end = 0, len(encoded)
    while at < end:
        if at + 8 > end:
            return None
        group, element, length = _head.unpack_from(encoded, at)
        at += 8
        if group or element in found or length > end - at:
            return None
        found[element] = bytes(encoded[at : at + length])
        at += length
    return found


def _echo(elements: dict[int, bytes]) -> EchoCommand | None:
    message_id = _number(elements.get(_MESSAGE_ID))
    sop_class_uid = _uid(elements.get(_SOP_CLASS, b""))
    is_plain = _EXPECTED_IN_AN_ECHO.issuperset(elements) and _number(elements[_FIELD]) == C_ECHO_RQ
    return EchoCommand(message_id, sop_class_uid) if is_plain and message_id is not None and sop_class_uid else None


def _store(elements: dict[int, bytes]) -> StoreCommand | None:
    if _number(elements[_FIELD]) != C_STORE_RQ:
        return None
    message_id = _number(elements.get(_MESSAGE_ID))
    sop_class_uid = _uid(elements.get(_SOP_CLASS, b""))
    sop_instance_uid = _uid(elements.get(_SOP_INSTANCE, b""))
    is_plain = (
        _EXPECTED_IN_A_STORE.issuperset(elements)
        and (_PRIORITY not in elements or _number(elements[_PRIORITY]) in _PRIORITIES)
        and (_MOVE_MESSAGE_ID not in elements or _number(elements[_MOVE_MESSAGE_ID]) is not None)
        and (_MOVE_ORIGINATOR not in elements or _is_ae_title(elements[_MOVE_ORIGINATOR]))
    )
    if message_id is None or not sop_class_uid or not sop_instance_uid or not is_plain:
        return None
    return StoreCommand(message_id, sop_class_uid, sop_instance_uid)


def _number(value: bytes | None) -> int | None:
    """A value of VR US and multiplicity 1."""
    return int(_short.unpack(value)[0]) if value is not None and len(value) == 2 else None


def _uid(value: bytes) -> str:
    """The UID, or nothing where there is none."""
    try:
        text = (value[:-1] if value.endswith(b"\0") else value).decode("ascii")
    except UnicodeDecodeError:
        return ""
    return text if is_uid(text) else ""


def _is_ae_title(value: bytes) -> bool:
    return 0 < len(value) <= 16 and bool(value.strip()) and all(0x20 <= byte < 0x7F and byte != 0x5C for byte in value)


def _element(number: int, value: bytes) -> bytes:
    return _head.pack(0x0000, number, len(value)) + value


def _padded(text: str, pad: bytes) -> bytes:
    encoded = text.encode("ascii", "replace")
    return encoded + pad * (len(encoded) % 2)
