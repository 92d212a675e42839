"""A package with TotalSegmentator's interface (2.18) for a child process, told what to do by a file.

`install` writes it into a folder for PYTHONPATH, with its weights beside it. The labels it answers with are a NIfTI
file that a test prepared; it needs nothing but the standard library, so that a test costs an interpreter's start.
"""

from __future__ import annotations

import json
from pathlib import Path

_PYTHON_API = """
import json, os, shutil, socket, subprocess, sys, time
from pathlib import Path

import totalsegmentator.config

ORDERS = json.loads(Path(__file__).with_name("orders.json").read_text())


class Nifti1Image:
    def __init__(self, path):
        self.path = path

    def to_filename(self, path):
        shutil.copyfile(self.path, path)


def totalsegmentator(input, output=None, ml=False, nr_thr_resamp=1, nr_thr_saving=6, fast=False, nora_tag="None",
                     preview=False, task="total", roi_subset=None, device="gpu", quiet=False, **others):
    called = {"task": task, "fast": fast, "roi_subset": roi_subset, "device": device, "ml": ml, "output": output,
              "folder": str(Path(input).parent), "mode": oct(Path(input).parent.stat().st_mode & 0o777),
              "settings": json.loads((totalsegmentator_home() / "config.json").read_text()),
              "weights": os.environ.get("TOTALSEG_WEIGHTS_PATH"), "pid": os.getpid()}
    Path(ORDERS["seen"]).with_suffix(".json").write_text(json.dumps(called))
    shutil.copyfile(input, ORDERS["seen"])
    if ORDERS["mode"] == "hang":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(ORDERS["seen"]).with_suffix(".started").touch()
        time.sleep(60)
    if ORDERS["mode"] == "crash":
        raise RuntimeError("no kernel image is available for this device")
    if ORDERS["mode"] == "killed":
        os.kill(os.getpid(), 9)
    if ORDERS["mode"] == "download":
        socket.create_connection(("weights.invalid", 443), timeout=1)
    return Nifti1Image(ORDERS["labels"])


def totalsegmentator_home():
    return Path(os.environ["TOTALSEG_HOME_DIR"])
"""

_CONFIG = """
import os
from pathlib import Path


def get_weights_dir():
    return Path(os.environ.get("TOTALSEG_WEIGHTS_PATH", Path(__file__).parent / "weights"))
"""


def install(
    folder: Path,
    *,
    labels: Path,
    names: dict[int, str],
    task: str = "vertebrae_pp",
    mode: str = "answer",
    weights: tuple[int, ...] = (803,),
) -> Path:
    """Writes the package below `folder`; returns the file that will hold a copy of the image it was given.

    Beside that file lies a `.json` with how it was called. `mode` is answer, hang, crash, killed or download.
    """
    package = folder / "totalsegmentator"
    package.mkdir(parents=True)
    seen = folder / "seen.nii.gz"
    (package / "__init__.py").write_text("")
    (package / "python_api.py").write_text(_PYTHON_API)
    (package / "config.py").write_text(_CONFIG)
    (package / "map_to_binary.py").write_text(f"class_map = {{{task!r}: {names!r}}}\n")
    (package / "orders.json").write_text(json.dumps({"mode": mode, "labels": str(labels), "seen": str(seen)}))
    info = folder / "TotalSegmentator-2.18.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: TotalSegmentator\nVersion: 2.18.0\n")
    for number in weights:
        (package / "weights" / f"Dataset{number}_of_the_fake").mkdir(parents=True)
    return seen
