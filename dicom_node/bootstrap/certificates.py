"""When a certificate ends."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509


def ends_at(file: Path) -> datetime | None:
    """The moment, UTC, after which the first certificate in a PEM file is good no more; None where none can be read."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
