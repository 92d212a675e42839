"""The localiser's training from nothing to a bundle, in one call that may be killed at any moment and called again.

A run's folder holds everything: `run.json` (what was asked for), `samples/`, `last.pt` and `losses.csv` (the
training), `sessions.jsonl` (one line a start: where), `bundle/`. Samples are all rendered before the first step, so
that a training that was killed sees the batches that an uninterrupted one does.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
import torch

from inference.bundle import load_classifier, save_bundle
from inference.models import LocaliserNet
from inference.pipeline import overall_device
from inference.training.fit import load_average
from inference.training.localiser import train_localiser
from inference.training.phantoms import write_samples
from inference.training.settings import Settings

_log = structlog.get_logger(__name__)

Tell = Callable[[int, int], None]


class RunMismatch(Exception):
    """The folder holds a run that was asked for something else; the message says what and where it stands."""


@dataclass(frozen=True, kw_only=True)
class LocaliserRun:
    """What a run was asked for.

    `samples` is the folder of samples, rendered as far as they are missing for `phantoms`; what else lies there is
    trained on as well. `base` is the bundle whose classifier, calibration and thresholds the new bundle keeps.
    `version` (None: the base's, marked) and `created` (YYYY-MM-DD) go into its manifest. `workers` render, each with
    one thread. `start` is a training's folder whose averaged weights a fresh run starts from.
    """

    folder: Path
    samples: Path
    settings: Settings
    phantoms: int
    base: str
    version: str | None
    created: str
    device: str = "auto"
    workers: int = 2
    start: Path | None = None

    @property
    def bundle(self) -> Path:
        """Where the bundle will be."""
        return self.folder / "bundle"


def train_to_bundle(run: LocaliserRun, tell: Tell | None = None) -> dict[str, Any]:
    """Render what is missing, train what is left, write the bundle; returns its manifest.

    `tell` receives (samples there, samples wanted). Raises BundleError before anything else where `run.base` cannot
    be used, RunMismatch where the folder holds a run of other settings.
    """
    load_classifier(run.base)
    run.folder.mkdir(parents=True, exist_ok=True)
    _claim(run)
    render_missing(run, tell or (lambda _done, _all: None))
    device = overall_device(run.device)
    started = time.monotonic()
    _note_session(run, device)
    train_localiser(run.settings, run.samples, run.folder, run.start, device)
    return _write_bundle(run, time.monotonic() - started)


def render_missing(run: LocaliserRun, tell: Tell) -> None:
    """Every seed of the run has its sample file."""
    first = run.settings.seeds.train_first
    missing = [seed for seed in range(first, first + run.phantoms) if not (run.samples / f"{seed}.npz").exists()]
    done = run.phantoms - len(missing)
    tell(done, run.phantoms)
    if not missing:
        return
    run.samples.mkdir(parents=True, exist_ok=True)
    # spawn: a forked worker would inherit torch's threads, which do not survive a fork.
    with ProcessPoolExecutor(
        min(run.workers, len(missing)), mp_context=multiprocessing.get_context("spawn"), initializer=_become_worker
    ) as pool:
        waiting = [pool.submit(_render, seed, run.samples) for seed in missing]
        try:
            for finished in as_completed(waiting):
                finished.result()
                done += 1
                tell(done, run.phantoms)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _become_worker() -> None:
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _render(seed: int, folder: Path) -> None:
    for path, seconds in write_samples("localiser", [seed], folder):
        _log.info("sample_rendered", file=path.name, seconds=round(seconds, 1))


def _claim(run: LocaliserRun) -> None:
    """The folder belongs to this run, or becomes its own."""
    fit = {**asdict(run.settings.localiser), "channels": list(run.settings.localiser.channels)}
    start = None if run.start is None else str(run.start)
    asked = {"seed": run.settings.seeds.torch, "phantoms": run.phantoms, "start": start, "localiser": fit}
    file = run.folder / "run.json"
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
        os.replace(part, file)
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    if before != asked:
        differing = sorted(key for key in asked if before.get(key) != asked[key])
        raise RunMismatch(
            f"{run.folder} holds a run with other settings ({', '.join(differing)}); continue it with its own "
            f"(see {file}) or take another folder"
        )


def _note_session(run: LocaliserRun, device: str) -> None:
    line = {"device": device, "name": device_name(device), "torch": torch.__version__}
    with (run.folder / "sessions.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def device_name(device: str) -> str:
    """What the device is, in the words of its maker."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    name = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def training_seconds(losses: Path) -> float:
    """Time at the training, all sessions together, steps done twice after a kill included; 0 without a report."""
    if not losses.exists():
        return 0.0
    with losses.open(newline="", encoding="utf-8") as stream:
        clock = [float(row["seconds"]) for row in csv.DictReader(stream)]
    # Each session's clock starts at nought: the last reading before it falls back is that session's.
    return sum(now for now, then in zip(clock, [*clock[1:], 0.0], strict=True) if then <= now)


def _write_bundle(run: LocaliserRun, seconds: float) -> dict[str, Any]:
    classifier, base = load_classifier(run.base)
    channels = run.settings.localiser.channels
    record = _record(run, seconds)
    trained_on = dict(base.get("training_data", {}).get("samples", {}))
    trained_on |= {"localiser_steps": record["steps"], "localiser_phantoms": record["phantoms"]}
    manifest = {
        "name": base["name"],
        "version": run.version or f"{base['version']}+localiser",
        "created": run.created,
        "seed": run.settings.seeds.torch,
        "training_data": {**base.get("training_data", {}), "samples": trained_on},
        "training": {**base.get("training", {}), "localiser": record},
        "classifier_of": {"name": base["name"], "version": base["version"]},
        "architecture": {
            "localiser": {"type": "LocaliserNet", "channels": list(channels)},
            "classifier": base["architecture"]["classifier"],
        },
        "calibration": base["calibration"],
        "thresholds": base["thresholds"],
        # Measured with another localiser: only what was measured on true crops still holds.
        "metrics": {key: value for key, value in base.get("metrics", {}).items() if key in ("kind", "validation")},
    }
    part = run.folder / "bundle.part"
    shutil.rmtree(part, ignore_errors=True)
    localiser = load_average(LocaliserNet(channels), run.folder)
    save_bundle(part, localiser, classifier, manifest)  # type: ignore[arg-type]
    shutil.rmtree(run.bundle, ignore_errors=True)
    os.replace(part, run.bundle)
    return manifest


def _record(run: LocaliserRun, seconds: float) -> dict[str, Any]:
    """What was trained where, for how long, on how much."""
    lines = (run.folder / "sessions.jsonl").read_text(encoding="utf-8").splitlines()
    sessions = [json.loads(line) for line in lines]
    fit = run.settings.localiser
    return {
        "steps": _steps(run.folder),
        "steps_before": 0 if run.start is None else _steps(run.start),
        "batch": fit.batch,
        "phantoms": len(list(run.samples.glob("*.npz"))),
        "first_phantom_seed": run.settings.seeds.train_first,
        "seconds": round(max(training_seconds(run.folder / "losses.csv"), seconds), 1),
        "sessions": len(sessions),
        "devices": sorted({f"{s['device']}: {s['name']}" for s in sessions}),
        "torch": sorted({s["torch"] for s in sessions}),
    }


def _steps(folder: Path) -> int:
    return int(torch.load(folder / "last.pt", weights_only=True, map_location="cpu")["step"])
