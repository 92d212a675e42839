"""Validated identifiers: once one of these exists, it cannot be wrong."""

from __future__ import annotations

import hashlib
import re

from dicom_node.core.errors import ConfigurationError

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_UID_IN_THE_FIELD = re.compile(r"[0-9]+(\.[0-9]+)*")


class AETitle(str):
    """An application entity title (PS3.5 6.2, VR AE; PS3.8 9.3.2).

    1 to 16 characters of the default repertoire without control characters and backslash; leading and
    trailing spaces are not significant and are stripped, so equality is the standard's equality.
    """

    def __new__(cls, value: str) -> AETitle:
        text = value.strip(" ")
        if not 1 <= len(text) <= 16:
            raise ConfigurationError(f"an AE title has 1 to 16 characters, {value!r} has {len(text)}", value=value)
        if "\\" in text or not all(" " <= c <= "~" for c in text):
            raise ConfigurationError(f"an AE title is printable ASCII without backslash, {value!r} is not", value=value)
        return super().__new__(cls, text)


def is_uid(value: str) -> bool:
    """Whether `value` is usable as a UID (PS3.5 9.1): digits and dots, 64 characters at most.

    Components with leading zeros are against the standard and common in the field, so they are let through.
    """
    return 0 < len(value) <= 64 and _UID_IN_THE_FIELD.fullmatch(value) is not None


def is_standard_uid(value: str) -> bool:
    """Whether `value` obeys PS3.5 9.1 to the letter."""
    return 0 < len(value) <= 64 and _UID.fullmatch(value) is not None


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that depends on `parts` alone: the same parts always give the same UID."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()[:16]
    number = int.from_bytes(digest, "big")
    # UUID version 8 (custom) and RFC 9562 variant, so that 2.25 is used as intended.
    number = number & ~(0xF << 76) | (0x8 << 76)
    number = number & ~(0x3 << 62) | (0x2 << 62)
    return f"2.25.{number}"


def study_key(study_instance_uid: str) -> str:
    """A short name for a study that is safe in folders and logs and does not reveal its UID."""
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()[:16]
