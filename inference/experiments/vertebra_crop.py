"""vertebra-crop: fifteen slices of each vertebra with neighbours and mask, read in order; after the winners of 2022.

Every level is cropped where the localiser drew it. Its score is the mean of its highest slices; the patient's blends
the noisy-or of the levels with a head that reads all seven together. It explains itself: a score for every slice and a
map of what looks fractured, trained on fracture zones or boxes where they are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from inference.experiments.changes import NO_CHANGE, Change, draw_change, targets, windowed
from inference.experiments.crops import Slices, Stack, StackShape, level_stack
from inference.experiments.errors import SettingsError
from inference.experiments.losses import cell_loss, known_bce, noisy_or, study_loss
from inference.experiments.score import Batch, SliceScores, StudyScore, device_of
from inference.experiments.settings import Experiment
from inference.experiments.studies import Study
from inference.models.fine_path import CELL as FINE_CELL
from inference.models.fine_path import called
from inference.models.vertebra_net import VertebraLogits, VertebraNet
from inference.preprocess import PatientGrid
from inference.suspicion import SuspicionMap

_CELL: Final = 8  # pixels of a map's cell


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The encoder's channels; width and layers of the LSTM; how many of the slices make a level's score.

    `fine` are the channels of the fine path at one, two, four and eight pixels, `coronal` those of the coronal path
    (three numbers: nothing at one pixel); none: there is no such path.
    """

    channels: tuple[int, ...]
    hidden: int
    layers: int
    top: int
    fine: tuple[int, ...] = ()
    coronal: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """`slices` of each level with `neighbours` (odd) `near_mm` apart in each of `windows_hu`, and the level's mask.

    Pixels of `pixel_mm`. Training moves the crops by up to `jitter_mm`. `slice_weight` and `map_weight` are the shares
    of the slices' and the maps' losses; `noisy_or` is the noisy-or's share of the patient's answer. `mirrored` answers
    are averaged with those of the mirrored crop. A level that nobody has drawn gets `missing` as its answer. Of a study
    in a step all levels are read with chance `whole`, else `levels` of them, the fractured ones first: how many does
    not depend on what they are, or the patient's head would learn to count them. `coronal_slices`, `coronal_rows` and
    `coronal_every`: see `StackShape`; a coronal path needs them.
    """

    slices: int
    neighbours: int
    size_yx: tuple[int, int]
    pixel_mm: float
    near_mm: float
    windows_hu: tuple[tuple[float, float], ...]
    jitter_mm: float
    slice_weight: float
    map_weight: float
    noisy_or: float
    mirrored: bool
    missing: float
    levels: int
    whole: float
    coronal_slices: int = 0
    coronal_rows: int = 0
    coronal_every: int = 2

    @property
    def channels(self) -> int:
        """Of the encoder's input."""
        return self.neighbours * len(self.windows_hu) + 1

    @property
    def coronal_shape(self) -> tuple[int, int, int, int]:
        """Slices, channels, rows and columns of a level's coronal slices."""
        return self.coronal_slices, 3 * len(self.windows_hu) + 1, self.coronal_rows, self.size_yx[1]

    @property
    def stack(self) -> StackShape:
        """The crops."""
        return StackShape(
            slices=self.slices,
            neighbours=self.neighbours,
            size_yx=self.size_yx,
            pixel_mm=self.pixel_mm,
            near_mm=self.near_mm,
            margin_mm=0.0,
            coronal_slices=self.coronal_slices,
            coronal_rows=self.coronal_rows,
            coronal_every=self.coronal_every,
        )


class VertebraCrop:
    """The family's `FractureModel`."""

    memory_format = torch.channels_last
    bfloat16_on_cpu = True

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._input: InputSettings = experiment.input
        numbers: NetworkSettings = experiment.network
        _check(self._input, numbers, experiment.name)
        self.network: torch.nn.Module = VertebraNet(
            self._input.channels,
            numbers.channels,
            numbers.hidden,
            numbers.layers,
            numbers.top,
            numbers.fine,
            numbers.coronal,
            self._input.coronal_shape[1],
        )

    def sample(self, study: Study, rng: np.random.Generator | None) -> Batch:
        """`crops` [1, 7, s, c, h, w] and `present` [1, 7]; `truth` and `known` [1, 8].

        `zones` [1, 7, s, h / 2, w / 2] with `zone_known` [1, 7]; `coronal` and `coronal_zones` likewise where there are
        coronal slices.
        """
        study.need_levels(self.experiment.name)
        change = draw_change(study, self.experiment.augmentation, rng)
        truth, known = targets(study, change)
        stacks = self._stacks(study, change, rng, self._drawn_levels(study, change, truth, rng))
        crops = self._crops(stacks, study)
        seen = {"crops": crops, "zones": _zones(stacks, crops)}
        if self._input.coronal_slices:
            upright = _coronal(stacks)
            coronal = self._crops(upright, study, coronal=True)
            seen |= {"coronal": coronal, "coronal_zones": _zones(upright, coronal)}
        present = _present(stacks)
        # A level that is not in sight cannot be asked for; nor can the patient where only such levels are fractured.
        known[1:] *= present
        if truth[0] > 0 and not bool((truth[1:] * known[1:]).any()):
            known[0] = 0.0
        return {
            # Half the memory of waiting batches; a step of HU is finer still.
            **{name: part.half()[None] for name, part in seen.items()},
            "present": present[None],
            "zone_known": (present.float() * float(study.zone_known))[None],
            "truth": truth[None],
            "known": known[None],
        }

    def loss(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """The study's loss, plus cross-entropy of slices and of maps where the zones are known."""
        coronal = batch["coronal"].float() if "coronal" in batch else None
        out: VertebraLogits = network(batch["crops"].float(), batch["present"], coronal)
        training = self.experiment.training
        kind = training.loss if training else "competition"
        logits = torch.cat([out.overall[:, None], out.levels], dim=1)
        study = study_loss(kind, logits, batch["truth"], batch["known"])
        zones, known = batch["zones"].float(), batch["zone_known"][:, :, None]
        coarse = F.max_pool2d(zones.flatten(0, 2)[:, None], _CELL // FINE_CELL)[:, 0].unflatten(0, zones.shape[:3])
        shown = (zones.flatten(3).amax(dim=3) > 0).float()
        slices = known_bce(out.slices, shown, known.expand_as(shown), 2.0)
        maps = _map_loss(out.maps, coarse, known)
        parts = {"study": study, "slices": slices, "maps": maps}
        total = study + self._input.slice_weight * slices + self._input.map_weight * maps
        if out.fine is not None:
            parts["fine"] = self._path_loss(out.fine, zones, known)
            total = total + parts["fine"]
        if out.coronal is not None:
            parts["coronal"] = self._path_loss(out.coronal, batch["coronal_zones"].float(), known)
            total = total + parts["coronal"]
        return {"loss": total, **{name: part.detach() for name, part in parts.items()}}

    def _path_loss(self, maps: torch.Tensor, zones: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Of a fine path's maps, and of what it calls each slice by them."""
        shown = (zones.flatten(3).amax(dim=3) > 0).float()
        calls = called(maps.flatten(0, 2)).unflatten(0, shown.shape)
        slices = known_bce(calls, shown, known.expand_as(shown), 2.0)
        return self._input.map_weight * _map_loss(maps, zones, known) + self._input.slice_weight * slices

    def predict(self, study: Study) -> StudyScore:
        """Levels from their slices, the patient from both ways of reading the levels together."""
        study.need_levels(self.experiment.name)
        if not study.boxes:
            return _unseen(self._input.missing)
        stacks = self._stacks(study, NO_CHANGE, None, sorted(study.boxes))
        present = _present(stacks)
        given = [self._crops(stacks, study)]
        if self._input.coronal_slices:
            given.append(self._crops(_coronal(stacks), study, coronal=True))
        views = [torch.stack([part, part.flip(-1)]) if self._input.mirrored else part[None] for part in given]
        device = device_of(self.network)
        crops, *coronal = [view.to(device) for view in views]
        with torch.inference_mode():
            out = self.network(crops, present.expand(len(crops), -1).to(device), *coronal)
        levels = torch.sigmoid(out.levels.double()).mean(dim=0)
        learned = torch.sigmoid(out.overall.double()).mean()
        share = self._input.noisy_or
        overall = share * noisy_or(levels[present.to(device)]) + (1 - share) * learned
        levels = torch.where(present.to(device), levels, levels.new_tensor(self._input.missing))
        slices = torch.sigmoid(out.slices.double()).mean(dim=0).cpu().numpy()
        maps = _shown(out).cpu().numpy()
        if out.coronal is not None:
            front = _both(out.coronal).cpu().numpy()
            for level, stack in stacks.items():
                maps[level - 1] = np.maximum(maps[level - 1], from_the_front(stack, front[level - 1], maps.shape[2:]))
        return StudyScore(
            probabilities=np.array([float(overall), *levels.tolist()]),
            slices={k: _slice_scores(s, slices[k - 1]) for k, s in stacks.items()},
            maps={k: _suspicion(s, maps[k - 1]) for k, s in stacks.items()},
        )

    def _crops(self, stacks: Mapping[int, Slices], study: Study, *, coronal: bool = False) -> torch.Tensor:
        """[7, s, c, h, w], 0 where a level is absent."""
        numbers = self._input
        shape = numbers.coronal_shape if coronal else (numbers.slices, numbers.channels, *numbers.size_yx)
        crops = torch.zeros(7, *shape, device=study.device)
        for level, stack in stacks.items():
            images = windowed(stack.hu, numbers.windows_hu, dim=1).flatten(1, 2)
            crops[level - 1] = torch.cat([images, stack.own[:, None]], dim=1)
        return crops

    def _drawn_levels(
        self, study: Study, change: Change, truth: torch.Tensor, rng: np.random.Generator | None
    ) -> list[int]:
        there = [k for k in sorted(study.boxes) if k not in change.removed]
        if rng is None or rng.random() < self._input.whole:
            return there
        drawn = [int(k) for k in rng.permutation(there)]
        return sorted(sorted(drawn, key=lambda k: truth[k] <= 0)[: self._input.levels])

    def _stacks(
        self, study: Study, change: Change, rng: np.random.Generator | None, levels: list[int]
    ) -> dict[int, Stack]:
        stacks = {}
        for level in levels:
            box = study.boxes[level]
            moved = box
            if rng is not None:
                most = self._input.jitter_mm
                moved = box + rng.normal(0, most / 2, 3).clip(-most, most) / study.spacing_mm_zyx
            stacks[level] = level_stack(study, level, moved, self._input.stack, change)
        return stacks


def _check(numbers: InputSettings, network: NetworkSettings, name: str) -> None:
    """Raises SettingsError where coronal slices have no path, a path no slices, or slices no place in the crop."""
    slices, every = numbers.coronal_slices, numbers.coronal_every
    if network.coronal and not network.fine:
        raise SettingsError(f"{name}: a coronal path without a fine one, in whose cells its map is shown")
    if bool(network.coronal) != bool(slices):
        raise SettingsError(f"{name}: coronal channels {network.coronal} and {slices} coronal slices; both or none")
    if slices and (every < 2 or every % 2 or slices * every >= numbers.size_yx[0] or numbers.coronal_rows % 8):
        raise SettingsError(
            f"{name}: {slices} coronal slices of {numbers.coronal_rows} rows every {every} pixels; expected rows in "
            f"eights, an even number of pixels, and slices that lie within {numbers.size_yx[0]}"
        )


def _shown(out: VertebraLogits) -> torch.Tensor:
    """The map of every level [7, s, y, x] of a study: the fine path's where there is one, which draws it best."""
    return _both(out.maps if out.fine is None else out.fine)


def from_the_front(stack: Stack, values: NDArray[np.float32], cells_yx: tuple[int, ...]) -> NDArray[np.float32]:
    """A coronal map [slices, rows / 2, x / 2] in the cells [slices, y / 2, x / 2] of a stack's axial ones.

    Linear between coronal slices and between rows; 0 where no coronal slice is.
    """
    assert stack.coronal is not None
    theirs, ours = stack.coronal.grid, stack.grid
    z0, y0 = theirs.origin_lps_mm[2], theirs.origin_lps_mm[1]
    row = (stack.z_mm - z0) / theirs.spacing_mm_zyx[0]
    pixel = FINE_CELL * np.arange(cells_yx[0], dtype=np.float64) + (FINE_CELL - 1) / 2
    y_mm = ours.origin_lps_mm[1] + ours.spacing_mm_zyx[1] * pixel
    along_z = _between((row - (FINE_CELL - 1) / 2) / FINE_CELL, values.shape[1])
    along_y = _between((y_mm - y0) / theirs.spacing_mm_zyx[1], values.shape[0])
    return np.asarray(np.einsum("zr,ys,srx->zyx", along_z, along_y, values), dtype=np.float32)


def _between(index: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Weights [n, count] of linear interpolation at fractional indices; none half a step beyond the ends."""
    weights = np.clip(1.0 - np.abs(index.clip(0, count - 1)[:, None] - np.arange(count)), 0.0, None)
    weights[(index < -0.5) | (index > count - 0.5)] = 0.0
    return weights


def _both(logits: torch.Tensor) -> torch.Tensor:
    """Chances of a study's views [views, 7, s, y, x] as one map, a mirrored view laid back upon the other."""
    views = torch.sigmoid(logits.float())
    return torch.cat([views[:1], views[1:].flip(-1)]).mean(dim=0)


def _map_loss(maps: torch.Tensor, zones: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    cells = known[..., None, None].expand_as(zones)
    return cell_loss(maps, zones, cells)


def _coronal(stacks: dict[int, Stack]) -> dict[int, Slices]:
    return {level: stack.coronal for level, stack in stacks.items() if stack.coronal is not None}


def _present(stacks: Mapping[int, Slices]) -> torch.Tensor:
    """Which levels are there [7] (bool)."""
    return torch.tensor([level in stacks for level in range(1, 8)])


def _zones(stacks: Mapping[int, Slices], crops: torch.Tensor) -> torch.Tensor:
    """Fractured cells [7, s, h / 2, w / 2] of such crops."""
    zones = crops.new_zeros(*crops.shape[:2], *(n // FINE_CELL for n in crops.shape[3:]))
    for level, stack in stacks.items():
        zones[level - 1] = F.max_pool2d(stack.zone[:, None], FINE_CELL)[:, 0]
    return zones


def _unseen(missing: float) -> StudyScore:
    """The answer for a study in which no level was found."""
    return StudyScore(probabilities=np.array([float(noisy_or(torch.full((7,), missing))), *[missing] * 7]))


def _slice_scores(stack: Stack, values: NDArray[np.float64]) -> SliceScores:
    return SliceScores(z_mm=stack.z_mm, values=values)


def _suspicion(stack: Stack, values: NDArray[np.float32]) -> SuspicionMap:
    """The map whose cells [slices, y, x] cover a stack's slices."""
    z, y, x = stack.grid.spacing_mm_zyx
    cell = stack.grid.shape_zyx[1] // values.shape[1]
    # A cell covers so many pixels each way: its centre lies half of the others further on.
    first = stack.grid.to_lps_mm(np.array([0.0, (cell - 1) / 2, (cell - 1) / 2]))
    grid = PatientGrid(
        origin_lps_mm=(float(first[0]), float(first[1]), float(first[2])),
        spacing_mm_zyx=(z, y * cell, x * cell),
        shape_zyx=(values.shape[0], values.shape[1], values.shape[2]),
    )
    return SuspicionMap(values=values, grid=grid)
