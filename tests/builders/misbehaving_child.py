"""An analysis child that does what its study's UID says: `python -m tests.builders.misbehaving_child REQUEST.json`.

Everything around the analysis itself is the real child's: its limits, its errors, its end with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicom_node.analysis import child
from dicom_node.analysis.evidence import StageLog
from dicom_node.analysis.limits import limit_memory
from dicom_node.analysis.serial import to_json
from tests.unit.app.node import analysed

PATIENT = "Doe^Jane"


class OutOfMemoryError(RuntimeError):
    """Looks to the child as torch's does."""


def crash(request: dict[str, Any]) -> None:
    ctypes.string_at(0)


def be_killed(request: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(request: dict[str, Any]) -> None:
    time.sleep(600)


def hang_and_not_listen(request: dict[str, Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def take_all_memory(request: dict[str, Any]) -> None:
    held = []
    for _ in range(10_000):
        held.append(bytearray(16 * 2**20))


def quote_the_patient(request: dict[str, Any]) -> None:
    sys.stdout.write(f"reading {PATIENT}\n")
    sys.stdout.flush()
    raise KeyError(PATIENT)


def lack_gpu_memory(request: dict[str, Any]) -> None:
    if request["device"] != "cpu":
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def lack_gpu_memory_as_torch_says_it(request: dict[str, Any]) -> None:
    import torch

    if request["device"] != "cpu":
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


DOES: dict[str, Callable[[dict[str, Any]], None]] = {
    "1.1": crash,
    "1.2": be_killed,
    "1.3": hang,
    "1.4": hang_and_not_listen,
    "1.5": take_all_memory,
    "1.6": quote_the_patient,
    "1.7": lack_gpu_memory,
    "1.8": lack_gpu_memory_as_torch_says_it,
}


def misbehave(request: dict[str, Any], work_dir: Path) -> str:
    """In the place of the child's own analysis. A study without a vice is analysed."""
    limit_memory(request["memory_limit_mb"])
    stage = StageLog(work_dir)
    stage("reading headers")
    stage("localise")
    uid = request["study_instance_uid"]
    DOES.get(uid, lambda request: None)(request)
    text = json.loads(to_json(analysed(uid)))
    return json.dumps(text | {"device": request["device"]})


if __name__ == "__main__":
    child._analyse = misbehave
    sys.exit(child.main(Path(sys.argv[1])))
