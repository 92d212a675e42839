"""TotalSegmentator as the localiser: its labels, by name, made into the same answer as our own network's.

TotalSegmentator sees the volume on an upright 1.5 mm grid, the spacing it was trained at, so that gantry tilt and
oblique series never reach it. From its labels on: one piece per level, our statuses, our edge of the mask, and a check
of the count that is noted and never corrected.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.errors import LocaliserAnswerUnusable
from inference.level_order import order_notes
from inference.mask import smooth_mask
from inference.postprocess import Column, keep_largest
from inference.preprocess import LOCALISER_SPACING_MM, PatientGrid, grid_covering, sample_grid, sample_volume
from inference.shape import coarse_shapes
from inference.spine import Progress, Spine, describe
from inference.totalsegmentator_process import IMAGE, LABELS, TotalSegmentator, segment
from inference.volume import Volume

SPACING_MM: Final = 1.5
_LEVEL_NAME: Final = re.compile(r"vertebrae_C([1-7])")
_LEAST_SOLID_MM3: Final = 1500.0
_LEAST_SOLID_LEVELS: Final = 2
_MARGIN_MM: Final = 12.0
_SAME_MM: Final = 0.02


class TotalSegmentatorLocaliser:
    """A `inference.spine.Localiser` that asks a TotalSegmentator installed beside the node.

    Images go to it through a private folder in `work_dir` (None: the system's folder for temporary files) that is gone
    when `locate` returns, and when this process dies.
    """

    def __init__(self, settings: TotalSegmentator, work_dir: Path | None = None) -> None:
        self._settings = settings
        self._work_dir = work_dir
        self._version = ""

    @property
    def identity(self) -> str:
        """Name, version (known from the first answer on) and task, for the record of a result."""
        return " ".join(filter(None, ("TotalSegmentator", self._version, self._settings.task)))

    def locate(self, volume: Volume, progress: Progress | None = None) -> Spine | None:
        """The spine, or None where fewer than two cervical levels are more than a fragment. Raises LocaliserError."""
        report = progress or (lambda _stage, _share: None)
        report("localise", 0.0)
        grid = grid_covering(volume, SPACING_MM)
        labels = self._levels(volume, grid)
        report("localise", 1.0)
        column = column_of(labels, grid)
        if column is None:
            return None
        report("mask", 0.0)
        mask = smooth_mask(volume, coarse_shapes(column))
        spine = describe(volume, _on_our_grid(column), mask)
        report("mask", 1.0)
        return spine

    def _levels(self, volume: Volume, grid: PatientGrid) -> NDArray[np.uint8]:
        with TemporaryDirectory(prefix="localiser-", dir=self._work_dir) as name:
            folder = Path(name)
            _write_image(sample_volume(volume, grid), grid, folder / IMAGE)
            answer = segment(self._settings, folder)
            self._version = answer.version
            return by_name(_read_labels(folder / LABELS, grid), answer.names)


def by_name(codes: NDArray[np.integer], names: dict[int, str]) -> NDArray[np.uint8]:
    """Labels 1-7 = C1-C7 from codes and their names. Raises LocaliserAnswerUnusable where no name is a level's."""
    levels = {code: _LEVEL_NAME.fullmatch(name) for code, name in names.items()}
    table = np.zeros(max(int(codes.max(initial=0)), *names, 0) + 1, dtype=np.uint8)
    for code, match in levels.items():
        if match is not None:
            table[code] = int(match[1])
    if not table.any():
        raise LocaliserAnswerUnusable(
            "TotalSegmentator names no cervical vertebra among its labels "
            f"({', '.join(list(names.values())[:3])}, ...); this version is not understood"
        )
    named: NDArray[np.uint8] = table[codes]
    return named


def column_of(labels: NDArray[np.uint8], grid: PatientGrid) -> Column | None:
    """The largest piece of each level, on the part of `grid` around the neck; None where this is no cervical spine."""
    voxel_mm3 = float(np.prod(grid.spacing_mm_zyx))
    region = _region(labels, grid)
    kept = keep_largest(labels[region])
    solid = np.bincount(kept.ravel(), minlength=2)[1:] * voxel_mm3 >= _LEAST_SOLID_MM3
    if solid.sum() < _LEAST_SOLID_LEVELS:
        return None
    top_mm = float(grid.to_lps_mm(np.array([grid.shape_zyx[0] - 1, 0, 0]))[2])
    column = Column(grid=grid.part(region), labels=kept, evidence={})
    return replace(column, notes=order_notes(column, top_mm))


def _region(labels: NDArray[np.uint8], grid: PatientGrid) -> tuple[slice, slice, slice]:
    """Where any level is, with a margin; everything where there is none."""
    boxes = [box for box in ndimage.find_objects(labels) if box is not None]
    room = np.ceil(_MARGIN_MM / np.array(grid.spacing_mm_zyx)).astype(int)
    z, y, x = (
        slice(
            max(0, min((box[axis].start for box in boxes), default=0) - int(room[axis])),
            min(n, max((box[axis].stop for box in boxes), default=n) + int(room[axis])),
        )
        for axis, n in enumerate(labels.shape)
    )
    return z, y, x


def _on_our_grid(column: Column) -> Column:
    """The column at our own localiser's spacing: the fracture models and the statuses know masks of that grain."""
    size = np.array(column.grid.spacing_mm_zyx) * (np.array(column.grid.shape_zyx) - 1)
    shape = np.floor(size / LOCALISER_SPACING_MM).astype(int) + 1
    grid = PatientGrid(
        origin_lps_mm=column.grid.origin_lps_mm,
        spacing_mm_zyx=(LOCALISER_SPACING_MM,) * 3,
        shape_zyx=(int(shape[0]), int(shape[1]), int(shape[2])),
    )
    labels = sample_grid(torch.from_numpy(column.labels.astype(np.float32)), column.grid, grid, mode="nearest")
    return Column(grid=grid, labels=labels.numpy().round().astype(np.uint8), evidence={}, notes=column.notes)


def _write_image(hu: torch.Tensor, grid: PatientGrid, path: Path) -> None:
    """HU as int16 NIfTI; SimpleITK turns LPS into NIfTI's RAS."""
    image = sitk.GetImageFromArray(hu.round().clamp(-1024, 32767).to(torch.int16).numpy())
    image.SetOrigin(grid.origin_lps_mm)
    image.SetSpacing(grid.spacing_mm_zyx[::-1])
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)


def _read_labels(path: Path, grid: PatientGrid) -> NDArray[np.integer]:
    """Codes [z, y, x] on `grid`. Raises LocaliserAnswerUnusable where they lie on another."""
    try:
        image = sitk.ReadImage(str(path), sitk.sitkInt16)
    except RuntimeError as error:
        raise LocaliserAnswerUnusable(f"TotalSegmentator's labels cannot be read: {str(error)[-200:]}") from error
    size = grid.shape_zyx[::-1]
    geometry = (
        (grid.origin_lps_mm, image.GetOrigin()),
        (grid.spacing_mm_zyx[::-1], image.GetSpacing()),
        (np.eye(3).ravel(), image.GetDirection()),
    )
    if image.GetSize() != size or not all(np.allclose(ours, its, atol=_SAME_MM) for ours, its in geometry):
        raise LocaliserAnswerUnusable(
            f"TotalSegmentator's labels lie on another grid than the image: {image.GetSize()} voxels from "
            f"{_rounded(image.GetOrigin())}, not {size} from {_rounded(grid.origin_lps_mm)}"
        )
    codes: NDArray[np.integer] = sitk.GetArrayFromImage(image)
    return codes


def _rounded(point: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(v, 1) for v in point)
