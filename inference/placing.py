"""Where one vertebra ends and the next begins, read along the straightened spine.

The first network knows roughly where each level is; on worn discs, thin marrow and thick slices its borders may sit
half a vertebra too high or too low. A radiologist then follows the bodies down from the dens and counts discs. So does
this: a smooth line is laid through the bodies, the scan is sampled across it (the spine stands straight there, whatever
its posture), a second network says for each millimetre which vertebra stands there and how likely one gives way to the
next, and a dynamic programme finds the best sequence of vertebrae of possible heights. The coarse answer is then moved
along the line so that its borders lie there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from inference.postprocess import Column, body_centre, keep_largest, share_of_expected
from inference.preprocess import AIR_HU, PLACE_SHAPE_YX, PLACE_SPACING_MM, PatientGrid, place_input, sample_volume
from inference.volume import Volume

Array = NDArray[np.float64]
Read = Callable[[torch.Tensor], torch.Tensor]

# The network reads so many millimetres, filled up with nothing: two vertebrae in view as well as a long neck.
PLACE_LENGTH: Final = 208
ABOVE_MM: Final = 36.0
BELOW_MM: Final = 40.0
# Millimetres a vertebra and its disc may be high, without what a scan cuts off: C2 with its dens, the others.
_AXIS_MM: Final = (20, 52)
_OTHERS_MM: Final = (8, 27)
_FIRST: Final = 2
_LAST: Final = 8
_LEAST_LEVELS: Final = 2
_LEAST_SHIFT_MM: Final = 0.6
_PROBE_MM: Final = 5.0
_FRONT_MM: Final = 18.0
# Sampling between the outermost voxels and air still shows some of them.
_EDGE_VOXELS: Final = 1.0
# Of a mean person's bone; a level with less may be an arch without its body.
_LEAST_SHARE: Final = 0.6
_OFF_LINE_MM: Final = 7.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """Points [n, 3] (LPS mm) from top to bottom through the bodies, 1 mm apart, and the unit vectors of the way on.

    `left` and `back` [n, 3] span the cross-section at each point.
    """

    points: Array
    ways: Array
    left: Array
    back: Array

    def across(self) -> Array:
        """LPS mm [n, y, x, 3] of the cross-sections: y from in front of the bodies to behind the spinous processes."""
        ny, nx = PLACE_SHAPE_YX
        y = np.arange(ny) * PLACE_SPACING_MM[1] - _FRONT_MM
        x = (np.arange(nx) - (nx - 1) / 2) * PLACE_SPACING_MM[2]
        points: Array = (
            self.points[:, None, None]
            + self.back[:, None, None] * y[None, :, None, None]
            + self.left[:, None, None] * x[None, None, :, None]
        )
        return points


def place_levels(column: Column, near: torch.Tensor, volume: Volume, read: Read) -> tuple[Column, torch.Tensor]:
    """The column and its probabilities [classes, z, y, x], both moved along the spine to where the borders are.

    `read` takes the network's input [3, n, y, x] and returns its logits [10, n]. What cannot be bettered comes back as
    it is.
    """
    levels = [k for k in column.levels if _FIRST <= k < _LAST]
    if len(levels) < _LEAST_LEVELS or levels != list(range(levels[0], levels[-1] + 1)):
        return column, near
    walk = walk_through(trusted_centres(column, levels))
    across = walk.across()[:PLACE_LENGTH]
    hu, seen = _sampled(volume, across)
    first, last = _span(seen)
    if last - first < _OTHERS_MM[1]:
        return column, near
    missing = PLACE_LENGTH - len(across)
    hu, padded = F.pad(hu, (0, 0, 0, 0, 0, missing), value=AIR_HU), np.pad(seen, ((0, missing), (0, 0), (0, 0)))
    logits = read(place_input(hu, padded))[:, first:last].double().numpy()
    found = {k: place + first for k, place in borders_of(logits).items()}
    coarse = coarse_borders(_labels_across(column, across), levels)
    common = [k for k in sorted(coarse) if k in found]
    if not common:
        return column, near
    old = np.array([coarse[k] for k in common])
    shift = np.array([found[k] for k in common]) - old
    if np.abs(shift).max() < _LEAST_SHIFT_MM:
        return column, near
    return _moved(column, near, walk, old, shift)


def trusted_centres(column: Column, levels: list[int]) -> Array:
    """Body centres [n, 3] (LPS mm) to lay the line through, top first, at least two.

    What the scan cuts off may be a body, and the middle of what is left then lies in an arch: levels that are mostly
    missing do not count, nor does one that lies far off the line of all the others.
    """
    centres = {k: np.array(body_centre(column, k)) for k in levels}
    by_share = sorted(levels, key=lambda k: -share_of_expected(column, k))
    kept = [k for k in levels if share_of_expected(column, k) >= _LEAST_SHARE or k in by_share[:_LEAST_LEVELS]]
    while len(kept) > _LEAST_LEVELS + 1:
        off = {k: _off_line(centres[k], np.array([centres[j] for j in kept if j != k])) for k in kept}
        worst = max(off, key=off.__getitem__)
        if off[worst] <= _OFF_LINE_MM:
            break
        kept.remove(worst)
    return np.array([centres[k] for k in kept])


def _off_line(centre: Array, others: Array) -> float:
    """How far a centre lies in front of, behind or beside the gently bent line of the others, mm."""
    degree = 2 if len(others) > 3 else 1
    line = [np.polynomial.Polynomial.fit(others[:, 2], others[:, axis], degree)(centre[2]) for axis in (0, 1)]
    return float(np.hypot(line[0] - centre[0], line[1] - centre[1]))


def walk_through(centres_lps_mm: Array) -> Walk:
    """The line through body centres [n, 3], top first, and on for `ABOVE_MM` and `BELOW_MM` past the outer ones."""
    z = centres_lps_mm[:, 2]
    # Straight or gently bent: a level that sits wrongly must not bend the line.
    degree = min(2, len(z) - 1) if len(z) > 2 else 1
    along = np.arange(z.max() + ABOVE_MM, z.min() - BELOW_MM, -0.25)
    inner = np.clip(along, z.min(), z.max())
    line = np.empty((len(along), 3))
    for axis in (0, 1):
        fit = np.polynomial.Polynomial.fit(z, centres_lps_mm[:, axis], degree)
        line[:, axis] = fit(inner) + fit.deriv()(inner) * (along - inner)
    line[:, 2] = along
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.arange(0.0, length[-1], PLACE_SPACING_MM[0])
    points = np.stack([np.interp(at, length, line[:, axis]) for axis in range(3)], axis=1)
    ways = np.gradient(points, axis=0)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    left = np.cross(np.array([0.0, 1.0, 0.0]), ways)
    left *= np.sign(left[:, :1]) / np.linalg.norm(left, axis=1, keepdims=True)
    back = np.cross(left, ways)
    back *= np.sign(back[:, 1:2])
    return Walk(points=points, ways=ways, left=left, back=back)


def borders_of(logits: Array) -> dict[int, float]:
    """The most likely places {k: edge} where level k (C2 = 2 ... T1 = 8) gives way to the next one down.

    Edge 5 lies between places 4 and 5.

    `logits` [10, n] are the network's, of places inside the scan. The best sequence of consecutive levels: any may be
    the first or the last, those between have a possible height.
    """
    log_p = logits[:-1] - np.logaddexp.reduce(logits[:-1], axis=0)
    border = logits[-1]
    states, n = log_p.shape
    sums = np.concatenate([np.zeros((states, 1)), np.cumsum(log_p, axis=1)], axis=1)
    best = np.full((states, n + 1), -np.inf)
    came = np.zeros((states, n + 1), dtype=int)
    for state in range(states):
        # Score of beginning this state at each place: at the top for free, else after the state before.
        begin = np.full(n + 1, -np.inf)
        begin[0] = 0.0
        if state:
            begin[1:n] = best[state - 1, 1:n]
        if state > 1:
            begin[1:n] += (border[:-1] + border[1:]) / 2
        low, high = _heights(state, n)
        for end in range(1, n + 1):
            starts = np.arange(max(0, end - high), end)
            worth = begin[starts] + sums[state, end] - sums[state, starts]
            if end < n:
                worth[(starts > 0) & (starts > end - low)] = -np.inf
            at = int(worth.argmax())
            best[state, end], came[state, end] = worth[at], starts[at]
    state, end = int(best[:, n].argmax()), n
    found = {}
    while came[state, end] > 0:
        end = int(came[state, end])
        state -= 1
        if state:
            found[state + 1] = _middle(border, end)
    return found


def coarse_borders(labels: NDArray[np.uint8], levels: list[int]) -> dict[int, float]:
    """Where along the line level k gives way to the next one down, {k: edge}, of labels [n, y, x] across the line."""
    shares = shares_of(labels, levels)
    borders = {}
    for upper, lower in pairwise(levels):
        over, under = shares[upper], shares[lower]
        if lower != upper + 1 or over.sum() < 1.0 or under.sum() < 1.0:
            continue
        place = np.arange(len(over))
        top, bottom = (float((share * place).sum() / share.sum()) for share in (over, under))
        # The place that leaves least of the upper level below it and of the lower one above it.
        wrong = np.concatenate([[0.0], np.cumsum(under)]) + over.sum() - np.concatenate([[0.0], np.cumsum(over)])
        between = np.arange(len(wrong))
        wrong = np.where((between >= top) & (between <= bottom), wrong, np.inf)
        if np.isfinite(wrong).any():
            borders[upper] = float(np.flatnonzero(wrong <= wrong.min() + 1e-6).mean())
    return borders


def shares_of(labels: NDArray[np.uint8], levels: Iterable[int]) -> dict[int, Array]:
    """How much of each cross-section's middle, 10 x 10 mm of bodies, is each level's: [n] of labels [n, y, x]."""
    ny, nx = PLACE_SHAPE_YX
    y = np.abs(np.arange(ny) * PLACE_SPACING_MM[1] - _FRONT_MM) <= _PROBE_MM
    x = np.abs(np.arange(nx) - (nx - 1) / 2) * PLACE_SPACING_MM[2] <= _PROBE_MM
    probe = labels[:, y][:, :, x].reshape(len(labels), -1)
    return {level: (probe == level).mean(axis=1) for level in levels}


def on_line(across: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The values [n] of [n, y, x] where the line goes through."""
    return across[:, round(_FRONT_MM / PLACE_SPACING_MM[1]), PLACE_SHAPE_YX[1] // 2]


def _heights(state: int, n: int) -> tuple[int, int]:
    """Least and greatest height of what the network's class `state` stands for."""
    if state in (0, 8):
        return 1, n
    return _AXIS_MM if state == 1 else _OTHERS_MM


def _middle(border: Array, place: int) -> float:
    """The centre of the border's peak about an edge."""
    around = np.arange(max(0, place - 3), min(len(border), place + 3))
    weight = 1.0 / (1.0 + np.exp(-border[around]))
    return float((weight * around).sum() / weight.sum()) + 0.5


def _sampled(volume: Volume, across: Array) -> tuple[torch.Tensor, NDArray[np.bool_]]:
    """HU [n, y, x] at the points, and where they lie in the scan."""
    low, high = across.min(axis=(0, 1, 2)), across.max(axis=(0, 1, 2))
    x, y, z = low
    shape = np.ceil(high - low).astype(int) + 1
    box = PatientGrid(
        origin_lps_mm=(float(x), float(y), float(z)),
        spacing_mm_zyx=(1.0, 1.0, 1.0),
        shape_zyx=(int(shape[2]), int(shape[1]), int(shape[0])),
    )
    hu = sample_volume(volume, box)
    where = (2 * box.to_index_zyx(across) + 1) / np.array(box.shape_zyx) - 1
    grid = torch.from_numpy(where[..., ::-1].astype(np.float32))[None]
    sampled = F.grid_sample(hu[None, None], grid, padding_mode="border", align_corners=False)[0, 0]
    index = volume.to_index_zyx(across)
    size = np.array(volume.hu.shape)
    return sampled, np.all((index > -_EDGE_VOXELS) & (index < size - 1 + _EDGE_VOXELS), axis=-1)


def _span(seen: NDArray[np.bool_]) -> tuple[int, int]:
    """The stretch of the line whose bodies lie in the scan, as a half-open range."""
    inside = np.flatnonzero(on_line(seen))
    return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


def _labels_across(column: Column, across: Array) -> NDArray[np.uint8]:
    index = np.round(column.grid.to_index_zyx(across)).astype(int)
    inside = np.all((index >= 0) & (index < column.labels.shape), axis=-1)
    index = np.clip(index, 0, np.array(column.labels.shape) - 1)
    labels = column.labels[index[..., 0], index[..., 1], index[..., 2]]
    return np.where(inside, labels, 0).astype(np.uint8)


def _moved(column: Column, near: torch.Tensor, walk: Walk, borders: Array, shift: Array) -> tuple[Column, torch.Tensor]:
    """Labels and probabilities shifted along the line: by each border's own shift, in between by what lies between."""
    grid = column.grid
    nz = grid.shape_zyx[0]
    heights = grid.to_lps_mm(np.stack([np.arange(nz), np.zeros(nz), np.zeros(nz)], axis=1))[:, 2]
    place = np.interp(-heights, -walk.points[:, 2], np.arange(len(walk.points), dtype=float))
    # A voxel shows what lay as far back along the line as its border has moved: look up by the moved borders.
    amount = np.interp(place, borders + shift, shift) * PLACE_SPACING_MM[0]
    way = np.stack([np.interp(place, np.arange(len(walk.ways)), walk.ways[:, a]) for a in range(3)], axis=1)
    back = -(way * amount[:, None])[:, ::-1] / np.array(grid.spacing_mm_zyx)
    axes = [torch.arange(n, dtype=torch.float32) for n in grid.shape_zyx]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    index = index + torch.from_numpy(back.astype(np.float32))[:, None, None, :]
    where = ((2 * index + 1) / torch.tensor(grid.shape_zyx, dtype=torch.float32) - 1).flip(-1)[None]
    moved = F.grid_sample(near[None], where, padding_mode="border", align_corners=False)[0]
    labels = F.grid_sample(
        torch.from_numpy(column.labels)[None, None].float(), where, mode="nearest", align_corners=False
    )[0, 0]
    return replace(column, labels=keep_largest(labels.numpy().round().astype(np.uint8))), moved
