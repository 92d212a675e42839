"""How much lies decoded, and how much may: below its limit, and never at the cost of the disk's reserve."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import structlog

from dicom_node.core.errors import StorageUnavailable
from dicom_node.ports import DecodedFrames, FileStore

log = structlog.get_logger(__name__)


class DecodedRoom:
    """What is held, oldest first. `give_room` and `held_bytes` are for any thread, everything else for one.

    At most `limit_bytes` are held. Nothing is added where less than a quarter of that is free beyond `min_free_bytes`,
    and the oldest go where an eighth is not.
    """

    def __init__(self, *, files: FileStore, decoded: DecodedFrames, limit_bytes: int, min_free_bytes: int) -> None:
        self._files = files
        self._decoded = decoded
        self._limit_bytes = limit_bytes
        self._min_free_bytes = min_free_bytes
        self._guard = threading.Lock()
        self._held: dict[str, int] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._held

    @property
    def held_bytes(self) -> int:
        """What lies decoded now."""
        with self._guard:
            return sum(self._held.values())

    def left(self) -> int:
        """Bytes that may be added now. Raises StorageUnavailable."""
        beyond = self._files.free_bytes() - self._min_free_bytes - self._limit_bytes // 4
        return max(0, min(self._limit_bytes - self.held_bytes, beyond))

    def took(self, held: Mapping[str, int]) -> None:
        """These lie decoded, with their sizes, the oldest first."""
        with self._guard:
            self._held.update(held)

    def give_room(self) -> bool:
        """Whether anything lay decoded: it is gone, because its room is needed. Never raises for that."""
        with self._guard:
            held = tuple(self._held)
        try:
            return self.give_up(held) > 0
        except StorageUnavailable as error:
            log.warning("decoded_frames_not_removed", why=str(error))
            return False

    def give_up(self, digests: Iterable[str]) -> int:
        """These are not held any more; how many of them were. Raises StorageUnavailable."""
        given_up = 0
        for digest in digests:
            with self._guard:
                was_held = self._held.pop(digest, None) is not None
            if was_held:
                self._decoded.remove(digest)
                given_up += 1
        return given_up

    def spare_the_reserve(self) -> None:
        """The oldest go until the disk has enough free. Raises StorageUnavailable."""
        short = self._min_free_bytes + self._limit_bytes // 8 - self._files.free_bytes()
        with self._guard:
            held = tuple(self._held.items())
        for digest, size_bytes in held:
            if short <= 0:
                return
            self.give_up((digest,))
            short -= size_bytes
