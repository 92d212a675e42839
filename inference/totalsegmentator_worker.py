"""TotalSegmentator in an interpreter of its own: `PYTHON worker.py REQUEST.json`.

Runs as a script from the request's folder, in whatever environment a site installed TotalSegmentator into. So it
imports nothing of this project, needs only the standard library before TotalSegmentator itself, and runs on Python 3.9.
The answer is `answer.json` beside the request: version and label names, or the kind of error and a sentence.

Three promises of a node that TotalSegmentator does not make by itself:

- *No network.* Connections to other machines fail here. Weights are fetched once by a person, not by a study at night,
  and no usage statistics leave the site.
- *No traces.* Its settings file is put into the request's folder; nothing is written beside the weights.
- *No orphans.* The parent holds standard input open and writes nothing: when it ends, by whatever signal, this process
  deletes the request's folder (it holds a patient's images) and ends its process group.

How to edit: only names of TotalSegmentator's public interface (`python_api.totalsegmentator`,
`map_to_binary.class_map`, `config.get_weights_dir`), and keep `tests/builders/fake_totalsegmentator.py` in step.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

# The data sets whose weights a task needs, by TotalSegmentator's numbers; the folders are named DatasetNNN_...
WEIGHTS = {"vertebrae_pp": (803,), "total": (291, 292, 293, 294, 295, 298), "total_fast": (297,)}
VERTEBRAE = [f"vertebrae_C{number}" for number in range(1, 8)]
OFFLINE = "this node lets its localiser use no network"

# Hosts that were asked for in vain.
_wanted: list[str] = []


class Refused(Exception):
    """An expected end; `kind` is one that `inference.totalsegmentator_process` knows."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main(request_file: Path) -> int:
    """Do what the request says, leave `answer.json`. Returns the exit status."""
    folder = request_file.resolve().parent
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    request = json.loads(request_file.read_text(encoding="utf-8"))
    if request["threads"]:
        os.environ["OMP_NUM_THREADS"] = str(request["threads"])
    _forbid_network()
    try:
        answer = _answer(request, folder)
    except Refused as refusal:
        _write(folder / "answer.json", {"kind": refusal.kind, "message": str(refusal)})
        return 3
    _write(folder / "answer.json", answer)
    return 0


def _answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    task = request["task"]
    name = task.replace("_fast", "")
    try:
        from totalsegmentator.config import get_weights_dir
        from totalsegmentator.map_to_binary import class_map
    except ImportError as error:
        raise Refused("not_installed", f"{sys.executable} cannot import TotalSegmentator ({error})") from error
    version = _version()
    if name not in class_map:
        raise Refused("not_installed", f"TotalSegmentator {version} has no task {name}; install a newer one")
    weights = Path(get_weights_dir())
    missing = [number for number in WEIGHTS[task] if not any(weights.glob(f"Dataset{number}_*"))]
    if missing:
        numbers = ", ".join(str(number) for number in missing)
        raise Refused("weights_missing", f"{weights} lacks the weights of data set {numbers}")
    if request["image"] is not None:
        _segment(request, name, weights, folder)
    return {"version": version, "names": {str(code): str(label) for code, label in class_map[name].items()}}


def _segment(request: dict[str, Any], name: str, weights: Path, folder: Path) -> None:
    os.environ["TOTALSEG_WEIGHTS_PATH"] = str(weights)
    os.environ["TOTALSEG_HOME_DIR"] = str(_quiet_home(folder))
    try:
        from totalsegmentator.python_api import totalsegmentator
    except ImportError as error:
        raise Refused("not_installed", f"TotalSegmentator in {sys.executable} is incomplete ({error})") from error
    try:
        image = totalsegmentator(
            str(folder / request["image"]),
            None,
            ml=True,
            task=name,
            fast=request["task"] == "total_fast",
            # Leaves out the parts of the task that hold no vertebra; the other tasks do not take it.
            roi_subset=VERTEBRAE if request["task"] == "total" else None,
            device=request["device"],
            nr_thr_saving=1,
            quiet=True,
        )
    except Exception as error:
        if not _wanted:
            raise
        raise Refused("weights_missing", f"it wanted to fetch from {_wanted[0]}, and {OFFLINE}") from error
    image.to_filename(str(folder / request["labels"]))


def _quiet_home(folder: Path) -> Path:
    """A home with settings that send nothing, in the request's folder: runs beside each other share no file."""
    home = folder / "home"
    home.mkdir()
    settings = {
        "totalseg_id": "cspine-node",
        "send_usage_stats": False,
        "statistics_disclaimer_shown": True,
        "prediction_counter": 0,
    }
    _write(home / "config.json", settings)
    return home


def _forbid_network() -> None:
    """Connections and name look-ups end at this machine; those within it (multiprocessing, torch) work."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            _wanted.append(str(address[0]))
            raise OSError(OFFLINE)
        return connect(self, address)

    def guarded_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if not _is_here(host):
            _wanted.append(str(host))
            raise socket.gaierror(socket.EAI_FAIL, OFFLINE)
        return look_up(host, *arguments, **options)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = guarded_look_up


def _is_here(host: Any) -> bool:
    return host in (None, "", "localhost", "::1", b"localhost") or str(host).startswith("127.")


def _version() -> str:
    try:
        return metadata.version("TotalSegmentator")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _end_with_parent(folder: Path) -> None:
    while os.read(0, 4096):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    # Its own group by the parent's doing: nnU-Net's processes are in it, ours are not.
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(4)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
