"""Words of a form or a command line as a peer's values."""

from __future__ import annotations

import pytest

from config.peer_fields import peer_fields
from dicom_node.app.manage_peers import EditRefused
from dicom_node.app.peer_words import differing, field_named, form_values, value_of, without_defaults

FIELDS = peer_fields()


@pytest.mark.parametrize(
    ("key", "words", "value"),
    [
        ("port", " 104 ", 104),
        ("port", "", 0),
        ("attempts", "", None),
        ("backoff_factor", "1.5", 1.5),
        ("addresses", "10.0.0.0/8,\n fd00::/8\n\n", ["10.0.0.0/8", "fd00::/8"]),
        ("may_send", "Yes", True),
        ("may_send", "off", False),
        ("ae_title", " PACS ", " PACS "),
        ("host", " pacs ", "pacs"),
    ],
)
def test_words_become_values_of_the_key_s_kind(key: str, words: str, value: object) -> None:
    assert value_of(field_named(FIELDS, key), words) == value


@pytest.mark.parametrize(("key", "words"), [("port", "1e2"), ("backoff_factor", "x"), ("may_send", "perhaps")])
def test_words_that_are_no_value_are_refused_with_the_key(key: str, words: str) -> None:
    with pytest.raises(EditRefused) as refused:
        value_of(field_named(FIELDS, key), words)
    assert refused.value.key == key


def test_an_unknown_key_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(EditRefused, match="unknown key; a peer has name, ae_title"):
        field_named(FIELDS, "colour")


def test_a_form_is_every_key_and_a_new_peer_says_what_is_not_the_default() -> None:
    form = {"name": "a", "ae_title": "A", "host": "h", "port": "1", "may_send": "on", "enabled": "on"}
    form |= {"objects.auto": "on", "urgent_at_any_hour": "on", "tls_check_name": "on", "stray": "x"}
    values = form_values(FIELDS, form)
    assert set(values) == {field.name for field in FIELDS}
    assert without_defaults(FIELDS, values) == {"name": "a", "ae_title": "A", "host": "h", "port": 1, "may_send": True}


def test_only_what_differs_is_changed_and_what_is_emptied_is_taken_out() -> None:
    present = {"name": "a", "port": 1, "addresses": ("10.0.0.1",), "attempts": 3, "objects": ("auto",), "host": "h"}
    values = {"name": "a", "port": 2, "addresses": [], "attempts": None, "objects": ["auto"], "host": "h", "tls": False}
    assert differing(FIELDS, present, values) == {"port": 2, "addresses": None, "attempts": None}
