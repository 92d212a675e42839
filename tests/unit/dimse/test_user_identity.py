"""User names and passcodes in association requests."""

from __future__ import annotations

import pytest
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from dicom_node.core.errors import ConfigurationError
from dicom_node.core.peer import UserIdentity
from dicom_node.dimse.user_identity import is_shown, request_item

ENVIRON = {"CT1_PASSCODE": "öffne dich"}
NAMED = UserIdentity(user_name="ct1")
PROVEN = UserIdentity(user_name="ct1", passcode_variable="CT1_PASSCODE")


def item(kind: int, name: bytes, passcode: bytes | None = None) -> UserIdentityNegotiation:
    made = UserIdentityNegotiation()
    made.user_identity_type, made.primary_field = kind, name
    if passcode is not None:
        made.secondary_field = passcode
    return made


@pytest.mark.parametrize(
    ("user", "shown", "expected"),
    [
        (NAMED, item(1, b"ct1"), True),
        (NAMED, item(2, b"ct1", b"whatever"), True),
        (NAMED, item(1, b"ct2"), False),
        (NAMED, item(3, b"ct1"), False),
        (NAMED, None, False),
        (PROVEN, item(2, b"ct1", "öffne dich".encode()), True),
        (PROVEN, item(2, b"ct1", b"wrong"), False),
        (PROVEN, item(2, b"ct2", "öffne dich".encode()), False),
        (PROVEN, item(1, b"ct1"), False),
        (PROVEN, item(5, b"ct1", "öffne dich".encode()), False),
    ],
)
def test_a_user_is_shown_by_name_and_by_the_passcode_where_there_is_one(user, shown, expected):
    assert is_shown(user, shown, ENVIRON) is expected


def test_what_we_say_is_what_a_node_like_us_accepts():
    for user in (NAMED, PROVEN):
        assert is_shown(user, request_item(user, ENVIRON), ENVIRON)


def test_a_passcode_in_a_file_ends_before_the_line_does_and_is_read_anew(tmp_path):
    file = tmp_path / "passcode"
    user = UserIdentity(user_name="ct1", passcode_file=str(file))
    file.write_bytes(b"one\n")
    assert is_shown(user, item(2, b"ct1", b"one"), {})
    file.write_bytes(b"two\r\n")
    assert is_shown(user, item(2, b"ct1", b"two"), {})


def test_a_passcode_that_is_not_there_is_an_error_that_says_where_and_never_an_empty_passcode(tmp_path):
    with pytest.raises(ConfigurationError, match="ct1"):
        is_shown(PROVEN, item(2, b"ct1", b""), {})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        is_shown(UserIdentity(user_name="ct1", passcode_file=str(tmp_path / "none")), item(2, b"ct1", b""), {})
