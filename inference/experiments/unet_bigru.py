"""unet25d-bigru: a 2.5D U-Net names the vertebrae, a CNN with a bidirectional GRU reads 24 slices of each.

From the fifth seed (after the second place of 2022). Both stages are trained at once and are one network here; the
second stage learns from boxes of the study's levels, shifted at random, and answers on boxes that the first one found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from inference.experiments.changes import NO_CHANGE, Change, Window, draw_change, look, targets, windowed
from inference.experiments.crops import StackShape, level_stack
from inference.experiments.losses import known_bce, noisy_or
from inference.experiments.score import Batch, SliceScores, StudyScore, device_of
from inference.experiments.settings import Experiment
from inference.experiments.studies import Study
from inference.models.unet_bigru import LEVEL_CLASSES, UNetBiGRU
from inference.preprocess import PatientGrid

_AT_A_TIME: Final = 16
_LEAST_MM3: Final = 1200.0
_CLASS_WEIGHTS: Final = (0.1, *(1.0,) * 7, 0.5)


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The U-Net's channels, the encoder's, the GRU's width."""

    unet_channels: tuple[int, ...]
    channels: tuple[int, ...]
    hidden: int


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Stage one sees axial slices of `size_yx` pixels of `pixel_mm` with neighbours `near_mm` away, one each `step_mm`.

    Stage two sees `crop_slices` of each level, `crop_size_yx` pixels of `crop_pixel_mm`. Training draws `slices` of a
    study for the one and `levels` for the other. A level that stage one does not find gets `missing` as its answer.
    """

    size_yx: tuple[int, int]
    pixel_mm: float
    near_mm: float
    step_mm: float
    window_hu: tuple[float, float]
    slices: int
    levels: int
    crop_slices: int
    crop_size_yx: tuple[int, int]
    crop_pixel_mm: float
    jitter_mm: float
    missing: float

    @property
    def stack(self) -> StackShape:
        """The second stage's crops."""
        return StackShape(
            slices=self.crop_slices,
            neighbours=3,
            size_yx=self.crop_size_yx,
            pixel_mm=self.crop_pixel_mm,
            near_mm=self.near_mm,
            margin_mm=1.0,
        )


class UNetBiGru:
    """The family's `FractureModel`."""

    memory_format = torch.channels_last
    bfloat16_on_cpu = True

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._input: InputSettings = experiment.input
        numbers: NetworkSettings = experiment.network
        self.network: torch.nn.Module = UNetBiGRU(numbers.unet_channels, numbers.channels, numbers.hidden)

    def sample(self, study: Study, rng: np.random.Generator | None) -> Batch:
        """`slices` [k, 3, h, w] and `classes` [k, h, w]; `crops` [m, s, 3, h, w]; `levels`, `truth`, `known` [m]."""
        study.need_levels(self.experiment.name)
        change = draw_change(study, self.experiment.augmentation, rng)
        truth, known = targets(study, change)
        slices, classes = self._slices(study, change, rng)
        levels = _drawn_levels(study, change, truth, self._input.levels, rng)
        boxes = [_jittered(study, study.boxes[k], self._input.jitter_mm, rng) for k in levels]
        crops = [self._crop(study, k, box, change) for k, box in zip(levels, boxes, strict=True)]
        return {
            "slices": slices,
            "classes": classes,
            "crops": torch.stack(crops).half(),
            "levels": torch.tensor(levels),
            "truth": truth[levels],
            "known": known[levels],
        }

    def loss(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Cross-entropy and Dice of the levels, cross-entropy of the fractures."""
        slices = batch["slices"].contiguous(memory_format=self.memory_format)
        masks, logits, _ = network(slices, batch["crops"].float(), batch["levels"])
        weights = masks.new_tensor(_CLASS_WEIGHTS)
        cross_entropy = F.cross_entropy(masks, batch["classes"], weight=weights)
        overlap = _dice(masks, batch["classes"])
        training = self.experiment.training
        twice = 2.0 if training is not None and training.loss == "competition" else 1.0
        fractured = known_bce(logits, batch["truth"], batch["known"], twice)
        total = fractured + cross_entropy + 0.5 * (1 - overlap)
        return {"loss": total, "fractured": fractured.detach(), "dice": overlap.detach()}

    def predict(self, study: Study) -> StudyScore:
        """Levels found by stage one, judged by stage two; the patient's answer is their noisy-or."""
        boxes = self.find_levels(study)
        levels = np.full(7, self._input.missing)
        slices = {}
        device = device_of(self.network)
        for level, box in boxes.items():
            stack = level_stack(study, level, box, self._input.stack, NO_CHANGE)
            crop = windowed(stack.hu, [self._input.window_hu])[0][None].to(device)
            with torch.inference_mode():
                logit, weights = self._net.classify(crop, torch.tensor([level], device=device))
            p = float(torch.sigmoid(logit.double())[0])
            levels[level - 1] = p
            share = (weights[0] / weights[0].max()).double().cpu().numpy()
            slices[level] = SliceScores(z_mm=stack.z_mm, values=p * share)
        overall = float(noisy_or(torch.from_numpy(levels)))
        return StudyScore(probabilities=np.array([overall, *levels]), slices=slices)

    @property
    def _net(self) -> UNetBiGRU:
        assert isinstance(self.network, UNetBiGRU)
        return self.network

    def find_levels(self, study: Study) -> dict[int, NDArray[np.float64]]:
        """Index boxes [2, 3] on the study's grid of the levels that stage one finds."""
        found, grid = self._masks(study)
        boxes = {}
        voxel_mm3 = float(np.prod(grid.spacing_mm_zyx))
        for level in range(1, 8):
            mask = _largest(found == level)
            if mask.sum() * voxel_mm3 < _LEAST_MM3:
                continue
            low, high = np.percentile(np.argwhere(mask), [0.5, 99.5], axis=0)
            boxes[level] = study.grid.to_index_zyx(grid.to_lps_mm(np.array([low, high])))
        return boxes

    def _masks(self, study: Study) -> tuple[NDArray[np.uint8], PatientGrid]:
        """Classes [n, h, w] of axial slices from the lowest up, and their grid."""
        heights = np.arange(0.0, study.grid.shape_zyx[0], self._input.step_mm / study.spacing_mm_zyx[0])
        device, answers = device_of(self.network), []
        for start in range(0, len(heights), _AT_A_TIME):
            images = torch.stack([self._slice(study, z, NO_CHANGE)[0] for z in heights[start : start + _AT_A_TIME]])
            with torch.inference_mode():
                logits = self._net.segment(images.to(device).contiguous(memory_format=self.memory_format))
            answers.append(logits.argmax(dim=1).to(torch.uint8).cpu())
        y, x = ((n - 1) / 2 for n in study.grid.shape_zyx[1:])
        half = (np.array(self._input.size_yx) - 1) / 2 * self._input.pixel_mm / study.spacing_mm_zyx[1:]
        origin = study.grid.to_lps_mm(np.array([0.0, y - half[0], x - half[1]]))
        grid = PatientGrid(
            origin_lps_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
            spacing_mm_zyx=(self._input.step_mm, self._input.pixel_mm, self._input.pixel_mm),
            shape_zyx=(len(heights), *self._input.size_yx),
        )
        return torch.cat(answers).numpy(), grid

    def _slices(
        self, study: Study, change: Change, rng: np.random.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        last, count = study.grid.shape_zyx[0] - 1, self._input.slices
        heights = np.linspace(0, last, count + 2)[1:-1] if rng is None else rng.uniform(0, last, count)
        drawn = [self._slice(study, float(z), change, part=10 + i) for i, z in enumerate(heights)]
        return torch.stack([image for image, _ in drawn]), torch.stack([classes for _, classes in drawn])

    def _slice(self, study: Study, height: float, change: Change, part: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Image [3, h, w] and classes [h, w] around the grid's own middle: here nobody has named a level yet."""
        y, x = ((n - 1) / 2 for n in study.grid.shape_zyx[1:])
        window = Window(
            centre_zyx=np.array([height, y, x]),
            spacing_mm_zyx=(self._input.near_mm, self._input.pixel_mm, self._input.pixel_mm),
            shape_zyx=(3, *self._input.size_yx),
        )
        view = look(study, window, change, part=part, truth=True)
        return windowed(view.hu, [self._input.window_hu])[0], view.levels[1].long()

    def _crop(self, study: Study, level: int, box: NDArray[np.float64], change: Change) -> torch.Tensor:
        stack = level_stack(study, level, box, self._input.stack, change)
        return windowed(stack.hu, [self._input.window_hu])[0]


def _drawn_levels(
    study: Study, change: Change, truth: torch.Tensor, count: int, rng: np.random.Generator | None
) -> list[int]:
    """`count` of the study's levels; every second one is fractured where any is."""
    there = [k for k in sorted(study.boxes) if k not in change.removed] or sorted(study.boxes)
    if rng is None:
        return [there[i % len(there)] for i in range(count)]
    broken = [k for k in there if truth[k] > 0]
    return [int(rng.choice(broken if broken and i % 2 else there)) for i in range(count)]


def _jittered(
    study: Study, box: NDArray[np.float64], most_mm: float, rng: np.random.Generator | None
) -> NDArray[np.float64]:
    """The box with each side moved: stage one will not find it better."""
    if rng is None:
        return box
    return box + rng.normal(0, most_mm / 2, (2, 3)).clip(-most_mm, most_mm) / study.spacing_mm_zyx


def _dice(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Mean overlap of the bone classes, soft."""
    p = torch.softmax(logits, dim=1)
    truth = F.one_hot(classes, LEVEL_CLASSES).permute(0, 3, 1, 2).to(p.dtype)
    common, sizes = (p * truth).sum(dim=(0, 2, 3)), (p + truth).sum(dim=(0, 2, 3))
    return ((2 * common + 20.0) / (sizes + 20.0))[1:].mean()


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = pieces == int(sizes.argmax())
    return largest
