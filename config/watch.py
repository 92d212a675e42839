"""The peers as the file has them now, without a restart."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from config.errors import ConfigError
from config.load import parse_peers, read_text
from config.receivers import PeerSettings

_Stamp = tuple[int, int, int]


class LivePeers:
    """Peers that follow the file: each call looks whether it changed, which costs one `stat`.

    A broken edit is refused as a whole: the last good peers stay, and `problem` says what is wrong, in one line,
    until the file is right again. Safe for use from several threads.
    """

    def __init__(
        self,
        file: Path,
        initial: tuple[PeerSettings, ...] | None = None,
        *,
        on_accepted: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts with `initial`, or with the file's peers, which must then be right (ConfigError).

        `on_accepted` is called whenever another text was taken up, before anybody is given its peers.
        """
        self.file = file
        self._path = os.fspath(file)
        self._on_accepted = on_accepted
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = self._look()
        self._peers = parse_peers(read_text(file), source=str(file)) if initial is None else initial
        self._problem = ""
        self._generation = 0

    def peers(self) -> tuple[PeerSettings, ...]:
        """All peers, disabled ones too, in the file's order."""
        self.refresh()
        return self._peers

    def by_name(self, name: str) -> PeerSettings | None:
        """The peer of that name; None where there is none."""
        return next((peer for peer in self.peers() if peer.name == name), None)

    @property
    def problem(self) -> str:
        """Why the file as it stands is not in use; empty where it is."""
        self.refresh()
        return self._problem

    @property
    def generation(self) -> int:
        """How often the peers in use were replaced; rises by one with each accepted edit."""
        self.refresh()
        return self._generation

    def refresh(self) -> bool:
        """Reads the file if it changed. True where the peers in use were replaced."""
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            try:
                peers = parse_peers(read_text(self.file), source=str(self.file))
            except ConfigError as error:
                self._problem = str(error)
                return False
            self._problem = ""
            replaced = peers != self._peers
            self._peers = peers
            self._generation += replaced
            self._on_accepted()
            return replaced

    def _look(self) -> _Stamp | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
