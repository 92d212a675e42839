"""Labels and boxes carried from one grid to another by affines alone: how an array is stored says nothing about space.

Frames: affines map (x, y, z, 1) voxel-centre indices to LPS mm; arrays and indices are [z, y, x].
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.dataset.prepared import SliceBox
from inference.dataset.rsna_tables import PixelBox
from inference.preprocess import PatientGrid, sample_array
from inference.volume import Volume

Affine = NDArray[np.float64]

_HALF: Final = 0.5


def carried(
    labels: NDArray[np.uint8], source_affine: Affine, target_affine: Affine, shape_zyx: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Labels uint8 [z, y, x] of the nearest source voxel for each voxel of a target; 0 outside the source.

    Works plane by plane: beside the result no more than one plane of coordinates is held.
    """
    matrix = np.linalg.inv(source_affine) @ target_affine
    y, x = np.mgrid[: shape_zyx[1], : shape_zyx[2]]
    plane = np.stack([matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 3] for row in range(3)])
    size = labels.shape[::-1]
    out = np.zeros(shape_zyx, dtype=np.uint8)
    for k in range(shape_zyx[0]):
        index = np.rint(plane + (matrix[:3, 2] * k)[:, None, None]).astype(np.int32)
        inside = np.ones(plane.shape[1:], dtype=bool)
        for axis in range(3):
            inside &= (index[axis] >= 0) & (index[axis] < size[axis])
        out[k][inside] = labels[index[2][inside], index[1][inside], index[0][inside]]
    return out


def on_grid(labels: NDArray[np.uint8], affine_lps: Affine, grid: PatientGrid) -> NDArray[np.uint8]:
    """`carried` onto a patient grid."""
    return carried(labels, affine_lps, grid.affine_lps(), grid.shape_zyx)


def smooth_on_grid(labels: NDArray[np.uint8], affine_lps: Affine, grid: PatientGrid) -> NDArray[np.uint8]:
    """Labels on a patient grid with edges as smooth as trilinear shares of the source's voxels make them.

    A voxel has the label with the largest share where all labels together fill more than half of it: a mask drawn on
    coarse voxels shows no steps, as one drawn on the scanner's own would not. One level at a time, each in its box.
    """
    out = np.zeros(grid.shape_zyx, dtype=np.uint8)
    filled, strongest = np.zeros((2, *grid.shape_zyx), dtype=np.float16)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        where, affine = labels[box] == label, _moved(affine_lps, box)
        region = _region(where, affine, grid)
        if region is None:
            continue
        share = _share(where, affine, grid.part(region))
        wins = share > strongest[region]
        out[region][wins] = label
        strongest[region][wins] = share[wins]
        filled[region] += share.astype(np.float16)
    out[filled <= _HALF] = 0
    return out


def _moved(affine_lps: Affine, box: tuple[slice, slice, slice]) -> Affine:
    """The affine of an array's part."""
    affine = affine_lps.copy()
    affine[:3, 3] += affine_lps[:3, :3] @ np.array([side.start for side in box[::-1]], dtype=float)
    return affine


def _region(where: NDArray[np.bool_], affine_lps: Affine, grid: PatientGrid) -> tuple[slice, slice, slice] | None:
    """The index box of the grid that a mask's voxels reach into; None where they lie outside."""
    bounds = bounds_lps_mm(where, affine_lps)
    assert bounds is not None  # the label occurs
    room = np.abs(affine_lps[:3, :3]).sum(axis=1)
    ends = grid.to_index_zyx(np.array([bounds[0] - room, bounds[1] + room]))
    first = np.maximum(np.floor(ends[0]).astype(int), 0)
    stop = np.minimum(np.ceil(ends[1]).astype(int) + 1, grid.shape_zyx)
    if np.any(stop <= first):
        return None
    z, y, x = (slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
    return z, y, x


def _share(where: NDArray[np.bool_], affine_lps: Affine, grid: PatientGrid) -> NDArray[np.float32]:
    """The trilinear share of a mask on a patient grid."""
    to_source = np.linalg.inv(affine_lps) @ grid.affine_lps()
    matrix = to_source[:3, :3][::-1, ::-1].copy()
    matrix[np.abs(matrix) < 1e-9 * np.abs(matrix).max()] = 0.0
    offset = to_source[:3, 3][::-1]
    source = torch.from_numpy(where.astype(np.float32))
    return np.asarray(sample_array(source, matrix, offset, grid.shape_zyx, outside=0.0).numpy())


def grid_around(low_lps_mm: Affine, high_lps_mm: Affine, spacing_mm_zyx: tuple[float, float, float]) -> PatientGrid:
    """The grid whose first voxel's centre is at the low corner (x, y, z) and whose last reaches the high one or less.

    Raises ValueError where the box has no extent.
    """
    size = np.asarray(high_lps_mm, dtype=float) - np.asarray(low_lps_mm, dtype=float)
    if not np.all(size > 0):
        raise ValueError(f"a box of {size.round(1).tolist()} mm (x, y, z) holds nothing")
    count = np.floor(size[::-1] / spacing_mm_zyx + 1e-6).astype(int) + 1
    return PatientGrid(
        origin_lps_mm=tuple(float(v) for v in low_lps_mm),  # type: ignore[arg-type]
        spacing_mm_zyx=spacing_mm_zyx,
        shape_zyx=(int(count[0]), int(count[1]), int(count[2])),
    )


def bounds_lps_mm(where: NDArray[np.bool_], affine_lps: Affine) -> tuple[Affine, Affine] | None:
    """Low and high LPS corner (x, y, z) around the centres of the true voxels; None where there is none.

    Each plane of the array counts with its own rectangle, so that the box stays tight under a gantry's tilt.
    """
    planes = np.flatnonzero(where.any(axis=(1, 2)))
    if not len(planes):
        return None
    rows, columns = (np.asarray(where[planes].any(axis=axis)) for axis in (2, 1))
    y = (rows.argmax(axis=1), rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1))
    x = (columns.argmax(axis=1), columns.shape[1] - 1 - columns[:, ::-1].argmax(axis=1))
    corners = np.concatenate([np.stack([i, j, planes], axis=1) for i in x for j in y])
    points = corners @ affine_lps[:3, :3].T + affine_lps[:3, 3]
    return points.min(axis=0), points.max(axis=0)


def volume_bounds_lps_mm(volume: Volume) -> tuple[Affine, Affine]:
    """Low and high LPS corner (x, y, z) of a volume's voxel centres."""
    z, y, x = volume.hu.shape
    corners = np.array([[k, j, i] for k in (0, z - 1) for j in (0, y - 1) for i in (0, x - 1)], dtype=float)
    points = volume.to_lps_mm(corners)
    return points.min(axis=0), points.max(axis=0)


def boxes_on_grid(boxes: Iterable[tuple[int, PixelBox]], volume: Volume, grid: PatientGrid) -> tuple[SliceBox, ...]:
    """Pixel boxes, each with its plane in `volume`, as boxes in the planes of `grid`; what lies outside is cut off.

    A box holds for the slice's whole thickness (its spacing): it stands in every plane of the grid within that, or in
    the nearest. Where several fall on one plane their common hull stands there.
    """
    hulls: dict[int, NDArray[np.float64]] = {}
    for plane, box in boxes:
        low, high = _box_on_grid(plane, box, volume, grid)
        half = 0.5 * volume.spacing_mm_zyx[0] / grid.spacing_mm_zyx[0]
        middle = (low[0] + high[0]) / 2
        planes = range(int(np.ceil(middle - half)), int(np.floor(middle + half)) + 1) or [round(float(middle))]
        for z in planes:
            low_y, low_x, high_y, high_x = hulls.get(z, np.array([np.inf, np.inf, -np.inf, -np.inf]))
            hulls[z] = np.array([min(low_y, low[1]), min(low_x, low[2]), max(high_y, high[1]), max(high_x, high[2])])
    return tuple(found for z in sorted(hulls) if (found := _cut_off(z, hulls[z], grid)) is not None)


def mask_boxes(mask: NDArray[np.bool_], grid: PatientGrid, margin_mm: float) -> tuple[SliceBox, ...]:
    """The box of a mask [z, y, x] in each plane of its grid that it meets, `margin_mm` wider on each side."""
    boxes = []
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        ends = [np.flatnonzero(mask[z].any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
        room = margin_mm / np.array(grid.spacing_mm_zyx[1:])
        hull = np.array([e[0] - 0.5 - r for e, r in zip(ends, room, strict=True)]).tolist()
        hull += [e[1] + 0.5 + r for e, r in zip(ends, room, strict=True)]
        found = _cut_off(int(z), np.array(hull), grid)
        assert found is not None  # the mask lies on the grid
        boxes.append(found)
    return tuple(boxes)


def _box_on_grid(plane: int, box: PixelBox, volume: Volume, grid: PatientGrid) -> tuple[Affine, Affine]:
    """Low and high corner (z, y, x) in the grid's continuous indices; pixel k reaches from k to k + 1 in the table."""
    columns, rows = (box.x - 0.5, box.x + box.width - 0.5), (box.y - 0.5, box.y + box.height - 0.5)
    corners = np.array([[plane, row, column] for row in rows for column in columns], dtype=float)
    index = grid.to_index_zyx(volume.to_lps_mm(corners))
    return index.min(axis=0), index.max(axis=0)


def _cut_off(z: int, hull: NDArray[np.float64], grid: PatientGrid) -> SliceBox | None:
    """The part of a hull (y low, x low, y high, x high) that lies on the grid."""
    planes, rows, columns = grid.shape_zyx
    y_low, x_low = max(float(hull[0]), -0.5), max(float(hull[1]), -0.5)
    y_high, x_high = min(float(hull[2]), rows - 0.5), min(float(hull[3]), columns - 0.5)
    if not 0 <= z < planes or y_low >= y_high or x_low >= x_high:
        return None
    return SliceBox(z=z, y_low=round(y_low, 2), y_high=round(y_high, 2), x_low=round(x_low, 2), x_high=round(x_high, 2))
