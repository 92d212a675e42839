"""A decoding child that does what the name of its source says: `python -m tests.builders.misbehaving_decoder`.

Everything around one image is the real child's. A file without a vice in its name is decoded.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicom_node.analysis import decoder_child
from inference import decoded

_decode = decoder_child.answer


def crash(request: dict[str, Any]) -> None:
    Path(request["target"]).with_suffix(".part").write_bytes(b"half")
    ctypes.string_at(0)


def be_killed(request: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(request: dict[str, Any]) -> None:
    time.sleep(600)


def hang_in_native_code(request: dict[str, Any]) -> None:
    ctypes.PyDLL(None).sleep(600)  # holding the interpreter lock


def raise_what_nobody_foresaw(request: dict[str, Any]) -> None:
    raise KeyError("nobody foresaw this")


def print_much(request: dict[str, Any]) -> None:
    os.write(1, b'{"bytes": 1}\n' * 10_000)


def take_all_memory(request: dict[str, Any]) -> None:
    held = []
    for _ in range(10_000):
        held.append(bytearray(16 * 2**20))


DOES: dict[str, Callable[[dict[str, Any]], None]] = {
    function.__name__: function
    for function in (
        *(crash, be_killed, hang, hang_in_native_code, raise_what_nobody_foresaw),
        *(print_much, take_all_memory),
    )
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """As the real one, after what the file's name says."""
    vice = DOES.get(Path(request["source"]).stem)
    if vice is take_all_memory:
        decoded.store_frames = lambda *_, **__: take_all_memory(request)  # type: ignore[assignment,misc]
    elif vice is not None:
        vice(request)
    return _decode(request)


if __name__ == "__main__":
    decoder_child.answer = answer
    decoder_child.main()
