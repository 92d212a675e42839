"""Series as folders of PNG or JPEG files, one for each slice.

    OUT/<uid>/<window>-<colour>/<n>.png

of a data set by study, of other folders by series; n is the slice's number by its file's name, or its place from the
first slice where names do not tell slices apart. A series' folder appears when it is complete,
so that a pass that was stopped goes on. Pictures show the slice as it is stored, without names or identifiers.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.dataset.errors import DataSetError, StudyUnusable
from inference.dataset.pictures import COLOURS, WINDOWS, draw_boxes, draw_levels, picture
from inference.dataset.placing import carried
from inference.dataset.prepared import checked_name
from inference.dataset.rsna import RsnaStudy, is_rsna, open_rsna
from inference.dataset.rsna_study import LoadedStudy, load_study, read_segmentation
from inference.dataset.rsna_tables import PixelBox
from inference.errors import ReadingError, UnreadableInstance
from inference.evaluation.resumable import Row, run
from inference.headers import read_header
from inference.reading import read_series
from inference.spine import Localiser
from inference.synthetic.spec import LEVELS
from inference.volume import Volume

FORMATS: Final = ("png", "jpeg")
LABEL_SOURCES: Final = ("segmentation", "localiser")
_JPEG_QUALITY: Final = 92


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How pictures are made. `labels` None draws no levels; `every` takes each n-th slice; `size` is the longer side.

    `bundle` is the one whose localiser draws the levels where `labels` is "localiser".
    """

    windows: tuple[str, ...] = ("bone",)
    colours: tuple[str, ...] = ("grey",)
    format: str = "png"
    boxes: bool = False
    labels: str | None = None
    bundle: str = "default"
    every: int = 1
    size: int | None = None

    def __post_init__(self) -> None:
        for what, values, known in (
            ("window", self.windows, tuple(WINDOWS)),
            ("colour map", self.colours, COLOURS),
            ("format", (self.format,), FORMATS),
            ("source of labels", (self.labels,) if self.labels else (), LABEL_SOURCES),
        ):
            for value in values:
                if value not in known:
                    raise ValueError(f"{what} {value!r} is not one of {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class SeriesFiles:
    """The files of one series outside a data set."""

    series_instance_uid: str
    files: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class ExportCase:
    """What becomes one folder of pictures."""

    what: RsnaStudy | SeriesFiles

    @property
    def key(self) -> str:
        """The study's or the series' UID: the folder's name."""
        return self.what.study_instance_uid if isinstance(self.what, RsnaStudy) else self.what.series_instance_uid


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shown:
    """Everything that pictures of a series are made of."""

    volume: Volume
    numbers: tuple[str, ...]
    boxes: dict[int, list[PixelBox]]
    labels: NDArray[np.uint8] | None
    fractured: tuple[str, ...]


def export_cases(source: Path) -> tuple[list[ExportCase], list[str]]:
    """The series of a folder, or the studies of a data set, and what cannot be shown.

    Raises DataSetError for a folder without either.
    """
    if is_rsna(source):
        parts = [part for part in ("train", "test") if (source / f"{part}_images").is_dir()]
        opened = [open_rsna(source, part) for part in parts]  # type: ignore[arg-type]
        problems = [f"study {p.study_instance_uid}: {p.reason}" for data in opened for p in data.problems if p.left_out]
        return [ExportCase(what=study) for data in opened for study in data.studies], problems
    series: defaultdict[str, list[Path]] = defaultdict(list)
    unreadable = 0
    for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            header = read_header(path)
        except UnreadableInstance:
            unreadable += 1
            continue
        if header.frames:
            series[header.series_instance_uid].append(path)
    if not series:
        raise DataSetError(f"{source} holds no DICOM image and is no data set in the RSNA layout")
    problems = [f"{unreadable} files are no DICOM: left out"] if unreadable else []
    return [
        ExportCase(what=SeriesFiles(series_instance_uid=uid, files=tuple(files))) for uid, files in series.items()
    ], problems


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """Writes the pictures of one case. Picklable."""

    out: Path
    options: ExportOptions

    def __call__(self, case: ExportCase) -> Row:
        """`pictures` written (0 where the folder was there) and `reason`, None where all went well."""
        try:
            final = self.out / checked_name(case.key)
            if final.exists():
                return {"pictures": 0, "reason": None}
            shown = self._shown(case)
        except (StudyUnusable, ReadingError, ValueError) as error:
            return {"pictures": 0, "reason": getattr(error, "why", str(error))}
        unfinished = self.out / f".{case.key}.partial"
        shutil.rmtree(unfinished, ignore_errors=True)
        count = write_pictures(shown, self.options, unfinished)
        os.replace(unfinished, final)
        return {"pictures": count, "reason": None}

    def _shown(self, case: ExportCase) -> _Shown:
        if isinstance(case.what, RsnaStudy):
            return self._of_study(case.what, load_study(case.what))
        series = read_series(case.what.files)
        labels = self._localised(series.volume) if self.options.labels == "localiser" else None
        return _Shown(
            volume=series.volume, numbers=_names([s.file for s in series.slices]), boxes={}, labels=labels, fractured=()
        )

    def _of_study(self, study: RsnaStudy, loaded: LoadedStudy) -> _Shown:
        boxes: defaultdict[int, list[PixelBox]] = defaultdict(list)
        for plane, box in loaded.boxes:
            boxes[plane].append(box)
        labels = None
        if self.options.labels == "localiser":
            labels = self._localised(loaded.volume)
        elif self.options.labels and study.segmentation is not None:
            mask = read_segmentation(study.segmentation, study.study_instance_uid)
            z, y, x = loaded.volume.hu.shape
            labels = carried(mask.labels, mask.affine_lps, loaded.volume.affine_lps, (z, y, x))
        broken = study.truth[1:] if study.truth else (0,) * len(LEVELS)
        return _Shown(
            volume=loaded.volume,
            numbers=_names(loaded.files),
            boxes=dict(boxes),
            labels=labels,
            fractured=tuple(level for level, positive in zip(LEVELS, broken, strict=True) if positive),
        )

    def _localised(self, volume: Volume) -> NDArray[np.uint8] | None:
        spine = _localiser(self.options.bundle).locate(volume)
        return None if spine is None else spine.mask


def export(
    cases: Sequence[ExportCase],
    exporter: Exporter,
    *,
    workers: int = 1,
    on_row: Callable[[Row], None] = lambda row: None,
) -> tuple[int, int]:
    """Write what is missing; pictures written now, and series that failed. `on_row` is told each."""
    exporter.out.mkdir(parents=True, exist_ok=True)
    rows = run(cases, exporter, header={}, work=None, workers=workers, on_row=on_row)
    return sum(row["pictures"] for row in rows), sum(bool(row["reason"]) for row in rows)


def write_pictures(shown: _Shown, options: ExportOptions, folder: Path) -> int:
    """Write the pictures of a series into a folder; how many."""
    count = 0
    for window in options.windows:
        for colour in options.colours:
            target = folder / f"{window}-{colour}"
            target.mkdir(parents=True)
            for plane in range(0, len(shown.volume.hu), options.every):
                image = _one(shown, plane, window, colour, options)
                extra = {"quality": _JPEG_QUALITY} if options.format == "jpeg" else {}
                name = f"{shown.numbers[plane]}.{'jpg' if options.format == 'jpeg' else 'png'}"
                image.save(target / name, format=options.format.upper(), **extra)
                count += 1
    return count


def _one(shown: _Shown, plane: int, window: str, colour: str, options: ExportOptions) -> Image.Image:
    image = picture(shown.volume.hu[plane], window, colour)
    scale = 1.0 if options.size is None else options.size / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if scale != 1.0:
        image = image.resize(size, Image.Resampling.LANCZOS)
    if options.labels and shown.labels is not None:
        labels = Image.fromarray(shown.labels[plane]).resize(size, Image.Resampling.NEAREST)
        image = draw_levels(image, np.asarray(labels), shown.fractured)
    if options.boxes and plane in shown.boxes:
        image = draw_boxes(image, shown.boxes[plane], scale)
    return image


def _names(files: Sequence[Path]) -> tuple[str, ...]:
    """The planes' names: their files' numbers, or their places from the first where those do not tell them apart."""
    stems = tuple(path.stem for path in files)
    if len(set(stems)) == len(stems) and all(stem.isdigit() for stem in stems):
        return stems
    return tuple(f"{place:04d}" for place in range(1, len(stems) + 1))


@lru_cache(maxsize=1)
def _localiser(bundle: str) -> Localiser:
    from inference.evaluation.localiser_run import bundle_localiser

    return bundle_localiser(bundle)
