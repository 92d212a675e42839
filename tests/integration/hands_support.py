"""Hands for a receiver on loopback: in threads of this process, or in processes of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicom_node.app.keep_instance import KeepInstance
from dicom_node.app.receive_instance import IncomingInstance
from dicom_node.bootstrap.clock import SystemClock
from dicom_node.bootstrap.hand import HandSettings
from dicom_node.bootstrap.hands import start_hand
from dicom_node.dimse.hands import Hands, Process, serve_door
from dicom_node.dimse.server import ReceiverLimits
from storage.files import DiskFileStore
from tests.integration.dimse_support import Counts, Node, running_node, wait_for

LIMITS = ReceiverLimits(requests_per_second_per_address=100_000.0, acse_timeout_s=5.0, network_timeout_s=5.0)


class ThreadHand:
    """A hand that is no process: `serve_door` in a thread, over the same sockets."""

    pid = 0

    def __init__(self, door: socket.socket, root: Path) -> None:
        files = DiskFileStore(root, clock=SystemClock(), life="thread")
        own = door.dup()
        self._thread = threading.Thread(
            target=serve_door, args=(own, KeepInstance(files=files, needed_bytes=0)), daemon=True
        )
        self._thread.start()

    def poll(self) -> int | None:
        return None if self._thread.is_alive() else 0

    def kill(self) -> None:
        """A thread cannot be killed."""

    def wait(self, timeout: float | None = None) -> int:
        self._thread.join(timeout)
        return 0


def in_a_thread(root: Path) -> Callable[[socket.socket], Process]:
    return lambda door: ThreadHand(door, root)


def in_a_process(root: Path, *, needed_bytes: int = 0) -> Callable[[socket.socket], Process]:
    told = HandSettings(
        data_dir=str(root), durability="fsync", needed_bytes=needed_bytes, log_level="error", log_format="json"
    )
    return lambda door: start_hand(door, told)


@contextmanager
def node_with_hands(
    root: Path,
    start_process: Callable[[socket.socket], Process],
    *,
    count: int = 1,
    lend_after: int = 0,
    limits: ReceiverLimits = LIMITS,
    **more: Any,
) -> Iterator[tuple[Node, Hands]]:
    """A receiver whose hands keep files under `root`; what it was given has the data sets of those files."""
    counts = Counts()
    files = DiskFileStore(root, clock=SystemClock())
    hands = Hands(
        count=count, start_process=start_process, counters=counts, discard=files.discard, lend_after=lend_after
    )
    hands.start()
    try:
        with running_node(limits=limits, hands=hands, counts=counts, **more) as node:
            node.receiving.data_set_of = lambda incoming: data_set_in(root, incoming)
            wait_for(lambda: hands.up == count, "the hands to be up", 60.0)
            yield node, hands
    finally:
        hands.stop(10.0)


def data_set_in(root: Path, incoming: IncomingInstance) -> bytes:
    """The data set of an instance, wherever it is."""
    if incoming.stored is None:
        return bytes(incoming.data_set)
    with (root / incoming.stored.path).open("rb") as file:
        file.seek(132)
        group_length = int.from_bytes(file.read(12)[8:], "little")
        file.seek(132 + 12 + group_length)
        return file.read()
