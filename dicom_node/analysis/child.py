"""The analysis child: `python -m dicom_node.analysis.child REQUEST.json`.

One process an attempt, so that a crash, a hang or a lack of memory ends the attempt and not the node. The request
is a file; the answer is `analysis.json` or `error.json` in the request's work folder, written whole or not at all.
The parent holds the child's standard input open and never writes to it: when the parent dies, by whatever signal,
the read ends and the child ends itself, so no orphan goes on computing beside a restarted node.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from dicom_node.collector import loading

EXIT_EXPECTED_ERROR = 3
EXIT_ORPHANED = 4


def main(request_file: Path) -> int:
    """Analyse as the request says. Returns the exit status."""
    faulthandler.enable()  # a crash in a decoder or a driver leaves the place where it happened
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = json.loads(request_file.read_text())
    work_dir = Path(request["work_dir"])
    try:
        text = _analyse(request, work_dir)
    # The analysis child is one of the five boundaries: whatever happens becomes a named error for the parent.
    except Exception as error:
        _write_whole(work_dir / "error.json", json.dumps(_described(error)))
        return EXIT_EXPECTED_ERROR
    _write_whole(work_dir / "analysis.json", text)
    return 0


def _analyse(request: dict[str, Any], work_dir: Path) -> str:
    # Imported here so that the watch on the parent runs before torch loads.
    with loading():
        from dicom_node.analysis.evidence import StageLog
        from dicom_node.analysis.limits import limit_memory
        from dicom_node.analysis.localiser import configured_localiser
        from dicom_node.analysis.serial import to_json
        from dicom_node.analysis.study import analyse_study, open_study
        from dicom_node.core.selection import SelectionRules
        from inference.bundle import load_bundle
        from inference.pipeline import Pipeline, overall_device

        stage = StageLog(work_dir)
        limit_memory(request["memory_limit_mb"])
        stage("loading the bundle")
        device = overall_device(request["device"])
        localiser = configured_localiser(request["localiser"], work_dir)
        pipeline = Pipeline(load_bundle(request["bundle"], device), device, request["threads"], localiser)
    stage("reading headers")
    study = open_study(
        request["study_instance_uid"],
        [Path(file) for file in request["files"]],
        {Path(file): Path(frames) for file, frames in request["decoded"].items()},
    )
    result = analyse_study(
        study,
        pipeline=pipeline,
        rules=SelectionRules(),
        device=device,
        work_dir=work_dir,
        progress=stage,
        localiser=localiser,
    )
    return to_json(result)


def _described(error: Exception) -> dict[str, str]:
    kind = type(error).__name__
    if kind == "OutOfMemoryError":
        kind = "GpuOutOfMemory"
    elif isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # the second is torch's on the CPU
        kind = "MemoryError"
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{Path(frame[0].filename).name}:{frame[0].lineno}" if frame else ""
    return {"kind": kind, "where": where, "message": str(error), "traceback": traceback.format_exc()}


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    os.replace(temporary, path)


def _end_with_parent() -> None:
    # Not through sys.stdin: its lock, held by a daemon thread, aborts the interpreter at shutdown.
    while os.read(0, 4096):
        pass
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
