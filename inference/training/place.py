"""Training of the network that reads a straightened spine: which vertebra stands where, and where one ends.

Its lines run through the true bodies, moved as a localiser may misplace them, with levels missing at either end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from inference.models import PlaceNet
from inference.models.place_net import PLACES
from inference.placing import PLACE_LENGTH, coarse_borders, on_line, shares_of, walk_through
from inference.postprocess import Column, body_centre
from inference.preprocess import AIR_HU, PatientGrid, place_input
from inference.training.augment import (
    change_density,
    change_marrow,
    change_scanner,
    random_bend,
    random_frame,
    shift_contrast,
)
from inference.training.fit import Batch, Training, load_average
from inference.training.samples import SampleStore, StoredSample, wide_hu
from inference.training.settings import Settings

Array = NDArray[np.float64]

_UNKNOWN: Final = -1
_BORDER_SD_MM: Final = 1.5
_BORDER_WEIGHT: Final = 4.0
_AXIS: Final = 2
_LAST_CERVICAL: Final = 7
_LAST_CODE: Final = 24
_LEAST_SHARE: Final = 0.02
_FEWEST_BODIES: Final = 2
_MOST_DRAWS: Final = 1000


def train_place(
    settings: Settings, samples: Path, folder: Path, start: Path | None = None, device: str = "cpu"
) -> None:
    """Train to `settings.place.steps` on the drawing network's samples, in a folder that may still be filling."""
    torch.manual_seed(settings.seeds.torch)
    net = PlaceNet(settings.place.channels)
    if start is not None:
        load_average(net, start)
    training = Training(net, settings.place, folder, settings.seeds.torch + 3, device)
    draw_one = StraightSpines(SampleStore(samples, least_voxels=600))

    def draw(rng: np.random.Generator) -> Batch:
        drawn = [draw_one(rng) for _ in range(settings.place.batch)]
        return tuple(torch.stack(parts) for parts in zip(*drawn, strict=True))

    training.run(draw, place_loss)


def place_loss(net: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """`batch`: input [b, 3, n, y, x], the place's class [b, n] (-1: unknown) and how near a border is [b, n], 0-1."""
    images, places, near = batch
    logits = net(images.to(memory_format=torch.channels_last_3d)).float()
    known = places != _UNKNOWN
    cross_entropy = F.cross_entropy(logits[:, :PLACES], places, ignore_index=_UNKNOWN)
    border = F.binary_cross_entropy_with_logits(logits[:, PLACES], near, known.float(), reduction="sum")
    border = border / known.sum().clamp(min=1)
    right = (logits[:, :PLACES].argmax(dim=1) == places) & known
    return {
        "loss": cross_entropy + _BORDER_WEIGHT * border,
        "cross_entropy": cross_entropy.detach(),
        "right": right.sum() / known.sum().clamp(min=1),
    }


class StraightSpines:
    """Draws straightened spines of stored samples (1 mm, classes are the bones' own numbers)."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store
        self._centres: dict[int, dict[int, Array]] = {}

    def __call__(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The network's input [3, n, y, x], the class of each place [n] and how near a border is [n]."""
        for _ in range(_MOST_DRAWS):
            sample = self._store.pick(rng, with_levels=True)
            centres = self._of(sample)
            if len(centres) >= _FEWEST_BODIES:
                return _straightened(sample, centres, rng)
        raise ValueError("No sample shows two vertebrae below the atlas: render more with the `samples` command.")

    def _of(self, sample: StoredSample) -> dict[int, Array]:
        """The body centres (z, y, x) of C2 to C7; kept, since the store holds its samples for good."""
        known = self._centres.get(id(sample))
        if known is None:
            labels = np.where(sample.share.numpy() > 127, sample.classes.numpy(), 0)
            column = Column(grid=_index_grid(sample), labels=np.where(labels > _LAST_CERVICAL, 0, labels), evidence={})
            levels = [k for k in sample.levels if k >= _AXIS]
            known = {k: np.array(body_centre(column, k))[::-1] for k in levels}
            self._centres[id(sample)] = known
        return known


def _straightened(
    sample: StoredSample, centres: dict[int, Array], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    frame = random_frame(rng, 14.0, 0.18)
    middle = np.mean(list(centres.values()), axis=0)
    # The line is laid in the turned, scaled and mirrored world; its points are then looked up in the sample.
    seen_centres = (np.array([centres[k] for k in sorted(centres)]) - middle) @ np.linalg.inv(frame).T
    across = walk_through(_misplaced(seen_centres, rng)[:, ::-1]).across()[:PLACE_LENGTH]
    index = across[..., ::-1] @ frame.T + middle
    if rng.random() < 0.7:
        n, y, x = index.shape[:3]
        index = index + random_bend(rng, (n, y, x), 2.0).numpy()
    hu, seen = wide_hu(_looked_up(sample.hu, index)), _inside(index, sample.hu.shape)
    bones = _nearest(sample.classes, index) * (_nearest(sample.share, index) > 127)
    places, near = place_targets(bones, on_line(seen))
    hu = _changed(hu, rng)
    hu[~torch.from_numpy(seen)] = AIR_HU
    _hide(hu, rng)
    _cut(hu, seen, places, rng)
    return _padded(place_input(hu, seen), torch.from_numpy(places), torch.from_numpy(near))


def place_targets(bones: NDArray[np.uint8], seen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Class [n] (-1: unknown) and nearness of a border [n] (0-1) of straightened bone codes [n, y, x].

    `seen` [n]: whether the scan reaches the place.
    """
    n = len(bones)
    places = np.full(n, _UNKNOWN, dtype=np.int64)
    near = np.zeros(n, dtype=np.float32)
    shares = shares_of(bones, range(_AXIS, _LAST_CODE + 1))
    levels = [k for k, share in shares.items() if share.sum() > 1.0]
    inside = np.flatnonzero(seen)
    if not levels or not len(inside) or levels != list(range(levels[0], levels[-1] + 1)):
        return places, near
    borders = coarse_borders(bones, levels)
    start, stop = float(inside[0]), float(inside[-1] + 1)
    top = np.flatnonzero(shares[levels[0]] > _LEAST_SHARE)[0] if levels[0] == _AXIS else start
    end = np.flatnonzero(shares[levels[-1]] > _LEAST_SHARE)[-1] + 1 if levels[-1] < PLACES else stop
    edges = [top, *(borders.get(k, np.nan) for k in levels[:-1]), end]
    if not np.all(np.diff(edges) > 0):
        return places, near
    if levels[0] == _AXIS:
        places[round(start) : round(top)] = 0
    at = np.arange(n)
    for level, low, high in zip(levels, edges[:-1], edges[1:], strict=True):
        places[(at >= low) & (at < high)] = min(level - 1, PLACES - 1)
    for level, border in borders.items():
        if level < PLACES:
            near = np.maximum(near, np.exp(-0.5 * ((at - border + 0.5) / _BORDER_SD_MM) ** 2))
    places[~seen] = _UNKNOWN
    return places, near.astype(np.float32)


def _misplaced(centres: Array, rng: np.random.Generator) -> Array:
    """Body centres (z, y, x) as a localiser may answer them: moved, and with levels missing at either end."""
    moved = centres + rng.normal(0, (3.0, 1.5, 1.0), centres.shape) + rng.normal(0, (3.0, 2.0, 1.5))
    if rng.random() < 0.3:
        # The whole column one level too high or too low, or stretched over more than it covers.
        moved[:, 0] += rng.choice([-1.0, 1.0]) * rng.uniform(4, 14)
    count = len(centres)
    least = min(count, _FEWEST_BODIES if rng.random() < 0.1 else 3)
    kept = int(rng.integers(least, count + 1)) if rng.random() < 0.3 else count
    first = int(rng.integers(0, count - kept + 1))
    order = np.argsort(-moved[first : first + kept, 0])
    return moved[first : first + kept][order]


def _changed(hu: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    if rng.random() < 0.4:
        hu = change_marrow(hu, rng)
    hu = change_density(hu, rng)
    hu = change_scanner(hu, rng, noise_hu=110.0, thick=3.2, coarse=1.3)
    return shift_contrast(hu, rng, 230.0)


def _hide(hu: torch.Tensor, rng: np.random.Generator) -> None:
    """Boxes of nothing but one grey value, in place: no single mark of a vertebra may decide its name."""
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            corner = [int(rng.integers(0, n)) for n in hu.shape]
            size = [int(rng.integers(low, high)) for low, high in ((5, 30), (4, 16), (4, 16))]
            box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
            hu[box] = float(rng.choice([AIR_HU, 40.0, 300.0]))


def _cut(hu: torch.Tensor, seen: NDArray[np.bool_], places: NDArray[np.int64], rng: np.random.Generator) -> None:
    """A scan that ends along the line (or is blank from there on, or shows a narrow circle); changed in place."""
    n = len(hu)
    for end in (0, 1):
        if rng.random() < 0.4:
            cut = int(rng.integers(1, round(n * 0.55)))
            part = slice(0, cut) if end == 0 else slice(n - cut, n)
            hu[part], places[part] = AIR_HU, _UNKNOWN
            seen[part] = rng.random() < 0.1
    if rng.random() < 0.12:
        behind = int(rng.integers(hu.shape[1] // 2, hu.shape[1]))
        hu[:, behind:], seen[:, behind:] = AIR_HU, False


def _padded(
    images: torch.Tensor, places: torch.Tensor, near: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    missing = PLACE_LENGTH - images.shape[1]
    air = place_input(torch.full((missing, *images.shape[2:]), AIR_HU), torch.zeros((missing, *images.shape[2:])))
    return (
        torch.cat([images, air], dim=1),
        F.pad(places, (0, missing), value=_UNKNOWN),
        F.pad(near, (0, missing)),
    )


def _looked_up(stored: torch.Tensor, index: Array) -> torch.Tensor:
    """Stored values, interpolated, float32; 0 outside."""
    low = np.clip(np.floor(index.min(axis=(0, 1, 2))).astype(int), 0, np.array(stored.shape) - 1)
    high = np.clip(np.ceil(index.max(axis=(0, 1, 2))).astype(int) + 1, low + 1, stored.shape)
    part = stored[low[0] : high[0], low[1] : high[1], low[2] : high[2]].float()
    size = torch.tensor(part.shape, dtype=torch.float32)
    where = (2 * torch.from_numpy((index - low).astype(np.float32)) + 1) / size - 1
    return F.grid_sample(part[None, None], where.flip(-1)[None], padding_mode="zeros", align_corners=False)[0, 0]


def _nearest(stored: torch.Tensor, index: Array) -> NDArray[np.uint8]:
    """Stored values at the nearest voxels; 0 outside."""
    at = np.clip(np.round(index).astype(int), 0, np.array(stored.shape) - 1)
    values: NDArray[np.uint8] = stored.numpy()[at[..., 0], at[..., 1], at[..., 2]]
    return np.where(_inside(index, stored.shape), values, 0).astype(np.uint8)


def _inside(index: Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.all((index > -0.5) & (index < np.array(shape) - 0.5), axis=-1)
    return inside


def _index_grid(sample: StoredSample) -> PatientGrid:
    z, y, x = sample.hu.shape
    return PatientGrid(origin_lps_mm=(0.0, 0.0, 0.0), spacing_mm_zyx=(1.0, 1.0, 1.0), shape_zyx=(z, y, x))
