"""Digests of data sets: of today's kind and of the kind before it."""

from __future__ import annotations

import hashlib

import pytest

from dicom_node.core.data_set_digest import is_blake3, is_digest, text_of
from dicom_node.data_set_hash import DataSetHash, digest_of, hash_of

DATA_SET = bytes(range(251)) * 41


def test_it_is_blake3_as_its_authors_publish_it():
    """The vectors of the BLAKE3 specification's repository: no bytes, and 0, 1, …, 250 again and again."""
    assert digest_of(b"") == "b3-af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f"
    assert digest_of(bytes(n % 251 for n in range(1024))).startswith("b3-42214739f095a406f3fc83deb889744a")


@pytest.mark.parametrize("step", [1, 64, 1000, 10_291])
def test_in_pieces_it_is_the_same(step):
    pieces = DataSetHash()
    for at in range(0, len(DATA_SET), step):
        pieces.update(memoryview(DATA_SET)[at : at + step])
    assert pieces.digest == hash_of(DATA_SET)
    assert pieces.text == digest_of(DATA_SET) == text_of(hash_of(DATA_SET))


def test_of_the_kind_of_before_it_is_sha_256():
    before = hashlib.sha256(DATA_SET).hexdigest()
    same = DataSetHash(like=before)
    same.update(DATA_SET)
    assert same.text == before
    assert not is_blake3(before)
    assert is_blake3(digest_of(DATA_SET))


def test_a_column_of_64_characters_holds_it_and_a_file_may_be_called_so():
    assert len(digest_of(DATA_SET)) <= 64
    assert all(is_digest(each) for each in (digest_of(DATA_SET), hashlib.sha256().hexdigest()))
    assert not any(is_digest(each) for each in ("", "b3-", "../x", "A" * 64, digest_of(DATA_SET) + "0", "0" * 63))
