"""2D views of an analysed volume, kept as arrays so that pictures can be drawn again without the model.

A folder of views holds `views.json` and, for each view, `<name>_hu.npy` (int16 [row, column], Hounsfield units)
and `<name>_mask.npy` (uint8, 0 background, 1-7 = C1-C7, same shape). Row 0 of the sagittal view is superior and
column 0 anterior; axial views are the source slices as acquired, cropped around the level.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from dicom_node.core.finding import Finding
from inference.volume import Volume

SAGITTAL_SPACING_MM = 0.5
SAGITTAL_MARGIN_MM = 35.0
SAGITTAL_DEPTH_MM = (-65.0, 75.0)  # anterior and posterior of the vertebral centres
SLAB_OFFSETS_MM = (-1.0, 0.0, 1.0)
KEY_SLICE_HALF_WIDTH_MM = 70.0


def write_views(volume: Volume, mask: NDArray[np.uint8], findings: Sequence[Finding], folder: Path) -> Path | None:
    """Write the curved sagittal overview and a key slice for each positive level; None where no level has a place."""
    placed = [finding for finding in findings if finding.location_mm_lps is not None]
    if not placed:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    views = [_sagittal(volume, mask, placed, folder)]
    views += [
        _key_slice(volume, mask, finding, folder)
        for finding in placed
        if finding.is_positive and finding.key_index_zyx is not None
    ]
    (folder / "views.json").write_text(json.dumps({"views": views}, indent=1))
    return folder


def _sagittal(volume: Volume, mask: NDArray[np.uint8], placed: Sequence[Finding], folder: Path) -> dict[str, object]:
    """A sagittal plane that follows the spine from side to side, 3 mm thick."""
    centres = np.array(sorted((f.location_mm_lps for f in placed), key=lambda point: point[2]))  # type: ignore[index]
    corners = volume.to_lps_mm(np.array([[0, 0, 0], np.array(volume.hu.shape) - 1], dtype=float))
    top = min(centres[-1, 2] + SAGITTAL_MARGIN_MM, corners[:, 2].max())
    bottom = max(centres[0, 2] - SAGITTAL_MARGIN_MM, corners[:, 2].min())
    z_mm = np.arange(top, bottom, -SAGITTAL_SPACING_MM)
    x_mm = np.interp(z_mm, centres[:, 2], centres[:, 0])
    middle = float(centres[:, 1].mean())
    y_mm = np.arange(middle + SAGITTAL_DEPTH_MM[0], middle + SAGITTAL_DEPTH_MM[1], SAGITTAL_SPACING_MM)
    plane = np.empty((len(z_mm), len(y_mm), 3))
    plane[..., 0], plane[..., 1], plane[..., 2] = x_mm[:, None], y_mm[None, :], z_mm[:, None]
    slab = [_sample(volume, plane + np.array([offset, 0.0, 0.0])) for offset in SLAB_OFFSETS_MM]
    labels = _sample_labels(volume, mask, plane)
    hu = np.mean(slab, axis=0).round().astype(np.int16)
    return _saved(folder, "sagittal", hu, labels) | {
        "kind": "sagittal",
        "level": None,
        "spacing_mm": [SAGITTAL_SPACING_MM, SAGITTAL_SPACING_MM],
        "labels": [
            {
                "level": finding.level,
                "row": (top - finding.location_mm_lps[2]) / SAGITTAL_SPACING_MM,  # type: ignore[index]
                "column": (finding.location_mm_lps[1] - y_mm[0]) / SAGITTAL_SPACING_MM,  # type: ignore[index]
            }
            for finding in placed
        ],
    }


def _key_slice(volume: Volume, mask: NDArray[np.uint8], finding: Finding, folder: Path) -> dict[str, object]:
    z, row, column = finding.key_index_zyx  # type: ignore[misc]
    centre = volume.to_index_zyx(np.array(finding.location_mm_lps))
    _, row_mm, column_mm = volume.spacing_mm_zyx
    rows = _window(centre[1], KEY_SLICE_HALF_WIDTH_MM / row_mm, volume.hu.shape[1])
    columns = _window(centre[2], KEY_SLICE_HALF_WIDTH_MM / column_mm, volume.hu.shape[2])
    return _saved(folder, f"key_{finding.level}", volume.hu[z, rows, columns], mask[z, rows, columns]) | {
        "kind": "axial",
        "level": finding.level,
        "spacing_mm": [row_mm, column_mm],
        "slice_index": int(z),
        "point": [float(row - rows.start), float(column - columns.start)],
        "probability": finding.probability,
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
