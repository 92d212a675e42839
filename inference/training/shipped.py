"""The shipped bundle again from its seeds: localiser, prepared studies, fracture models, one bundle.

A run's folder holds `localiser/` (see `inference.training.run`), `caches/train` and `caches/validation` (see
`inference.dataset.cache`), `fractures/` (see `inference.experiments.running`) and `bundle/`. Each part goes on where it
was, so the whole may be killed at any moment and called again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from inference.bundle import compose_bundle, load_bundle
from inference.dataset.cache import CacheOptions, Job, PhantomJob, Preparer, fill
from inference.dataset.splits import read_splits
from inference.experiments.ensemble import train_ensemble
from inference.experiments.running import Run
from inference.experiments.settings import Experiment
from inference.training.run import LocaliserRun, train_to_bundle

# Far more fractures than in life, rare kinds too; validation is as in life, and calibrates.
_TRAINING_FRACTURES: Final = "enriched"

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class ShippedRun:
    """What a run was asked for.

    `localiser` is the run that makes the localiser, or the folder of a bundle that has it. `studies` and `validation`
    are how many phantoms of the two splits (None: all). `experiment` is the ensemble that is shipped, `members` are its
    members. `small` prepares little studies (slices, matrix), for tests. `tell` receives (part, done, of).
    """

    folder: Path
    localiser: LocaliserRun | Path
    experiment: Experiment
    members: Sequence[Experiment]
    version: str
    created: str
    device: str
    workers: int = 2
    studies: int | None = None
    validation: int | None = None
    small: tuple[int, int] | None = None
    tell: Tell = lambda part, done, of: None

    @property
    def bundle(self) -> Path:
        """Where the bundle will be."""
        return self.folder / "bundle"


def train_shipped(run: ShippedRun) -> dict[str, Any]:
    """Do what is left to do and write the bundle; returns its manifest.

    Raises what the parts raise: BundleError, RunMismatch, DataSetError, ExperimentError.
    """
    localiser = _localiser(run)
    caches = {name: _prepared(run, name, localiser) for name in ("train", "validation")}
    fractures = Run(
        experiment=run.experiment,
        folder=run.folder / "fractures",
        data=caches["train"],
        validation=caches["validation"],
        fold=0,
        version=run.version,
        created=run.created,
        device=run.device,
        tell=lambda name, done, of, text: run.tell(name, done, of),
    )
    train_ensemble(fractures, run.members, fractures.folder / "members")
    return compose_bundle(
        run.bundle, localiser=localiser, fractures=fractures.bundle, version=run.version, created=run.created
    )


def _localiser(run: ShippedRun) -> Path:
    if isinstance(run.localiser, Path):
        return run.localiser
    if not (run.localiser.bundle / "manifest.json").is_file():
        train_to_bundle(run.localiser, lambda done, wanted: run.tell("localiser's samples", done, wanted))
    return run.localiser.bundle


def _prepared(run: ShippedRun, split: str, localiser: Path) -> Path:
    """The split's phantoms, prepared with the localiser that will be shipped; to train on, it need only draw."""
    folder = run.folder / "caches" / split
    chosen = read_splits()[split]
    count = {"train": run.studies, "validation": run.validation}[split]
    recipe = replace(chosen.recipe, fractures=_TRAINING_FRACTURES) if split == "train" else chosen.recipe
    if run.small is not None:
        recipe = replace(recipe, slices=run.small[0], matrix=run.small[1])
    jobs: list[Job] = [PhantomJob(seed=seed, recipe=recipe) for seed in chosen.seeds[:count]]
    drawer = load_bundle(localiser).localiser_sha256
    options = CacheOptions(drawn_by=drawer) if split == "train" else CacheOptions(localised_by=drawer)
    threads = max(1, (os.cpu_count() or 1) // run.workers)
    preparer = Preparer(folder=folder, options=options, bundle=str(localiser), threads=threads)
    done = 0

    def tell(_row: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        run.tell(f"{split} studies", done, len(jobs))

    report = fill(jobs, preparer, workers=run.workers, on_row=tell)
    (folder / "report.json").write_text(json.dumps(vars(report), indent=1) + "\n", encoding="utf-8")
    return folder
