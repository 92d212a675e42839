"""The receiving processes of a node, from its settings."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from config.settings import Settings
from dicom_node.bootstrap.hand import HandSettings
from dicom_node.bootstrap.receiver_tls import plain_port
from dicom_node.bootstrap.store import Store
from dicom_node.dimse.hands import Hands
from dicom_node.ports import Counters

_CORES_FOR_ONE = 4
_MOST_BY_ITSELF = 4


def receiving_processes(settings: Settings, store: Store, counters: Counters) -> Hands | None:
    """As many as are set; None where that is none, or where they would have nothing to do."""
    count = settings.node.receiving_processes
    if count == "auto":
        count = processes_for(len(os.sched_getaffinity(0)))
    if not count or plain_port(settings.node) is None:  # an encrypted association is not lent
        return None
    told = hand_settings(settings)
    return Hands(
        count=count,
        start_process=lambda door: start_hand(door, told),
        counters=counters,
        discard=store.files.discard,
    )


def processes_for(cores: int) -> int:
    """What "auto" means on a machine with so many cores."""
    return min(_MOST_BY_ITSELF, cores // _CORES_FOR_ONE)


def hand_settings(settings: Settings) -> HandSettings:
    """What a receiving process is told.

    It writes by itself where the reserve stays even if all that may be in memory is written at the same moment: the
    main process knows better, and is asked where that is not so.
    """
    node = settings.node
    return HandSettings(
        data_dir=str(node.data_dir.absolute()),
        durability=settings.storage.durability,
        needed_bytes=node.min_free_bytes + (node.receiving_memory_mb << 20),
        log_level=settings.log.level,
        log_format=settings.log.format,
    )


def start_hand(door: socket.socket, settings: HandSettings) -> subprocess.Popen[bytes]:
    """A process that serves `door`. Raises OSError."""
    descriptor = door.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", "dicom_node.bootstrap.hand", str(descriptor), settings.as_text()],
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
    )
