"""What makes the digests of data sets (core.data_set_digest)."""

from __future__ import annotations

import hashlib

from blake3 import blake3

from dicom_node.core.data_set_digest import is_blake3, text_of


class DataSetHash:
    """A digest that grows with what it is given, of the kind of `like`; without, of the kind that is used now."""

    __slots__ = ("_hash", "_is_blake3", "update")

    def __init__(self, *, like: str = "") -> None:
        self._is_blake3 = not like or is_blake3(like)
        self._hash = blake3() if self._is_blake3 else hashlib.sha256()
        self.update = self._hash.update

    @property
    def digest(self) -> bytes:
        """32 bytes."""
        return self._hash.digest()

    @property
    def text(self) -> str:
        """What rows hold."""
        return text_of(self.digest) if self._is_blake3 else self.digest.hex()


def hash_of(data_set: bytes | memoryview) -> bytes:
    """32 bytes, of the kind that is used now."""
    return blake3(data_set).digest()


def digest_of(data_set: bytes | memoryview) -> str:
    """What rows hold of a whole data set that comes now."""
    return text_of(hash_of(data_set))
