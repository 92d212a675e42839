"""The analysis of one CT volume: find the cervical spine, name C1-C7, look for a fracture in each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.dataset.from_scan import study_from_scan
from inference.experiments.score import StudyScore
from inference.localise import NetworkLocaliser
from inference.postprocess import ASSESSED, LEVELS, NOT_ASSESSED, Column, representative_point
from inference.spine import Localiser, PointMm, Progress, Spine, Status
from inference.suspicion import SuspicionMap
from inference.volume import Volume

NO_CERVICAL_SPINE = "No cervical spine was found in the volume."


@dataclass(frozen=True, kw_only=True)
class LevelPrediction:
    """What is said about one level.

    A level that is not assessed has no probability and no place. `key_index_zyx` is a voxel of the source
    grid inside the vertebra's mask: where the fracture map peaks when the probability reaches the
    threshold, else the vertebra's centre. Points and the box (low corner, high corner) are LPS mm. `suspicion` shows
    where an assessed level looks fractured, whatever its probability.
    """

    level: str
    status: Status
    probability: float | None
    threshold: float
    centre_lps_mm: PointMm | None
    key_index_zyx: tuple[int, int, int] | None
    box_lps_mm: tuple[PointMm, PointMm] | None
    suspicion: SuspicionMap | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The answer for a volume; `mask` is uint8 [z, y, x] on its grid, 1-7 = C1-C7.

    Without a cervical spine `reason` says so in a sentence, no level is assessed and the mask is empty.
    """

    cervical_spine_found: bool
    reason: str | None
    levels: tuple[LevelPrediction, ...]
    overall_probability: float | None
    overall_threshold: float
    mask: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def probabilities(self) -> dict[str, float | None]:
        """By name: patient_overall, C1 ... C7; None where nothing is said."""
        return {"patient_overall": self.overall_probability} | {v.level: v.probability for v in self.levels}


def overall_device(device: str = "auto") -> str:
    """`auto` becomes cuda where torch sees a GPU, else cpu; any other name is taken as it is."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


class Pipeline:
    """A loaded bundle, ready for any number of volumes, one at a time.

    On one machine the same voxels give the same answer: evaluation mode, a fixed number of threads. `threads` sets
    torch's process-wide thread count; None leaves it alone. `localiser` replaces the bundle's own.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        threads: int | None = None,
        localiser: Localiser | None = None,
    ) -> None:
        self._bundle = bundle
        self._device = torch.device(overall_device(device))
        if threads is not None:
            torch.set_num_threads(threads)
        self._localiser = localiser or NetworkLocaliser(
            bundle.localiser, self._device, place_net=bundle.place, shape_net=bundle.shape
        )
        bundle.fractures.move_to(self._device)

    @property
    def bundle(self) -> Bundle:
        """The bundle in use."""
        return self._bundle

    def predict(self, volume: Volume, progress: Progress | None = None) -> Prediction:
        """Analyse `volume`. `progress` receives ("localise" | "mask" | "classify", share 0-1).

        Memory beside the volume and its mask is bounded by the localiser's one pass and the crop that the fracture
        models look at.
        """
        report = progress or (lambda stage, share: None)
        begin = time.perf_counter()
        spine = self._localiser.locate(volume, report)
        if spine is None:
            return self._nothing(volume, time.perf_counter() - begin)
        localised = time.perf_counter()
        report("classify", 0.0)
        score = self._bundle.fractures.predict(study_from_scan(volume, spine))
        report("classify", 1.0)
        levels = tuple(self._level(volume, spine, k, score) for k in range(1, 8))
        assessed = any(v.probability is not None for v in levels)
        return Prediction(
            cervical_spine_found=True,
            reason=None,
            levels=levels,
            overall_probability=float(score.probabilities[0]) if assessed else None,
            overall_threshold=self._bundle.overall_threshold,
            mask=spine.mask,
            notes=(*volume.notes, *spine.notes),
            timings_s={"localise": localised - begin, "classify": time.perf_counter() - localised},
        )

    def _level(self, volume: Volume, spine: Spine, level: int, score: StudyScore) -> LevelPrediction:
        threshold = self._bundle.thresholds[level - 1]
        status = spine.levels[level - 1].status
        if status == NOT_ASSESSED:
            return _unseen(level, threshold)
        # A level that is cut off by the field of view is placed, not judged: its missing part cannot be negative.
        probability = float(score.probabilities[level]) if status == ASSESSED else None
        suspicion = score.maps.get(level) if status == ASSESSED else None
        voxels, box = _voxels_of(spine.mask, volume, spine.column, level)
        key = centre_zyx = _nearest(voxels, volume, representative_point(spine.column, level))
        if suspicion is not None and probability is not None and probability >= threshold:
            key = _nearest(voxels, volume, suspicion.peak_lps_mm())
        return LevelPrediction(
            level=LEVELS[level - 1],
            status=status,
            probability=probability,
            threshold=threshold,
            centre_lps_mm=_point(volume.to_lps_mm(centre_zyx)),
            key_index_zyx=(int(key[0]), int(key[1]), int(key[2])),
            box_lps_mm=box,
            suspicion=suspicion,
        )

    def _nothing(self, volume: Volume, seconds: float) -> Prediction:
        return Prediction(
            cervical_spine_found=False,
            reason=NO_CERVICAL_SPINE,
            levels=tuple(_unseen(level, threshold) for level, threshold in enumerate(self._bundle.thresholds, 1)),
            overall_probability=None,
            overall_threshold=self._bundle.overall_threshold,
            mask=np.zeros(volume.hu.shape, dtype=np.uint8),
            notes=volume.notes,
            timings_s={"localise": seconds, "classify": 0.0},
        )


def _unseen(level: int, threshold: float) -> LevelPrediction:
    return LevelPrediction(
        level=LEVELS[level - 1],
        status=NOT_ASSESSED,
        probability=None,
        threshold=threshold,
        centre_lps_mm=None,
        key_index_zyx=None,
        box_lps_mm=None,
    )


def _voxels_of(
    mask: NDArray[np.uint8], volume: Volume, column: Column, level: int
) -> tuple[NDArray[np.int64], tuple[PointMm, PointMm]]:
    """Indices [n, 3] (z, y, x) of the level in the mask, and its box in LPS mm."""
    coarse = column.grid.to_lps_mm(column.voxels(level))
    reach = volume.to_index_zyx(coarse)
    room = 1.0 + np.array(column.grid.spacing_mm_zyx) / np.array(volume.spacing_mm_zyx)
    low = np.clip(np.floor(reach.min(axis=0) - room), 0, None).astype(int)
    high = np.clip(np.ceil(reach.max(axis=0) + room) + 1, 0, mask.shape).astype(int)
    part = mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    voxels = np.argwhere(part == level) + low
    points = volume.to_lps_mm(voxels)
    return voxels, (_point(points.min(axis=0)), _point(points.max(axis=0)))


def _nearest(voxels: NDArray[np.int64], volume: Volume, point_mm: PointMm) -> NDArray[np.int64]:
    """The voxel of the list nearest to a point in LPS mm."""
    apart = (voxels - volume.to_index_zyx(np.array(point_mm))) * np.array(volume.spacing_mm_zyx)
    return voxels[int(np.argmin((apart**2).sum(axis=1)))]


def _point(xyz: NDArray[np.float64]) -> PointMm:
    return float(xyz[0]), float(xyz[1]), float(xyz[2])
