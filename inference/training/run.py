"""The localiser's training from nothing to a bundle, in one call that may be killed at any moment and called again.

Three networks are trained one after the other: the one that names the levels, the one that says where along the spine
each begins and ends, and the one that draws them. A run's folder holds everything: `run.json` (what was asked for),
`samples/`, `last.pt`, `losses.csv` and `sessions.jsonl` (one line a start: where) of the first, the same of the others
under `place/` and `shape/`, and `bundle/`. The last two share `shape-samples/`. Samples are all rendered before
the first step, so that a training that was killed sees the batches that an uninterrupted one does.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import structlog
import torch

from inference.bundle import BUNDLE_NAME, fractures_of, save_bundle
from inference.bundle_files import read_manifest
from inference.models import LocaliserNet, PlaceNet, ShapeNet
from inference.pipeline import overall_device
from inference.training.fit import load_average
from inference.training.localiser import train_localiser
from inference.training.phantoms import write_samples
from inference.training.place import train_place
from inference.training.settings import Fit, Settings, read_settings
from inference.training.shape import train_shape

_log = structlog.get_logger(__name__)

Tell = Callable[[int, int], None]

TRAINING_DATA: Final = (
    "Synthetic CT only, made by inference/synthetic: no patient data in training, calibration or thresholds. "
    "Its numbers say nothing about patients."
)


class RunMismatch(Exception):
    """The folder holds a run that was asked for something else; the message says what and where it stands."""


@dataclass(frozen=True, kw_only=True)
class LocaliserRun:
    """What a run was asked for.

    `samples` is the folder of samples, rendered as far as they are missing for `phantoms`; what else lies there is
    trained on as well. `shape_samples` and `shape_phantoms` are the other two networks'. `base` is the bundle (or
    a fracture experiment's run) whose fracture models the new bundle has. `version` (None: theirs, marked) and
    `created` (YYYY-MM-DD) go into its manifest. `workers` render, each with one thread. `start` is a training's folder
    whose averaged weights a fresh run of the first network starts from.
    """

    folder: Path
    samples: Path
    settings: Settings
    phantoms: int
    shape_samples: Path
    shape_phantoms: int
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

    @property
    def place_folder(self) -> Path:
        """Where the placing network's training is."""
        return self.folder / "place"

    @property
    def shape_folder(self) -> Path:
        """Where the drawing network's training is."""
        return self.folder / "shape"


# What the shipped networks learnt from.
PHANTOMS: Final = 780
SHAPE_PHANTOMS: Final = 400
_TINY_STEPS: Final = 4


def default_run(folder: Path, *, created: str, device: str, workers: int, tiny: bool = False) -> LocaliserRun:
    """The run behind the shipped localiser; `tiny`: the same in a few steps on two phantoms."""
    settings = read_settings()
    return LocaliserRun(
        folder=folder,
        samples=folder / "samples",
        settings=settings.with_steps(_TINY_STEPS) if tiny else settings,
        phantoms=2 if tiny else PHANTOMS,
        shape_samples=folder / "shape-samples",
        shape_phantoms=2 if tiny else SHAPE_PHANTOMS,
        base="default",
        version=None,
        created=created,
        device=device,
        workers=workers,
    )


def train_to_bundle(run: LocaliserRun, tell: Tell | None = None) -> dict[str, Any]:
    """Render what is missing, train what is left, write the bundle; returns its manifest.

    `tell` receives (samples there, samples wanted). Raises BundleError before anything else where `run.base` cannot
    be used, RunMismatch where the folder holds a run of other settings.
    """
    fractures_of(run.base)
    run.folder.mkdir(parents=True, exist_ok=True)
    _claim(run)
    told = tell or (lambda _done, _all: None)
    device = overall_device(run.device)
    render_missing("localiser", run.samples, run.phantoms, run, told)
    _note_session(run.folder, device)
    train_localiser(run.settings, run.samples, run.folder, run.start, device)
    render_missing("shape", run.shape_samples, run.shape_phantoms, run, told)
    _note_session(run.place_folder, device)
    train_place(run.settings, run.shape_samples, run.place_folder, None, device)
    _note_session(run.shape_folder, device)
    train_shape(run.settings, run.shape_samples, run.shape_folder, None, device)
    return _write_bundle(run)


def render_missing(kind: str, folder: Path, count: int, run: LocaliserRun, tell: Tell) -> None:
    """Each of the run's first `count` training seeds has its sample of this kind in `folder`."""
    first = run.settings.seeds.train_first
    missing = [seed for seed in range(first, first + count) if not (folder / f"{seed}.npz").exists()]
    done = count - len(missing)
    tell(done, count)
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # spawn: a forked worker would inherit torch's threads, which do not survive a fork.
    with ProcessPoolExecutor(
        min(run.workers, len(missing)), mp_context=multiprocessing.get_context("spawn"), initializer=_become_worker
    ) as pool:
        waiting = [pool.submit(_render, kind, seed, folder) for seed in missing]
        try:
            for finished in as_completed(waiting):
                finished.result()
                done += 1
                tell(done, count)
        finally:
            # Nothing is left to cancel unless something went wrong or the user stopped it.
            pool.shutdown(wait=False, cancel_futures=True)


def _become_worker() -> None:
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _render(kind: str, seed: int, folder: Path) -> None:
    for path, seconds in write_samples(kind, [seed], folder):
        _log.info("sample_rendered", file=path.name, seconds=round(seconds, 1))


def _claim(run: LocaliserRun) -> None:
    """The folder belongs to this run, or becomes its own."""
    fits = {
        name: {**asdict(fit), "channels": list(fit.channels)}
        for name, fit in ((name, getattr(run.settings, name)) for name in ("localiser", "place", "shape"))
    }
    start = None if run.start is None else str(run.start)
    asked = {
        "seed": run.settings.seeds.torch,
        "phantoms": run.phantoms,
        "shape_phantoms": run.shape_phantoms,
        "start": start,
    } | fits
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


def _note_session(folder: Path, device: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    line = {"device": device, "name": device_name(device), "torch": torch.__version__}
    with (folder / "sessions.jsonl").open("a", encoding="utf-8") as stream:
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


def _write_bundle(run: LocaliserRun) -> dict[str, Any]:
    fractures = fractures_of(run.base)
    theirs, _ = read_manifest(fractures)
    fits = run.settings
    nets = {
        "localiser": load_average(LocaliserNet(fits.localiser.channels), run.folder),
        "place": load_average(PlaceNet(fits.place.channels), run.place_folder),
        "shape": load_average(ShapeNet(fits.shape.channels), run.shape_folder),
    }
    record = _record(run, run.folder, run.samples, fits.localiser)
    record["steps_before"] = 0 if run.start is None else _steps(run.start)
    manifest = {
        "name": BUNDLE_NAME,
        "version": run.version or f"{theirs['version']}+localiser",
        "created": run.created,
        "seed": run.settings.seeds.torch,
        "training_data": TRAINING_DATA,
        "training": {
            "localiser": record,
            "place": _record(run, run.place_folder, run.shape_samples, fits.place),
            "shape": _record(run, run.shape_folder, run.shape_samples, fits.shape),
        },
        "architecture": {
            name: {"type": type(net).__name__, "channels": list(getattr(fits, name).channels)}
            for name, net in nets.items()
        },
        # Nothing is measured yet: numbers of another localiser do not hold for this one.
        "metrics": {},
    }
    save_bundle(run.bundle, **nets, fractures=fractures, manifest=manifest)  # type: ignore[arg-type]
    return manifest


def _record(run: LocaliserRun, folder: Path, samples: Path, fit: Fit) -> dict[str, Any]:
    """What was trained where, for how long, on how much."""
    lines = (folder / "sessions.jsonl").read_text(encoding="utf-8").splitlines()
    sessions = [json.loads(line) for line in lines]
    return {
        "steps": _steps(folder),
        "batch": fit.batch,
        "phantoms": len(list(samples.glob("*.npz"))),
        "first_phantom_seed": run.settings.seeds.train_first,
        "seconds": round(training_seconds(folder / "losses.csv"), 1),
        "sessions": len(sessions),
        "devices": sorted({f"{s['device']}: {s['name']}" for s in sessions}),
        "torch": sorted({s["torch"] for s in sessions}),
    }


def _steps(folder: Path) -> int:
    return int(torch.load(folder / "last.pt", weights_only=True, map_location="cpu")["step"])
