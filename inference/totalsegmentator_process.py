"""Starts TotalSegmentator in a process group of its own and ends that group, whatever happens.

Standard library only, so that a node can ask "is it there?" without loading torch. The script it runs is
`inference/totalsegmentator_worker.py`, copied into the request's folder: its module path then holds nothing of ours
that could shadow a package of the other environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from inference.errors import (
    LocaliserCrashed,
    LocaliserError,
    LocaliserNotInstalled,
    LocaliserTimeout,
    LocaliserWeightsMissing,
)

Task = Literal["vertebrae_pp", "total", "total_fast"]
IMAGE: Final = "ct.nii.gz"
LABELS: Final = "labels.nii.gz"

_WORKER: Final = Path(__file__).with_name("totalsegmentator_worker.py")
_POLL_S: Final = 0.02
_LONGEST_PROBE_S: Final = 120.0
_TAIL_CHARACTERS: Final = 600
_REFUSALS: Final[Mapping[str, type[LocaliserError]]] = {
    "not_installed": LocaliserNotInstalled,
    "weights_missing": LocaliserWeightsMissing,
}


@dataclass(frozen=True, kw_only=True)
class TotalSegmentator:
    """Which TotalSegmentator a site uses, and how.

    `python` is the interpreter of the environment it is installed in, empty for the node's own. `total_fast` is the
    task `total` with its 3 mm model. `threads` 0 leaves the number to torch.
    """

    task: Task = "vertebrae_pp"
    python: str = ""
    timeout_s: float = 600.0
    device: Literal["cpu", "gpu"] = "cpu"
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`version` of the TotalSegmentator that answered; `names` maps its label codes to its names."""

    version: str
    names: dict[int, str]


def probe(settings: TotalSegmentator) -> Answer:
    """What would answer a study. Raises LocaliserError where package or weights are missing; loads no network."""
    with TemporaryDirectory(prefix="cspine-localiser-") as folder:
        return _ask(settings, None, Path(folder), min(settings.timeout_s, _LONGEST_PROBE_S))


def segment(settings: TotalSegmentator, folder: Path) -> Answer:
    """Labels `IMAGE` in `folder` (private, nothing else in it) and leaves `LABELS` there. Raises LocaliserError."""
    answer = _ask(settings, IMAGE, folder, settings.timeout_s)
    if not (folder / LABELS).exists():
        raise LocaliserCrashed(f"TotalSegmentator {answer.version} ended without writing its labels")
    return answer


def _ask(settings: TotalSegmentator, image: str | None, folder: Path, timeout_s: float) -> Answer:
    script = shutil.copyfile(_WORKER, folder / "worker.py")
    request = {
        "task": settings.task,
        "image": image,
        "labels": LABELS,
        "device": settings.device,
        "threads": settings.threads,
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    log = folder / "log.txt"
    status = _run([settings.python or sys.executable, str(script), "request.json"], folder, log, timeout_s)
    answer = _answer_in(folder)
    if answer is not None and "kind" in answer:
        raise _REFUSALS[answer["kind"]](f"{answer['message']}. {_remedy(answer['kind'], settings.task)}")
    if status != 0 or answer is None:
        raise LocaliserCrashed(f"TotalSegmentator ended with status {status}: {_tail(log)}")
    return Answer(version=answer["version"], names={int(code): name for code, name in answer["names"].items()})


def _run(command: list[str], folder: Path, log: Path, timeout_s: float) -> int:
    """The exit status. Raises LocaliserTimeout; no process of the group is left in either case."""
    ends_at = time.monotonic() + timeout_s
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise LocaliserNotInstalled(
                f"the interpreter {command[0]} cannot be started ({error.strerror}); set "
                "inference.totalsegmentator_python to that of the environment TotalSegmentator is installed in"
            ) from error
        try:
            # Not `wait`: until it is reaped nobody else can get its number, so the group below is surely its own.
            while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                if time.monotonic() > ends_at:
                    raise LocaliserTimeout(
                        f"TotalSegmentator ran longer than {timeout_s:.0f} s and was ended: {_tail(log)}"
                    )
                time.sleep(_POLL_S)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
            if process.stdin is not None:
                process.stdin.close()
    return status


def _answer_in(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "answer.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return None


def _remedy(kind: str, task: Task) -> str:
    if kind == "weights_missing":
        return (
            f"Fetch them once with `totalseg_download_weights -t {task}` in its environment, or copy them from a "
            "machine that has them and name the folder in TOTALSEG_WEIGHTS_PATH"
        )
    return (
        "Install TotalSegmentator into an environment of its own and set inference.totalsegmentator_python to its "
        "interpreter"
    )


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()[-_TAIL_CHARACTERS:]
    return " | ".join(line.strip() for line in text.splitlines() if line.strip()) or "it wrote nothing"
