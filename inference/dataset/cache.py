"""A cache folder of prepared studies, filled in one pass that can be killed and called again.

    <StudyInstanceUID>.study    one file a study (see `prepared`)
    cache.json                  the options the studies were prepared with; a call with others is refused
    failed.csv                  StudyInstanceUID, left_out, reason: what is not here and why, and what disagrees
    folds.csv                   StudyInstanceUID, patient, fold
    truth.csv, facts.json       for the evaluation: the columns of train.csv, and fractures and decoys by study

A study that has its file is not prepared again; one that failed is tried again by the next call. Each worker holds one
study at a time.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch

from inference.dataset.dicom_source import prepare_dicom
from inference.dataset.errors import DataSetError, StudyUnusable
from inference.dataset.folds import Member, assign_folds, read_folds, write_folds
from inference.dataset.phantom_source import LEAST_VOXEL_MM_ZYX, phantom_uid, prepare_phantom
from inference.dataset.prepared import (
    FOLDS,
    FORMAT,
    SPACING_MM_ZYX,
    PreparedFileUnusable,
    PreparedFolder,
    PreparedStudy,
    load_head,
    save_prepared,
    study_path,
)
from inference.dataset.rsna import Problem, RsnaStudy
from inference.dataset.splits import PhantomRecipe
from inference.evaluation.resumable import Row, run
from inference.localise import NetworkLocaliser
from inference.synthetic.rsna_layout import TRAIN_COLUMNS

OPTIONS: Final = "cache.json"
FAILED: Final = "failed.csv"
TRUTH: Final = "truth.csv"
FACTS: Final = "facts.json"
_STALE_S: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """What all studies of a cache share. `localised_by`: sha256 of the bundle that drew the levels, None: the truth.

    `drawn_by`: sha256 of the bundle that drew the levels which the truth had named.
    """

    spacing_mm_zyx: tuple[float, float, float] = SPACING_MM_ZYX
    least_voxel_mm_zyx: tuple[float, float, float] = LEAST_VOXEL_MM_ZYX
    localised_by: str | None = None
    drawn_by: str | None = None
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class DicomJob:
    """A study of the public layout to prepare."""

    study: RsnaStudy

    @property
    def key(self) -> str:
        """The study's UID."""
        return self.study.study_instance_uid


@dataclass(frozen=True, kw_only=True)
class PhantomJob:
    """A phantom to render and prepare."""

    seed: int
    recipe: PhantomRecipe

    @property
    def key(self) -> str:
        """The study's UID."""
        return phantom_uid(self.seed, self.recipe)


Job = DicomJob | PhantomJob


@dataclass(frozen=True, kw_only=True)
class Preparer:
    """Prepares one job into the folder. Picklable: each process loads the bundle for itself."""

    folder: Path
    options: CacheOptions
    bundle: str | None
    threads: int

    def __call__(self, job: Job) -> Row:
        """`seconds` and `reason`, None where the study's file is there now.

        Raises OSError where the folder cannot be written: then no study can be.
        """
        begin = time.monotonic()
        try:
            study = self._prepared(job)
        except StudyUnusable as error:
            return {"seconds": time.monotonic() - begin, "reason": error.why}
        save_prepared(study_path(self.folder, job.key), study)
        return {"seconds": time.monotonic() - begin, "reason": None}

    def _prepared(self, job: Job) -> PreparedStudy:
        torch.set_num_threads(self.threads)
        try:
            if isinstance(job, DicomJob):
                return prepare_dicom(
                    job.study, self._localiser(), spacing_mm_zyx=self.options.spacing_mm_zyx, threads=self.threads
                )
            return prepare_phantom(
                job.seed,
                job.recipe,
                None if self.options.drawn_by else self._localiser(),
                draws=self._localiser() if self.options.drawn_by else None,
                spacing_mm_zyx=self.options.spacing_mm_zyx,
                least_voxel_mm_zyx=self.options.least_voxel_mm_zyx,
            )
        except StudyUnusable:
            raise
        except Exception as error:
            # A pass of a day must not end at a study nobody foresaw; it is listed with what happened.
            raise StudyUnusable(job.key, f"unexpected {type(error).__name__}: {error}") from error

    def _localiser(self) -> NetworkLocaliser | None:
        from inference.evaluation.localiser_run import bundle_localiser

        return None if self.bundle is None else bundle_localiser(self.bundle, "cpu", self.threads)


@dataclass(frozen=True, kw_only=True)
class CacheReport:
    """What a pass left behind. Bytes of the prepared files, and of the sources of the same studies."""

    studies: int
    made: int
    failed: int
    bytes: int
    source_bytes: int
    median_seconds: float | None

    def __str__(self) -> str:
        share = f" ({self.bytes / self.source_bytes:.1%} of it)" if self.source_bytes else ""
        pace = "" if self.median_seconds is None else f", {self.median_seconds:.1f} s a study in the median"
        return (
            f"{self.studies} studies, {self.made} of them made now{pace}; {self.failed} failed or left out ({FAILED}); "
            f"{megabytes(self.bytes)} from {megabytes(self.source_bytes)}{share}"
        )


def claim(folder: Path, options: CacheOptions) -> None:
    """Remember the options in the folder. Raises DataSetError where it was filled with others."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / OPTIONS
    wanted = json.loads(json.dumps(asdict(options)))
    if not mark.exists():
        _write(mark, json.dumps(wanted, indent=1) + "\n")
        return
    before = json.loads(mark.read_text(encoding="utf-8"))
    changed = [name for name in wanted if before.get(name) != wanted[name]]
    if changed:
        told = "; ".join(f"{name} {before.get(name)}, now {wanted[name]}" for name in changed)
        raise DataSetError(f"{folder} was prepared with other options ({told}): use the same, or another folder")


def fill(
    jobs: Sequence[Job],
    preparer: Preparer,
    *,
    problems: Iterable[Problem] = (),
    workers: int = 1,
    folds: int = 5,
    on_row: Callable[[Row], None] = lambda row: None,
) -> CacheReport:
    """Prepare what is missing, then write the tables. `on_row` is called for each study, those that were there too.

    Stopped at any moment, a second call goes on. Raises DataSetError for a folder filled with other options, OSError
    where it cannot be written.
    """
    folder = preparer.folder
    claim(folder, preparer.options)
    _sweep(folder)
    missing = [job for job in jobs if not _is_there(study_path(folder, job.key))]
    rows: list[Row] = []
    for _ in range(len(jobs) - len(missing)):
        on_row({"seconds": 0.0, "reason": None})

    def keep(row: Row) -> None:
        rows.append(row)
        on_row(row)

    try:
        run(missing, preparer, header={}, work=None, workers=workers, on_row=keep)
    finally:
        failures = [
            Problem(study_instance_uid=row["key"], reason=row["reason"], left_out=True) for row in rows if row["reason"]
        ]
        failed = [*problems, *failures]
        _write_failed(folder / FAILED, failed)
    times = sorted(row["seconds"] for row in rows if not row["reason"])
    sizes = write_tables(folder, folds)
    return CacheReport(
        studies=sizes[0],
        made=len(times),
        failed=sum(problem.left_out for problem in failed),
        bytes=sizes[1],
        source_bytes=sizes[2],
        median_seconds=times[len(times) // 2] if times else None,
    )


def write_tables(folder: Path, folds: int) -> tuple[int, int, int]:
    """Write folds, truth and facts of all studies of a folder; their number, their bytes and their sources' bytes.

    Folds that are there stay as they are. No voxels are read.
    """
    if not any(folder.glob("[!.]*.study")):
        return 0, 0, 0
    cache = PreparedFolder(folder)
    heads = [cache.head(uid) for uid in cache.uids]
    members = [Member(study_instance_uid=h.study_instance_uid, patient=h.patient, truth=h.truth) for h in heads]
    write_folds(folder / FOLDS, members, assign_folds(members, folds, kept=read_folds(folder / FOLDS)))
    known = [(head.study_instance_uid, *head.truth) for head in heads if head.truth is not None]
    lines = [",".join(TRAIN_COLUMNS), *(",".join(map(str, row)) for row in known)]
    _write(folder / TRUTH, "\n".join(lines) + "\n")
    facts = {head.study_instance_uid: {"patient": head.patient, **head.facts} for head in heads}
    _write(folder / FACTS, json.dumps(facts) + "\n")
    return (
        len(heads),
        sum(cache.path(uid).stat().st_size for uid in cache.uids),
        sum(int(head.facts.get("source_bytes", 0)) for head in heads),
    )


def megabytes(count: int) -> str:
    """Bytes for people: MB, or GB from ten of them on."""
    return f"{count / 1e9:.1f} GB" if count >= 1e10 else f"{count / 1e6:.1f} MB"


def _sweep(folder: Path) -> None:
    """Remove what a killed pass left half written; nothing takes so long to write."""
    for part in folder.glob(".*.part"):
        if time.time() - part.stat().st_mtime > _STALE_S:
            part.unlink()


def _is_there(path: Path) -> bool:
    """Whether a study's file is there and whole enough to be read; a damaged one is made again."""
    try:
        load_head(path)
    except (FileNotFoundError, PreparedFileUnusable):
        return False
    return True


def _write_failed(path: Path, problems: Iterable[Problem]) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("StudyInstanceUID", "left_out", "reason"))
        writer.writerows((p.study_instance_uid, int(p.left_out), p.reason) for p in problems)
    os.replace(part, path)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
