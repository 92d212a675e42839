"""A receiving process: `python -m dicom_node.bootstrap.hand DESCRIPTOR SETTINGS`, started by `bootstrap.hands`.

It has files and no rows, no port and no configuration file: what it must know stands in SETTINGS, and connections come
through DESCRIPTOR. It ends when the other end of that is closed, and on no signal but a kill: a service manager and a
terminal send theirs to every process, and this one still has requests to finish when the node begins to stop.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dicom_node.app.keep_instance import KeepInstance
from dicom_node.bootstrap.clock import SystemClock
from dicom_node.core.errors import StorageUnavailable
from dicom_node.dimse.hands import serve_door
from dicom_node.observability import configure_logging
from storage.direct_disk import DirectDisk, UnsyncedDisk
from storage.files import DiskFileStore
from storage.permissions import keep_to_ourselves


@dataclass(frozen=True, kw_only=True)
class HandSettings:
    """What a receiving process is told. `needed_bytes` must be free where it writes a file by itself."""

    data_dir: str
    durability: Literal["fsync", "os"]
    needed_bytes: int
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["auto", "console", "json"]

    def as_text(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


def main(descriptor: int, settings: HandSettings) -> None:
    """Serve until the door is closed. Raises StorageUnavailable."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    keep_to_ourselves()
    configure_logging(settings.log_level, settings.log_format)
    files = DiskFileStore(
        Path(settings.data_dir),
        clock=SystemClock(),
        disk=UnsyncedDisk() if settings.durability == "os" else DirectDisk(),
        life=uuid.uuid4().hex,
    )
    keep = KeepInstance(files=files, needed_bytes=settings.needed_bytes)
    with files.stock_held():
        with suppress(StorageUnavailable):  # the first image says so
            files.make_ready()
        serve_door(socket.socket(fileno=descriptor), keep)
        os._exit(0)  # with whatever a thread is writing: the stock must be held until nobody can


if __name__ == "__main__":
    main(int(sys.argv[1]), HandSettings(**json.loads(sys.argv[2])))
