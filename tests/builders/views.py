"""A folder of views as the analysis leaves it for the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dicom_node.core.finding import LEVELS


def make_views(folder: Path, *, key_levels: tuple[str, ...] = ("C2",), shape: tuple[int, int] = (120, 80)) -> Path:
    """A side view with seven bright blocks and a key slice for each of `key_levels`."""
    folder.mkdir(parents=True, exist_ok=True)
    hu = np.full(shape, 40, np.int16)
    mask = np.zeros(shape, np.uint8)
    labels = []
    for number, level in enumerate(LEVELS, 1):
        row = round((number - 0.5) * shape[0] / 7)
        mask[row - 5 : row + 6, shape[1] // 2 - 8 : shape[1] // 2 + 9] = number
        labels.append({"level": level, "row": float(row), "column": float(shape[1] // 2)})
    hu[mask > 0] = 900
    views: list[dict[str, Any]] = [
        _saved(folder, "sagittal", hu, mask)
        | {"kind": "sagittal", "level": None, "spacing_mm": [1.0, 0.5], "labels": labels}
    ]
    for level in key_levels:
        views.append(
            _saved(folder, f"key_{level}", hu[:60, :60], mask[:60, :60])
            | {
                "kind": "axial",
                "level": level,
                "spacing_mm": [0.4, 0.4],
                "slice_index": 12,
                "point": [20.0, 30.0],
                "probability": 0.91,
            }
        )
    (folder / "views.json").write_text(json.dumps({"views": views}))
    return folder


def _saved(folder: Path, name: str, hu: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    np.save(folder / f"{name}_hu.npy", hu)
    np.save(folder / f"{name}_mask.npy", mask)
    return {"name": name, "hu": f"{name}_hu.npy", "mask": f"{name}_mask.npy"}


def drawings(folder: Path, *names: str) -> list[Path]:
    """Small pictures as drawing leaves them, one for each name."""
    files = [folder / f"{name}.png" for name in names]
    for file in files:
        Image.new("RGB", (90, 200), (40, 60, 80)).save(file)
    return files
