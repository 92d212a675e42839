"""Preamble and File Meta Information (PS3.10 7.1) in front of a data set that is stored as sent."""

from __future__ import annotations

from dicom_node.core.identifiers import derived_uid

IMPLEMENTATION_CLASS_UID = derived_uid("cspine-node", "implementation")
IMPLEMENTATION_VERSION_NAME = "CSPINE_NODE_1"

_BLOCK_BYTES = 4096
_FILLED_FROM_BYTES = 16 * _BLOCK_BYTES
_GROUP_LENGTH_BYTES, _LONG_HEADER_BYTES = 12, 12
_PREAMBLE = b"\0" * 128 + b"DICM"


def encode_file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    calling_aet: str,
    called_aet: str,
    data_set_bytes: int = 0,
) -> bytes:
    """The bytes of a Part 10 file up to its data set, always Explicit VR Little Endian (PS3.10 7.1).

    A file with a long data set, of `data_set_bytes`, is filled up with private information (PS3.10 table 7.1-1) so that
    it ends where a block of the disk does: it takes no more of the disk, and is written in one piece (`direct_disk`).
    """
    elements = b"".join(
        (
            _long(0x0001, b"OB", b"\0\x01"),
            _uid(0x0002, sop_class_uid),
            _uid(0x0003, sop_instance_uid),
            _uid(0x0010, transfer_syntax_uid),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _short(0x0013, b"SH", _padded(IMPLEMENTATION_VERSION_NAME, b" ")),
            _short(0x0016, b"AE", _padded(calling_aet, b" ")),
            _short(0x0018, b"AE", _padded(called_aet, b" ")),
        )
    )
    if data_set_bytes >= _FILLED_FROM_BYTES:
        elements += _filler(len(_PREAMBLE) + _GROUP_LENGTH_BYTES + len(elements) + data_set_bytes)
    return _PREAMBLE + _short(0x0000, b"UL", len(elements).to_bytes(4, "little")) + elements


def _filler(file_bytes: int) -> bytes:
    """What has to be added to a file of that length; a value has an even length, so an odd one stays odd by one."""
    creator = _uid(0x0100, IMPLEMENTATION_CLASS_UID)
    missing = -(file_bytes + len(creator) + _LONG_HEADER_BYTES) % _BLOCK_BYTES
    return creator + _long(0x0102, b"OB", bytes(missing - missing % 2))


def _uid(element: int, value: str) -> bytes:
    return _short(element, b"UI", _padded(value, b"\0"))


def _padded(value: str, pad: bytes) -> bytes:
    encoded = value.encode("ascii", "replace")
    return encoded + pad * (len(encoded) % 2)


def _short(element: int, vr: bytes, value: bytes) -> bytes:
    return b"\x02\x00" + element.to_bytes(2, "little") + vr + len(value).to_bytes(2, "little") + value


def _long(element: int, vr: bytes, value: bytes) -> bytes:
    return b"\x02\x00" + element.to_bytes(2, "little") + vr + b"\0\0" + len(value).to_bytes(4, "little") + value
