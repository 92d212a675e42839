"""2D views of an analysed volume, kept as arrays so that pictures can be drawn again without the model.

A folder of views holds `views.json` and, for each view, `<name>_hu.npy` (int16 [row, column], Hounsfield units)
and `<name>_mask.npy` (uint8, 0 background, 1-7 = C1-C7, same shape). Row 0 of sagittal and coronal views is superior;
column 0 is anterior in the one and the patient's right in the other. Axial views are the source slices as acquired,
cropped around the level. A flat view says where it lies: `plane` is the LPS mm of its first pixel's centre and the
steps from row to row and from column to column. The overviews follow the spine and are not flat.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from dicom_node.core.finding import Finding, PointLps
from inference.volume import Volume

OVERVIEW_SPACING_MM = 0.5
OVERVIEW_MARGIN_MM = 35.0
SAGITTAL_DEPTH_MM = (-65.0, 75.0)  # anterior and posterior of the vertebral centres
CORONAL_WIDTH_MM = (-60.0, 60.0)  # right and left of them
SLAB_OFFSETS_MM = (-1.0, 0.0, 1.0)
KEY_SLICE_HALF_WIDTH_MM = 53.0
KEY_SLICE_CENTRE_MM = np.array([0.0, 14.0, 0.0])  # from a level's point in its body, so that the arch is seen whole
CLOSE_UP_SPACING_MM = 0.35
CLOSE_UP_HALF_MM = (36.0, 40.0)  # above and below the point, before and behind it


def write_views(volume: Volume, mask: NDArray[np.uint8], findings: Sequence[Finding], folder: Path) -> Path | None:
    """Both overviews, and of each positive level its key slice and a sagittal close-up; None where none has a place."""
    placed = [finding for finding in findings if finding.location_mm_lps is not None]
    if not placed:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    views = [_sagittal(volume, mask, placed, folder), _coronal(volume, mask, placed, folder)]
    for finding in placed:
        if finding.is_positive and finding.key_index_zyx is not None:
            views.append(_key_slice(volume, mask, finding, folder))
            views.append(_close_up(volume, mask, finding, folder))
    (folder / "views.json").write_text(json.dumps({"views": views}, indent=1))
    return folder


def _sagittal(volume: Volume, mask: NDArray[np.uint8], placed: Sequence[Finding], folder: Path) -> dict[str, object]:
    """A sagittal plane that follows the spine from side to side, 3 mm thick."""
    centres, z_mm = _along_the_spine(volume, placed)
    middle = float(centres[:, 1].mean())
    y_mm = np.arange(middle + SAGITTAL_DEPTH_MM[0], middle + SAGITTAL_DEPTH_MM[1], OVERVIEW_SPACING_MM)
    plane = np.empty((len(z_mm), len(y_mm), 3))
    plane[..., 0] = np.interp(z_mm, centres[:, 2], centres[:, 0])[:, None]
    plane[..., 1], plane[..., 2] = y_mm[None, :], z_mm[:, None]
    labels = [(finding.level, z_mm[0] - point[2], point[1] - y_mm[0]) for finding, point in _points(placed)]
    return _overview("sagittal", volume, mask, plane, np.array([1.0, 0.0, 0.0]), labels, folder)


def _coronal(volume: Volume, mask: NDArray[np.uint8], placed: Sequence[Finding], folder: Path) -> dict[str, object]:
    """A coronal plane that follows the spine from front to back, 3 mm thick."""
    centres, z_mm = _along_the_spine(volume, placed)
    middle = float(centres[:, 0].mean())
    x_mm = np.arange(middle + CORONAL_WIDTH_MM[0], middle + CORONAL_WIDTH_MM[1], OVERVIEW_SPACING_MM)
    plane = np.empty((len(z_mm), len(x_mm), 3))
    plane[..., 0], plane[..., 2] = x_mm[None, :], z_mm[:, None]
    plane[..., 1] = np.interp(z_mm, centres[:, 2], centres[:, 1])[:, None]
    labels = [(finding.level, z_mm[0] - point[2], point[0] - x_mm[0]) for finding, point in _points(placed)]
    return _overview("coronal", volume, mask, plane, np.array([0.0, 1.0, 0.0]), labels, folder)


def _along_the_spine(volume: Volume, placed: Sequence[Finding]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The levels' centres from below, LPS mm, and the heights of an overview's rows from above."""
    centres = np.array(sorted((point for _, point in _points(placed)), key=lambda point: point[2]))
    corners = volume.to_lps_mm(np.array([[0, 0, 0], np.array(volume.hu.shape) - 1], dtype=float))
    top = min(centres[-1, 2] + OVERVIEW_MARGIN_MM, corners[:, 2].max())
    bottom = max(centres[0, 2] - OVERVIEW_MARGIN_MM, corners[:, 2].min())
    return centres, np.arange(top, bottom, -OVERVIEW_SPACING_MM)


def _points(placed: Sequence[Finding]) -> list[tuple[Finding, PointLps]]:
    return [(finding, finding.location_mm_lps) for finding in placed if finding.location_mm_lps is not None]


def _overview(
    name: str,
    volume: Volume,
    mask: NDArray[np.uint8],
    plane: NDArray[np.float64],
    through: NDArray[np.float64],
    labels: Sequence[tuple[str, float, float]],
    folder: Path,
) -> dict[str, object]:
    """`plane` LPS mm [row, column, 3] averaged along `through`; `labels` are levels and mm from the first pixel."""
    slab = [_sample(volume, plane + offset * through) for offset in SLAB_OFFSETS_MM]
    hu = np.mean(slab, axis=0).round().astype(np.int16)
    return _saved(folder, name, hu, _sample_labels(volume, mask, plane)) | {
        "kind": name,
        "level": None,
        "spacing_mm": [OVERVIEW_SPACING_MM, OVERVIEW_SPACING_MM],
        "labels": [
            {"level": level, "row": down / OVERVIEW_SPACING_MM, "column": across / OVERVIEW_SPACING_MM}
            for level, down, across in labels
        ],
    }


def _key_slice(volume: Volume, mask: NDArray[np.uint8], finding: Finding, folder: Path) -> dict[str, object]:
    z, row, column = finding.key_index_zyx  # type: ignore[misc]
    centre = volume.to_index_zyx(np.array(finding.location_mm_lps) + KEY_SLICE_CENTRE_MM)
    _, row_mm, column_mm = volume.spacing_mm_zyx
    rows = _window(centre[1], KEY_SLICE_HALF_WIDTH_MM / row_mm, volume.hu.shape[1])
    columns = _window(centre[2], KEY_SLICE_HALF_WIDTH_MM / column_mm, volume.hu.shape[2])
    origin = volume.to_lps_mm(np.array([z, rows.start, columns.start]))
    return _saved(folder, f"key_{finding.level}", volume.hu[z, rows, columns], mask[z, rows, columns]) | {
        "kind": "axial",
        "level": finding.level,
        "spacing_mm": [row_mm, column_mm],
        "slice_index": int(z),
        "point": [float(row - rows.start), float(column - columns.start)],
        "probability": finding.probability,
        "plane": _plane(origin, volume.affine_lps[:3, 1], volume.affine_lps[:3, 0]),
    }


def _close_up(volume: Volume, mask: NDArray[np.uint8], finding: Finding, folder: Path) -> dict[str, object]:
    """The sagittal plane through the level's key voxel."""
    centre = volume.to_lps_mm(np.array(finding.key_index_zyx))
    up, behind = CLOSE_UP_HALF_MM
    origin = centre + np.array([0.0, -behind, up])
    down, back = np.array([0.0, 0.0, -CLOSE_UP_SPACING_MM]), np.array([0.0, CLOSE_UP_SPACING_MM, 0.0])
    rows, columns = (round(2 * half / CLOSE_UP_SPACING_MM) + 1 for half in CLOSE_UP_HALF_MM)
    plane = origin + np.arange(rows)[:, None, None] * down + np.arange(columns)[None, :, None] * back
    hu = _sample(volume, plane).round().astype(np.int16)
    return _saved(folder, f"key_{finding.level}_sagittal", hu, _sample_labels(volume, mask, plane)) | {
        "kind": "sagittal",
        "level": finding.level,
        "spacing_mm": [CLOSE_UP_SPACING_MM, CLOSE_UP_SPACING_MM],
        "point": [up / CLOSE_UP_SPACING_MM, behind / CLOSE_UP_SPACING_MM],
        "probability": finding.probability,
        "plane": _plane(origin, down, back),
    }


def _plane(
    origin: NDArray[np.float64], row_step: NDArray[np.float64], column_step: NDArray[np.float64]
) -> dict[str, object]:
    return {
        "origin_mm_lps": origin.tolist(),
        "row_step_mm_lps": row_step.tolist(),
        "column_step_mm_lps": column_step.tolist(),
    }


def _saved(folder: Path, name: str, hu: NDArray[np.int16], mask: NDArray[np.uint8]) -> dict[str, object]:
    np.save(folder / f"{name}_hu.npy", np.ascontiguousarray(hu))
    np.save(folder / f"{name}_mask.npy", np.ascontiguousarray(mask))
    return {"name": name, "hu": f"{name}_hu.npy", "mask": f"{name}_mask.npy"}


def _window(centre: float, half_width: float, size: int) -> slice:
    return slice(max(0, int(centre - half_width)), min(size, int(centre + half_width) + 1))


def _sample(volume: Volume, points_lps_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    index = np.moveaxis(volume.to_index_zyx(points_lps_mm), -1, 0)
    return map_coordinates(volume.hu, index, output=np.float32, order=1, mode="constant", cval=-1024)


def _sample_labels(volume: Volume, mask: NDArray[np.uint8], points_lps_mm: NDArray[np.float64]) -> NDArray[np.uint8]:
    index = np.moveaxis(volume.to_index_zyx(points_lps_mm), -1, 0)
    return map_coordinates(mask, index, output=np.uint8, order=0, mode="constant", cval=0)
