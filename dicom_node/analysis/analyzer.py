"""Runs the analysis child, waits for it with a limit, and turns what it leaves into a result or a named error.

A child that ends badly leaves evidence (`evidence`), which goes into the error. One that lacks memory on the GPU has
freed it by ending: the attempt then goes on with another child on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import structlog

from dicom_node.analysis.evidence import gather
from dicom_node.analysis.serial import from_json
from dicom_node.core.errors import (
    BundleMismatch,
    GeometryUnsupported,
    GpuOutOfMemory,
    LocaliserUnusable,
    NodeError,
    TransientError,
    WorkerLost,
    WorkerTimeout,
)
from dicom_node.core.finding import AnalysisResult
from dicom_node.core.identifiers import study_key
from dicom_node.ports import AnalysisRequest
from inference.totalsegmentator_process import TotalSegmentator

log = structlog.get_logger(__name__)

POLL_S = 0.1
TERMINATE_WAIT_S = 5.0
CHILD = (sys.executable, "-m", "dicom_node.analysis.child")

_ERRORS: dict[str, type[NodeError]] = {
    "GpuOutOfMemory": GpuOutOfMemory,
    "GeometryUnsupported": GeometryUnsupported,
    "BundleError": BundleMismatch,
    "LocaliserNotInstalled": LocaliserUnusable,
    "LocaliserWeightsMissing": LocaliserUnusable,
    "LocaliserAnswerUnusable": LocaliserUnusable,
    "LocaliserTimeout": WorkerTimeout,
    "LocaliserCrashed": WorkerLost,
}


class ChildAnalyzer:
    """An Analyzer (see `dicom_node.ports`) that gives each attempt a process of its own."""

    def __init__(
        self,
        *,
        bundle: str,
        device: str,
        threads: int | None,
        timeout_s: float,
        memory_limit_mb: int = 0,
        localiser: TotalSegmentator | None = None,
        command: Sequence[str] = CHILD,
        terminate_wait_s: float = TERMINATE_WAIT_S,
    ) -> None:
        """`threads` None is torch's choice, `memory_limit_mb` 0 no limit, `localiser` None the bundle's own.

        `command` starts the child; `terminate_wait_s` is what it has between SIGTERM and SIGKILL.
        """
        self._bundle = bundle
        self._device = device
        self._threads = threads
        self._timeout_s = timeout_s
        self._memory_limit_mb = memory_limit_mb
        self._localiser = localiser
        self._command = tuple(command)
        self._terminate_wait_s = terminate_wait_s

    def analyse(self, request: AnalysisRequest, *, is_cancelled: Callable[[], bool]) -> AnalysisResult:
        """The child's result; see `ports.Analyzer` for the errors."""
        try:
            return self._attempt(request, self._device, is_cancelled)
        except GpuOutOfMemory as error:
            if self._device == "cpu":
                raise
            log.warning("gpu_out_of_memory", study=study_key(request.study_instance_uid), then="cpu", why=str(error))
        on_cpu = request.work_dir / "on-cpu"
        on_cpu.mkdir(exist_ok=True)
        return self._attempt(replace(request, work_dir=on_cpu), "cpu", is_cancelled)

    def _attempt(self, request: AnalysisRequest, device: str, is_cancelled: Callable[[], bool]) -> AnalysisResult:
        request_file = self._write_request(request, device)
        began = time.monotonic()
        with (request.work_dir / "child.log").open("wb") as output:
            child = _Child(
                subprocess.Popen(
                    [*self._command, str(request_file)],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
            try:
                status = self._wait(child, is_cancelled)
                return _collect(request.work_dir, status)
            except _Stopped as error:
                raise WorkerLost(str(error)) from None
            except TransientError as error:
                child.end(self._terminate_wait_s)
                evidence = gather(
                    request.work_dir,
                    status=child.status_of_its_own,
                    ran_s=time.monotonic() - began,
                    peak_mb=child.peak_mb,
                )
                raise type(error)(f"{error} ({evidence.in_words()})") from None
            finally:
                child.end(self._terminate_wait_s)

    def _write_request(self, request: AnalysisRequest, device: str) -> Path:
        for name in ("analysis.json", "error.json", "stage.json"):
            (request.work_dir / name).unlink(missing_ok=True)
        path = request.work_dir / "request.json"
        path.write_text(
            json.dumps(
                {
                    "study_instance_uid": request.study_instance_uid,
                    "revision": request.revision,
                    "files": [str(file) for file in request.files],
                    "decoded": {str(file): str(frames) for file, frames in request.decoded.items()},
                    "work_dir": str(request.work_dir),
                    "bundle": self._bundle,
                    "device": device,
                    "threads": self._threads,
                    "memory_limit_mb": self._memory_limit_mb,
                    "localiser": None if self._localiser is None else asdict(self._localiser),
                }
            )
        )
        return path

    def _wait(self, child: _Child, is_cancelled: Callable[[], bool]) -> int:
        ends_at = time.monotonic() + self._timeout_s
        while True:
            status = child.poll()
            if status is not None:
                child.status_of_its_own = status
                return status
            if is_cancelled():
                raise _Stopped("the analysis was stopped because its job is no longer wanted")
            if time.monotonic() > ends_at:
                raise WorkerTimeout(f"the analysis ran longer than {self._timeout_s:.0f} s and was ended")
            time.sleep(POLL_S)


class _Stopped(Exception):
    """We ended the child for reasons that say nothing about it."""


class _Child:
    """A running child. `peak_mb` is known once it has ended; `status_of_its_own` stays None where we ended it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.status_of_its_own: int | None = None
        self.peak_mb = 0

    def poll(self) -> int | None:
        """Its exit status; None while it runs. Reaps it with wait4, which alone tells what memory it took."""
        if self._process.returncode is None:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self.peak_mb = usage.ru_maxrss // 1024
        return self._process.returncode

    def end(self, wait_s: float) -> None:
        """Leave no child behind: SIGTERM, and SIGKILL for one that does not listen. Twice is once."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self.poll() is not None:
            return
        self._process.terminate()
        deadline = time.monotonic() + wait_s
        while self.poll() is None:
            if time.monotonic() > deadline:
                self._process.kill()
            time.sleep(POLL_S / 10)


def _collect(work_dir: Path, status: int) -> AnalysisResult:
    if status == 0:
        return from_json((work_dir / "analysis.json").read_text())
    error_file = work_dir / "error.json"
    if error_file.exists():
        error = json.loads(error_file.read_text())
        kind = _ERRORS.get(error["kind"])
        if kind is not None:
            raise kind(error["message"])
        if error["kind"] == "MemoryError":
            raise WorkerLost("the analysis needs more memory than inference.memory_limit_mb lets it take")
        # The text of an exception nobody foresaw may quote a data set: it stays in the job's folder.
        raise WorkerLost(f"the analysis ended with {error['kind']} at {error['where']} (see {error_file})")
    raise WorkerLost(f"the analysis process left no result (see {work_dir}/child.log)")
