"""Pictures of every fracture and every decoy, for the eye to judge and for the documentation.

`python -m inference.synthetic.gallery OUT.png` writes the contact sheet of docs/PHANTOM.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inference.synthetic.anatomy import Anatomy, build_anatomy
from inference.synthetic.grid import Grid
from inference.synthetic.render import render
from inference.synthetic.spec import LEVELS, Fracture, draw_spec

Array = NDArray[Any]
_WINDOW_HU = (-250.0, 1450.0)
# Columns: where a picture's x, its y and its depth point in the vertebra's frame (+x left, +y posterior, +z up).
_PLANES = {
    "axial": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]).T,
    "sagittal": np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]]).T,
    "coronal": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).T,
}


@dataclass(frozen=True, kw_only=True)
class View:
    """How to look at something: `plane` of _PLANES, about `level`, `behind_mm` behind and `up_mm` above its body."""

    plane: str
    level: str
    behind_mm: float = 12.0
    up_mm: float = 0.0
    depth_mm: float = 40.0
    slide_mm: float | None = None


FRACTURE_VIEWS: dict[str, View] = {
    "jefferson": View(plane="axial", level="C1", behind_mm=2, depth_mm=12),
    "c1-posterior-arch": View(plane="axial", level="C1", behind_mm=2, depth_mm=12),
    "c1-lateral-mass": View(plane="axial", level="C1", behind_mm=2, depth_mm=12),
    "odontoid-1": View(plane="coronal", level="C2", behind_mm=0, up_mm=12, depth_mm=10),
    "odontoid-2": View(plane="sagittal", level="C2", behind_mm=8, up_mm=10, depth_mm=4),
    "odontoid-3": View(plane="sagittal", level="C2", behind_mm=8, up_mm=8, depth_mm=4),
    "hangman": View(plane="axial", level="C2", depth_mm=20),
    "compression": View(plane="sagittal", level="C5", behind_mm=8, slide_mm=3.0),
    "burst": View(plane="axial", level="C5", depth_mm=10),
    "flexion-teardrop": View(plane="sagittal", level="C5", behind_mm=8, slide_mm=5.0),
    "extension-teardrop": View(plane="sagittal", level="C3", behind_mm=8, depth_mm=6),
    "facet": View(plane="sagittal", level="C5"),
    "unilateral-dislocation": View(plane="sagittal", level="C5"),
    "bilateral-dislocation": View(plane="sagittal", level="C5", behind_mm=8),
    "lamina": View(plane="axial", level="C6"),
    "pedicle": View(plane="axial", level="C4"),
    "transverse-process": View(plane="axial", level="C7"),
    "spinous": View(plane="sagittal", level="C7", behind_mm=24, up_mm=-4, depth_mm=8),
}


DECOY_VIEWS: dict[str, View] = {
    "nutrient-foramina": View(plane="axial", level="C5"),
    "osteophytes": View(plane="sagittal", level="C5", behind_mm=8),
    "chronic-spinous": View(plane="sagittal", level="C7", behind_mm=24),
    "old-compression": View(plane="sagittal", level="C5", behind_mm=8),
    "dens-nonunion": View(plane="sagittal", level="C2", behind_mm=8, up_mm=8),
    "os-odontoideum": View(plane="sagittal", level="C2", behind_mm=8, up_mm=8),
    "c1-posterior-cleft": View(plane="axial", level="C1", behind_mm=2),
    "c1-anterior-cleft": View(plane="axial", level="C1", behind_mm=2),
    "unfused-apophysis": View(plane="sagittal", level="C5", behind_mm=8),
    "ossicle": View(plane="sagittal", level="C6", behind_mm=20),
    "limbus-vertebra": View(plane="sagittal", level="C5", behind_mm=8),
    "vascular-calcification": View(plane="axial", level="C4", behind_mm=0),
    "longus-colli-calcification": View(plane="sagittal", level="C2", behind_mm=4, up_mm=8),
    "crowned-dens": View(plane="axial", level="C2", behind_mm=2),
    "hardware": View(plane="sagittal", level="C5", behind_mm=8),
    "posterior-hardware": View(plane="axial", level="C4"),
    "cage": View(plane="sagittal", level="C5", behind_mm=8),
    "mach-line": View(plane="sagittal", level="C2", behind_mm=8, up_mm=8),
    "motion": View(plane="axial", level="C5"),
    "schmorl-node": View(plane="sagittal", level="C5", behind_mm=8),
}


def neck(seed: int, fractures: tuple[Fracture, ...] = (), decoys: tuple[str, ...] = (), **more: Any) -> Anatomy:
    """A mean-sized neck seen by a sharp, quiet scanner, with only the injuries and decoys asked for."""
    plain: dict[str, Any] = {
        "coverage": "cspine",
        "scale": 1.0,
        "width_scale": 1.0,
        "fused": "",
        "contrast_hu": 0.0,
        "metal_teeth": 0,
    }
    quiet = {"kernel": "bone", "psf_mm": 0.28, "noise_sd": 9.0, "shoulder_streaks": 0.0, "overshoot": 0.4}
    quiet |= {"slice_mm": 0.6, "pixel_mm": 0.4}
    return build_anatomy(draw_spec(seed, fractures=fractures, decoys=decoys, **(plain | more), scanner=quiet))


def look(anatomy: Anatomy, view: View, *, size_mm: float = 62.0, spacing_mm: float = 0.4) -> NDArray[np.uint8]:
    """One plane [row, column] in the bone window: the one that `view` fixes, or the one with most fracture in it."""
    frame = anatomy.curve.frames[view.level]
    turn = frame[:3, :3] @ _PLANES[view.plane]
    centre = (frame @ np.array([0.0, view.behind_mm, view.up_mm, 1.0]))[:3]
    slide = view.slide_mm
    if slide is None:
        search = Grid.around(centre, (size_mm, size_mm, view.depth_mm), (1.0, 1.0, 0.8), turn)
        marked = render(anatomy, search, ideal=True).fracture_mask == LEVELS.index(view.level) + 1
        best = int(marked.sum(axis=(1, 2)).argmax()) if marked.any() else marked.shape[0] // 2
        slide = (best - (marked.shape[0] - 1) / 2) * 0.8
    grid = Grid.around(centre + turn[:, 2] * slide, (size_mm, size_mm, 0.6), (spacing_mm, spacing_mm, 0.6), turn)
    hu = render(anatomy, grid).hu[0]
    low, high = _WINDOW_HU
    return np.clip((hu - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


def fracture_picture(kind: str, severity: float, seed: int, level: str | None = None) -> NDArray[np.uint8]:
    """The best plane of one fracture."""
    view = FRACTURE_VIEWS[kind]
    view = view if level is None else replace(view, level=level)
    return look(neck(seed, (Fracture(level=view.level, kind=kind, severity=severity),)), view)


def sheet(rows: list[list[tuple[str, Array]]]) -> Image.Image:
    """Captioned pictures of one size in rows."""
    height, width = rows[0][0][1].shape
    bar = 12
    out = Image.new("L", (max(len(r) for r in rows) * (width + 2), len(rows) * (height + bar + 2)), 0)
    draw = ImageDraw.Draw(out)
    for i, row in enumerate(rows):
        for j, (caption, picture) in enumerate(row):
            x, y = j * (width + 2), i * (height + bar + 2)
            out.paste(Image.fromarray(picture), (x, y + bar))
            draw.text((x + 2, y), caption, fill=255)
    return out


def decoy_picture(kind: str, seed: int) -> NDArray[np.uint8]:
    """The best plane of one decoy, through where its truth says that it is."""
    view = DECOY_VIEWS[kind]
    anatomy = neck(seed, (), (kind,), **({"age": 20} if kind == "unfused-apophysis" else {}))
    places = [d for d in anatomy.decoys if d.level and d.centre_lps_mm]
    if not places:
        return look(anatomy, replace(view, slide_mm=0.0))
    shown = next((d for d in places if d.level == view.level), places[0])
    view = replace(view, level=str(shown.level))
    x, _, z, _ = np.linalg.inv(anatomy.curve.frames[view.level]) @ np.append(np.array(shown.centre_lps_mm), 1.0)
    return look(anatomy, replace(view, slide_mm=float(x if view.plane == "sagittal" else z)))


def contact_sheet(seed: int = 6, severity: float = 0.75, columns: int = 6) -> Image.Image:
    """Rows of every fracture, then of every decoy, each in its own neck; in few enough greys to make a small file."""
    rows = []
    for shown in (
        [(kind, fracture_picture(kind, severity, seed)) for kind in FRACTURE_VIEWS],
        [(kind, decoy_picture(kind, seed)) for kind in DECOY_VIEWS],
    ):
        few = [(caption, (picture // 8 * 8 + 4).astype(np.uint8)) for caption, picture in shown]
        rows += [few[i : i + columns] for i in range(0, len(few), columns)]
    return sheet(rows)


def main(arguments: list[str]) -> int:
    """Write the contact sheet to the one path given."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m inference.synthetic.gallery OUT.png\n")
        return 2
    contact_sheet().save(Path(arguments[0]), optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
