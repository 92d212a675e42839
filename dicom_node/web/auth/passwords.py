"""Passwords as argon2id hashes (RFC 9106), through argon2-cffi."""

from __future__ import annotations

import threading
import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

# Each hash takes `memory_kib`: so many at once, and the others wait, or a flood of log-ins would take the memory that
# receiving and analysis need.
_AT_ONCE = 2


class Argon2Hasher:
    """`PasswordHasher` of the ports. The costs are RFC 9106's second choice; tests take cheaper ones."""

    def __init__(self, *, time_cost: int = 3, memory_kib: int = 65536, parallelism: int = 4) -> None:
        self._argon2 = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism, type=Type.ID
        )
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def hash(self, password: str) -> str:
        """With a new salt."""
        with self._places:
            return self._argon2.hash(_bytes(password))

    def verify(self, password_hash: str, password: str) -> bool:
        """Whether the hash was made of the password."""
        try:
            with self._places:
                return self._argon2.verify(password_hash, _bytes(password))
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with other costs."""
        return self._argon2.check_needs_rehash(password_hash)


def _bytes(password: str) -> bytes:
    # One keyboard sends é as one character, another as two.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
