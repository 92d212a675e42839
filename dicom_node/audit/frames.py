"""An audit message as a syslog message (RFC 5424), and as a frame of syslog over TLS (RFC 5425)."""

from __future__ import annotations

from datetime import datetime

# Facility 10, security and authorisation; severity 5, notice (PS3.15 A.6.1).
_PRIORITY = 10 * 8 + 5
_MESSAGE_ID = "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"


def syslog_message(message: bytes, *, at: datetime, host: str, application: str, process_id: int) -> bytes:
    """One line without its end. `host` and `application` lose what RFC 5424 does not allow in them."""
    header = (
        f"<{_PRIORITY}>1 {at.isoformat(timespec='milliseconds')} {_word(host, 255)} {_word(application, 48)}"
        f" {process_id} {_MESSAGE_ID} - "
    )
    return header.encode("ascii") + _BOM + message


def frame(line: bytes) -> bytes:
    """Octet counting (RFC 5425 4.3.1)."""
    return f"{len(line)} ".encode("ascii") + line


def _word(text: str, length: int) -> str:
    return "".join(character for character in text if "!" <= character <= "~")[:length] or "-"
