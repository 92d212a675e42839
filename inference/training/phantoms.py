"""The generator's studies as training and evaluation see them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.anatomy import Anatomy, build_anatomy
from inference.synthetic.grid import Grid
from inference.synthetic.phantom import default_grid
from inference.synthetic.render import render
from inference.synthetic.spec import FRACTURE_KINDS, LEVELS, Fracture, PhantomSpec, draw_kind, draw_spec
from inference.training.samples import LabelledVolume, localiser_sample, save_sample, shape_sample
from inference.volume import Volume

_TRAINING_FRACTURE_SHARE = 0.35
# The localiser must also know where no cervical spine is, and where one ends: far more of that than in life.
_LOCALISER_COVERAGE = {"cspine": 0.34, "neck": 0.14, "head": 0.14, "wholebody": 0.1, "chest": 0.17, "abdomen": 0.11}


# Where counting ends is seen on the vertebrae below.
_ROOM_FOR_T2_MM = 40.0


def training_spec(seed: int) -> PhantomSpec:
    """A study with far more fractures than in life: three in four have some, each level with chance 0.35."""
    rng = np.random.default_rng([seed, 31])
    fractures: list[Fracture] = []
    if rng.random() < 0.75:
        for level in LEVELS:
            if rng.random() < _TRAINING_FRACTURE_SHARE:
                kinds = sorted(k for k, levels in FRACTURE_KINDS.items() if level in levels)
                # Half by how often a kind occurs, half evenly, so that rare kinds are learnt too.
                kind = draw_kind(rng, level) if rng.random() < 0.5 else str(rng.choice(kinds))
                fractures.append(Fracture(level=level, kind=kind, severity=float(rng.beta(1.6, 1.3))))
    return draw_spec(seed, fractures=tuple(fractures))


def cervical(spec: PhantomSpec) -> PhantomSpec:
    """The same person scanned as a cervical spine study."""
    return dataclasses.replace(spec, coverage="cspine")


def anywhere(spec: PhantomSpec) -> PhantomSpec:
    """The same person scanned for one reason or another: neck, head, chest, abdomen, or all of it."""
    rng = np.random.default_rng([spec.seed, 47])
    coverage = rng.choice(list(_LOCALISER_COVERAGE), p=list(_LOCALISER_COVERAGE.values()))
    return dataclasses.replace(spec, coverage=str(coverage))


def write_samples(kind: str, seeds: Iterable[int], folder: Path) -> Iterator[tuple[Path, float]]:
    """Render what is missing in `folder`: yields each file written and the seconds it took.

    `kind`: localiser (any coverage, see `anywhere`), shape (cervical, near the spine).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = folder / f"{seed}.npz"
        if path.exists():
            continue
        begin = time.monotonic()
        if kind == "localiser":
            arrays = localiser_sample(_localiser_study(anywhere(training_spec(seed))))
        elif kind == "shape":
            arrays = shape_sample(_shape_study(cervical(training_spec(seed))))
        else:
            raise ValueError(f"samples are of kind localiser or shape, not {kind!r}")
        save_sample(path, arrays)
        yield path, time.monotonic() - begin


def _localiser_study(spec: PhantomSpec) -> LabelledVolume:
    anatomy = build_anatomy(spec)
    # A tall scan costs as much at 2 mm as a neck at 1.25 mm, and the network sees 2 mm in the end.
    finest = 1.25 if spec.coverage in ("cspine", "neck") else 2.0
    return _rendered(anatomy, coarser_grid(default_grid(spec, anatomy), (finest,) * 3))


def _shape_study(spec: PhantomSpec) -> LabelledVolume:
    return _spine_study(spec, (0.7, 0.7, 0.7), _ROOM_FOR_T2_MM)


def _spine_study(spec: PhantomSpec, at_least_mm_zyx: tuple[float, float, float], below_mm: float) -> LabelledVolume:
    """The study on its own slices, near the spine and `below_mm` under C7 only, with voxels of at least this size."""
    anatomy = build_anatomy(spec)
    grid = coarser_grid(default_grid(spec, anatomy), at_least_mm_zyx)
    boxes = [anatomy.boxes_lps_mm[level] for level in LEVELS]
    low = np.min([b[0] for b in boxes], axis=0) - (12.0, 12.0, below_mm)
    high = np.max([b[1] for b in boxes], axis=0) + 12.0
    return _rendered(anatomy, _cut(grid, low, high))


def _rendered(anatomy: Anatomy, grid: Grid) -> LabelledVolume:
    out = render(anatomy, grid)
    volume = Volume(hu=np.maximum(out.hu, -1024), affine_lps=np.asarray(grid.affine_lps, dtype=float))
    return LabelledVolume(
        volume=volume, labels=out.labels, fracture_mask=out.fracture_mask, bone=out.bone, bone_share=out.bone_share
    )


def coarser_grid(grid: Grid, at_least_mm_zyx: tuple[float, float, float]) -> Grid:
    """The same field of view with voxels of at least this size: quicker to render, and all the networks use."""
    own = grid.spacing_mm_xyz[::-1]
    factor = np.maximum(1.0, np.array(at_least_mm_zyx) / own)
    shape = np.maximum(np.round(np.array(grid.shape_zyx) / factor).astype(int), 1)
    affine = grid.affine_lps.copy()
    affine[:3, :3] *= factor[::-1]
    affine[:3, 3] += grid.affine_lps[:3, :3] @ ((factor[::-1] - 1) / 2)
    return Grid(shape_zyx=(int(shape[0]), int(shape[1]), int(shape[2])), affine_lps=affine)


def _cut(grid: Grid, low_lps_mm: NDArray[np.float64], high_lps_mm: NDArray[np.float64]) -> Grid:
    """The part of a grid between two corners; at least one voxel per axis."""
    corners = np.array([low_lps_mm, high_lps_mm])
    ends = np.array([[corners[i][0], corners[j][1], corners[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    index = (ends - grid.affine_lps[:3, 3]) @ np.linalg.inv(grid.affine_lps[:3, :3]).T
    size = np.array(grid.shape_zyx[::-1])
    first = np.clip(np.floor(index.min(axis=0)).astype(int), 0, size - 1)
    last = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, first + 1, size)
    affine = grid.affine_lps.copy()
    affine[:3, 3] += grid.affine_lps[:3, :3] @ first
    shape = (last - first)[::-1]
    return Grid(shape_zyx=(int(shape[0]), int(shape[1]), int(shape[2])), affine_lps=affine)
