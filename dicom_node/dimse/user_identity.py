"""User identity in association requests (PS3.7 D.3.3.7): a user name, with or without a passcode.

Kerberos tickets, SAML assertions and JSON web tokens are not evaluated: a peer that must name a user and sends one of
those is refused. Passcodes are read from the environment or a file when they are compared, so that a changed file
holds from the next association on, and nothing of the node keeps them.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from pynetdicom.pdu_primitives import UserIdentityNegotiation

from dicom_node.core.errors import ConfigurationError
from dicom_node.core.peer import UserIdentity

_USERNAME = 1
_USERNAME_AND_PASSCODE = 2


def identity_in(user_information: Iterable[object]) -> UserIdentityNegotiation | None:
    """The request's identity item; None where it has none."""
    return next((item for item in user_information if isinstance(item, UserIdentityNegotiation)), None)


def is_shown(user: UserIdentity, item: UserIdentityNegotiation | None, environ: Mapping[str, str]) -> bool:
    """Whether the request's item names `user`, with the passcode that is configured for it.

    A passcode that came unasked is no matter. Raises ConfigurationError where the configured one cannot be read.
    """
    kinds = (_USERNAME_AND_PASSCODE,) if user.has_passcode else (_USERNAME, _USERNAME_AND_PASSCODE)
    if item is None or item.user_identity_type not in kinds:
        return False
    # Both are compared, in a time that tells nothing about which was wrong.
    is_named = _same(item.primary_field, user.user_name.encode())
    is_proven = not user.has_passcode or _same(item.secondary_field, passcode(user, environ))
    return is_named and is_proven


def positive_response() -> UserIdentityNegotiation:
    """The answer to a user name or a passcode that was recognised: an item without content (PS3.7 D.3.3.7.2)."""
    item = UserIdentityNegotiation()
    item.server_response = b""
    return item


def request_item(user: UserIdentity, environ: Mapping[str, str]) -> UserIdentityNegotiation:
    """What we say to a peer that wants to know. Raises ConfigurationError where the passcode cannot be read."""
    item = UserIdentityNegotiation()
    item.user_identity_type = _USERNAME_AND_PASSCODE if user.has_passcode else _USERNAME
    item.primary_field = user.user_name.encode()
    if user.has_passcode:
        item.secondary_field = passcode(user, environ)
    return item


def passcode(user: UserIdentity, environ: Mapping[str, str]) -> bytes:
    """The passcode as it stands now, without the line end of its file. Raises ConfigurationError without one."""
    if user.passcode_variable:
        secret, where = environ.get(user.passcode_variable, "").encode(), f"environment {user.passcode_variable}"
    else:
        secret, where = _without_line_end(Path(user.passcode_file)), user.passcode_file
    if not secret:
        raise ConfigurationError(
            f"the passcode of user {user.user_name!r} is empty or not set in {where}", source=where
        )
    return secret


def _without_line_end(file: Path) -> bytes:
    try:
        return file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}", source=str(file)) from error


def _same(shown: bytes | None, expected: bytes) -> bool:
    return hmac.compare_digest(shown or b"", expected)
