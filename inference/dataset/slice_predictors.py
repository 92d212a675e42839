"""Which cervical levels a slice shows: by a mask, by a localiser, or by a slice model's table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.dataset.errors import StudyUnusable
from inference.dataset.placing import carried
from inference.dataset.rsna import RsnaStudy
from inference.dataset.rsna_study import Segmentation, load_study
from inference.dataset.slices import PlacedSlice
from inference.spine import Localiser
from inference.synthetic.spec import LEVELS


class SlicePredictor(Protocol):
    """Says for each slice of a study how likely it shows each level."""

    def __call__(self, study: RsnaStudy, placed: Sequence[PlacedSlice]) -> NDArray[np.float64]:
        """Probabilities [slice, 7] in 0-1; raises StudyUnusable."""
        ...


def levels_by_slice(slices: Sequence[PlacedSlice], segmentation: Segmentation) -> NDArray[np.bool_]:
    """Which of C1 ... C7 each slice shows [slice, 7], by the masks' and the slices' own affines."""
    shown = np.zeros((len(slices), len(LEVELS)), dtype=bool)
    for row, placed in zip(shown, slices, strict=True):
        labels = carried(segmentation.labels, segmentation.affine_lps, placed.affine_lps, (1, *placed.shape))
        row[:] = np.bincount(labels.ravel(), minlength=9)[1:8] > 0
    return shown


class LocaliserPredictor:
    """A localiser's mask as a slice predictor: 1 where the mask has the level in the slice, else 0."""

    def __init__(self, localiser: Localiser) -> None:
        self._localiser = localiser

    def __call__(self, study: RsnaStudy, placed: Sequence[PlacedSlice]) -> NDArray[np.float64]:
        """[slice, 7], all 0 where no cervical spine is found; raises StudyUnusable where there is no volume."""
        volume = load_study(study).volume
        spine = self._localiser.locate(volume)
        if spine is None:
            return np.zeros((len(placed), len(LEVELS)))
        return levels_by_slice(placed, Segmentation(labels=spine.mask, affine_lps=volume.affine_lps)).astype(float)


class TablePredictor:
    """A table of a slice model: StudyInstanceUID, Slice or z_mm, C1 ... C7.

    With `Slice` (file numbers) its rows are taken as they are; with `z_mm` (LPS heights, in any order) they are
    interpolated linearly at the height of each slice's centre, 0 beyond the ends.
    """

    def __init__(self, path: Path) -> None:
        """Raises ValueError for another header or what is no number, with the line."""
        self._rows, self._by_number = _read_predictions(path)
        self._path = path

    def __call__(self, study: RsnaStudy, placed: Sequence[PlacedSlice]) -> NDArray[np.float64]:
        """[slice, 7]; raises StudyUnusable where the table lacks the study or one of its slices."""
        uid = study.study_instance_uid
        rows = self._rows.get(uid)
        if rows is None:
            raise StudyUnusable(uid, f"{self._path} has no predictions for it")
        if self._by_number:
            missing = [slice_.number for slice_ in placed if slice_.number not in rows]
            if missing:
                raise StudyUnusable(uid, f"{self._path} lacks {len(missing)} of its slices, the first {missing[0]}")
            return np.array([rows[slice_.number] for slice_ in placed])
        heights = np.array(sorted(rows))
        values = np.array([rows[height] for height in heights])
        wanted = [_middle_z(slice_) for slice_ in placed]
        return np.stack([np.interp(wanted, heights, column, left=0.0, right=0.0) for column in values.T], axis=1)


def _middle_z(placed: PlacedSlice) -> float:
    rows, columns = placed.shape
    return float(placed.affine_lps[2] @ np.array([(columns - 1) / 2, (rows - 1) / 2, 0.0, 1.0]))


def _read_predictions(path: Path) -> tuple[Mapping[str, dict[Any, list[float]]], bool]:
    found: dict[str, dict[Any, list[float]]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, []))
        if header not in [("StudyInstanceUID", key, *LEVELS) for key in ("Slice", "z_mm")]:
            raise ValueError(
                f"{path}: the header is {','.join(header)!r}, expected StudyInstanceUID, Slice or z_mm, C1-C7"
            )
        by_number = header[1] == "Slice"
        for row in reader:
            try:
                where = int(row[1]) if by_number else float(row[1])
                values = [float(value) for value in row[2:]]
            except (ValueError, IndexError):
                values = []
            if len(values) != len(LEVELS) or not all(0 <= value <= 1 for value in values):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {','.join(row)!r} is no slice with seven probabilities"
                )
            found.setdefault(row[0], {})[where] = values
    return found, by_number


@dataclass(frozen=True, kw_only=True)
class PredictorChoice:
    """Which predictor, by name, so that each process builds its own: a table's path, or else a bundle's localiser."""

    table: Path | None = None
    bundle: str | None = None

    def build(self) -> SlicePredictor | None:
        """The predictor, the same one for each call in a process; None where neither is named."""
        return _built(self)


@lru_cache(maxsize=1)
def _built(choice: PredictorChoice) -> SlicePredictor | None:
    if choice.table is not None:
        return TablePredictor(choice.table)
    if choice.bundle is None:
        return None
    from inference.evaluation.localiser_run import bundle_localiser

    return LocaliserPredictor(bundle_localiser(choice.bundle))
