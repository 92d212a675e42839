"""Runs the analysis child, waits for it with a limit, and turns what it leaves into a result or a named error."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from dicom_node.analysis.serial import from_json
from dicom_node.core.errors import (
    BundleMismatch,
    GeometryUnsupported,
    GpuOutOfMemory,
    LocaliserUnusable,
    NodeError,
    WorkerLost,
    WorkerTimeout,
)
from dicom_node.core.finding import AnalysisResult
from dicom_node.ports import AnalysisRequest
from inference.totalsegmentator_process import TotalSegmentator

POLL_S = 0.1
TERMINATE_WAIT_S = 5.0

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
    ) -> None:
        """`threads` None is torch's choice, `memory_limit_mb` 0 no limit, `localiser` None the bundle's own."""
        self._bundle = bundle
        self._device = device
        self._threads = threads
        self._timeout_s = timeout_s
        self._memory_limit_mb = memory_limit_mb
        self._localiser = localiser

    def analyse(self, request: AnalysisRequest, *, is_cancelled: Callable[[], bool]) -> AnalysisResult:
        """The child's result; see `ports.Analyzer` for the errors."""
        request_file = self._write_request(request)
        with (request.work_dir / "child.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "dicom_node.analysis.child", str(request_file)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                status = self._wait(child, is_cancelled)
            finally:
                _end(child)
        return _collect(request.work_dir, status)

    def _write_request(self, request: AnalysisRequest) -> Path:
        for name in ("analysis.json", "error.json"):
            (request.work_dir / name).unlink(missing_ok=True)
        path = request.work_dir / "request.json"
        path.write_text(
            json.dumps(
                {
                    "study_instance_uid": request.study_instance_uid,
                    "revision": request.revision,
                    "files": [str(file) for file in request.files],
                    "work_dir": str(request.work_dir),
                    "bundle": self._bundle,
                    "device": self._device,
                    "threads": self._threads,
                    "memory_limit_mb": self._memory_limit_mb,
                    "localiser": None if self._localiser is None else asdict(self._localiser),
                }
            )
        )
        return path

    def _wait(self, child: subprocess.Popen[bytes], is_cancelled: Callable[[], bool]) -> int:
        ends_at = time.monotonic() + self._timeout_s
        while True:
            try:
                return child.wait(timeout=POLL_S)
            except subprocess.TimeoutExpired:
                if is_cancelled():
                    raise WorkerLost("the analysis was stopped because its job is no longer wanted") from None
                if time.monotonic() > ends_at:
                    raise WorkerTimeout(
                        f"the analysis ran longer than {self._timeout_s:.0f} s and was ended; it is tried again"
                    ) from None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave no child behind."""
    if child.stdin is not None:
        child.stdin.close()
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=TERMINATE_WAIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _collect(work_dir: Path, status: int) -> AnalysisResult:
    if status == 0:
        return from_json((work_dir / "analysis.json").read_text())
    error_file = work_dir / "error.json"
    if error_file.exists():
        error = json.loads(error_file.read_text())
        kind = _ERRORS.get(error["kind"])
        if kind is not None:
            raise kind(error["message"])
        raise WorkerLost(f"the analysis ended with {error['kind']}: {error['message']}")
    raise WorkerLost(f"the analysis process ended with status {status} and left no result (see {work_dir}/child.log)")
