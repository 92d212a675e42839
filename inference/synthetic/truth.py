"""What is true of a study: levels, slices, boxes and decoys as plain data."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from inference.synthetic.anatomy import Anatomy
from inference.synthetic.spec import LEVELS, PhantomSpec
from inference.volume import Volume

Array = NDArray[Any]
_Box = tuple[slice, slice, slice]
# A person's box stands off what it shows; public ones are 22 mm by 18 mm in the median.
_BOX_MARGIN_MM: Final = 4.0


def describe(
    spec: PhantomSpec,
    anatomy: Anatomy,
    volume: Volume,
    labels: Array,
    mask: Array,
    cut: frozenset[int] = frozenset(),
) -> dict[str, Any]:
    """The truth of a study as JSON-ready data; arrays are [z, y, x] on the volume's grid.

    A level is "complete" where it touches no face of the volume, its centre lies inside, and its number is not among
    `cut`: those of which the reconstruction circle has taken a part.
    """
    bones, gaps = (find_objects(a, len(LEVELS)) for a in (np.where(labels <= len(LEVELS), labels, 0), mask))
    levels = [
        _level(level, bone, gap, spec, anatomy, volume, number in cut)
        for number, (level, bone, gap) in enumerate(zip(LEVELS, bones, gaps, strict=True), start=1)
    ]
    return {
        "synthetic": True,
        "any_fracture": any(level["fractured"] for level in levels),
        "levels": levels,
        "slice_table": slice_table(volume, labels, mask),
        "decoys": [{"kind": d.kind, "level": d.level, "centre_lps_mm": d.centre_lps_mm} for d in anatomy.decoys],
        "decoy_kinds": sorted({d.kind for d in anatomy.decoys}),
        "spec": json.loads(spec.to_json()),
    }


def slice_table(volume: Volume, labels: Array, mask: Array) -> list[dict[str, Any]]:
    """One row per slice, from the most inferior: its levels, the fractured ones, and the fractures' box.

    `slice` is the index in the volume, `z_mm` the LPS z of its first pixel. `box` is x, y (the top left corner),
    width and height in pixels about everything fractured in the slice, as public boxes are; None without a fracture.
    """
    rows = []
    for k in range(labels.shape[0]):
        present = np.bincount(labels[k].ravel(), minlength=8)[1:8] > 0
        broken = np.bincount(mask[k].ravel(), minlength=8)[1:8] > 0
        rows.append(
            {
                "slice": k,
                "z_mm": round(float(volume.to_lps_mm(np.array([k, 0, 0]))[2]), 4),
                "levels": [level for level, here in zip(LEVELS, present, strict=True) if here],
                "fractured": [level for level, here in zip(LEVELS, broken, strict=True) if here],
                "box": _slice_box(mask[k] > 0, volume.spacing_mm_zyx[1:]) if broken.any() else None,
            }
        )
    return rows


def _slice_box(where: Array, spacing_yx: tuple[float, float]) -> list[float]:
    out = []
    for axis, spacing in ((1, spacing_yx[1]), (0, spacing_yx[0])):
        at = np.flatnonzero(where.any(axis=1 - axis))
        margin = _BOX_MARGIN_MM / spacing
        low, high = max(at[0] - margin, 0.0), min(at[-1] + 1 + margin, float(where.shape[axis]))
        out.append((round(float(low), 3), round(float(high - low), 3)))
    return [out[0][0], out[1][0], out[0][1], out[1][1]]


def _level(
    level: str,
    bone: _Box | None,
    gap: _Box | None,
    spec: PhantomSpec,
    anatomy: Anatomy,
    volume: Volume,
    is_cut: bool,
) -> dict[str, Any]:
    kinds = [{"kind": f.kind, "severity": f.severity} for f in spec.fractures if f.level == level]
    centre = anatomy.centres_lps_mm[level]
    last = np.array(volume.hu.shape) - 1
    at = volume.to_index_zyx(np.array(centre))
    whole = bone is not None and all(b.start > 0 and b.stop <= n for b, n in zip(bone, last, strict=True))
    inside = bool(np.all(at >= 0) and np.all(at <= last))
    return {
        "level": level,
        "status": "absent" if bone is None else ("complete" if whole and inside and not is_cut else "partial"),
        "fractured": bool(kinds) and gap is not None,
        "fractures": kinds,
        "centre_lps_mm": list(centre),
        "bone_box": None if bone is None else _box(volume, bone),
        "fracture_box": None if gap is None else _box(volume, gap),
    }


def _box(volume: Volume, sides: _Box) -> dict[str, Any]:
    """Half-open voxel box and the LPS mm box of its voxels' centres."""
    lo, hi = np.array([s.start for s in sides]), np.array([s.stop for s in sides])
    corners = np.array([[z, y, x] for z in (lo[0], hi[0] - 1) for y in (lo[1], hi[1] - 1) for x in (lo[2], hi[2] - 1)])
    mm = volume.to_lps_mm(corners)
    return {"voxels_zyx": [lo.tolist(), hi.tolist()], "lps_mm": [mm.min(axis=0).tolist(), mm.max(axis=0).tolist()]}
