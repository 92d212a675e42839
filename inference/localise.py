"""Find the cervical spine and name its vertebrae on a 2 mm patient-aligned grid; then place and draw them.

A neck is seen in one pass. A larger scan is searched first, window by window, and the neck then seen in one pass:
how the network counts must not depend on where a window happens to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from inference.mask import smooth_mask
from inference.placing import place_levels
from inference.pose import named_alike, turn_upright, turned, turned_back
from inference.postprocess import Column, find_column
from inference.precision import has_bfloat16
from inference.preprocess import (
    AIR_HU,
    LOCALISER_SPACING_MM,
    PatientGrid,
    grid_covering,
    localiser_input,
    sample_volume,
)
from inference.shape import coarse_shapes, draw_shapes, finer, on_column, reshaped
from inference.spine import Progress, Spine, describe
from inference.volume import Volume

Precision = Literal["auto", "bfloat16", "float32"]

# The largest part seen in one pass, about 310 x 210 x 210 mm; anything larger is searched for the neck first.
ONE_PASS_ZYX: Final = (160, 112, 112)
WINDOW_ZYX: Final = (96, 80, 80)
_SEARCH_STRIDE_ZYX: Final = (64, 56, 56)
_CERVICAL: Final = slice(1, 8)
# Sides a network of four levels on a folded grid can halve.
STRIDE: Final = 16
_BONE_HU: Final = 150.0
_LEAST_BONE: Final = 0.002
_LEAST_CERVICAL_MM3: Final = 1500.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Localisation:
    """Class probabilities float32 [11, z, y, x] (background, C1 ... C7, T1, lower, skull) on `grid`."""

    grid: PatientGrid
    probabilities: torch.Tensor


class NetworkLocaliser:
    """The bundle's own localiser.

    `net` names the levels, `place_net` says where along the spine each begins and ends (None: where naming put it),
    `shape_net` draws each of them at 1 mm (None: they stay as coarse as the naming).
    `precision` "auto" computes in bfloat16 where the processor does so in hardware (a third of the time), else in
    float32; both name the same levels.
    """

    def __init__(
        self,
        net: nn.Module,
        device: torch.device,
        precision: Precision = "auto",
        *,
        place_net: nn.Module | None = None,
        shape_net: nn.Module | None = None,
    ) -> None:
        self._place_net = None if place_net is None else _ready(place_net, device)
        self._shape_net = None if shape_net is None else _ready(shape_net, device)
        self._net = _ready(net, device)
        self._device = device
        self._half = has_bfloat16(device) if precision == "auto" else precision == "bfloat16"

    def locate(self, volume: Volume, progress: Progress | None = None) -> Spine | None:
        """The spine, or None where the volume shows none; `progress` receives ("localise" | "mask", share 0-1)."""
        report = progress or (lambda stage, share: None)
        looked = self._look(volume, lambda share: report("localise", 0.8 * share))
        if looked is None:
            return None
        found, column = looked
        report("localise", 1.0)
        report("mask", 0.0)
        near = on_column(found.probabilities, found.grid, column.grid)
        if self._place_net is not None:
            column, near = place_levels(column, near, volume, self._read)
        column, mask = self.draw(volume, column, near, report)
        return describe(volume, column, mask)

    def draw(
        self, volume: Volume, column: Column, near: torch.Tensor, progress: Progress | None = None
    ) -> tuple[Column, NDArray[np.uint8]]:
        """The column with its levels as the last network draws them, and their mask on the volume's grid.

        `near` [classes, z, y, x] are the probabilities on the column's grid.
        """
        report = progress or (lambda stage, share: None)
        if self._shape_net is None:
            shapes = coarse_shapes(column, near)
        else:
            fine = finer(column.grid)
            shapes = draw_shapes(column, near, sample_volume(volume, fine), fine, self._draw)
        column = reshaped(column, shapes)
        report("mask", 0.5)
        mask = smooth_mask(volume, shapes)
        report("mask", 1.0)
        return column, mask

    def _read(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits [10, n] of what stands where along a straightened spine, from the place network's input [3, n, y, x].

        In float32: it is small, and where a border lies depends on small differences.
        """
        assert self._place_net is not None
        with torch.inference_mode():
            logits: torch.Tensor = self._place_net(batch[None].to(self._device))[0].float().cpu()
            return logits

    def _draw(self, batch: torch.Tensor) -> torch.Tensor:
        """Shares [z, y, x] of one level from the shape network's input [4, z, y, x], seen as it is and mirrored."""
        assert self._shape_net is not None
        both = torch.stack([batch, batch.flip(-1)]).to(self._device)
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            share = torch.sigmoid(self._shape_net(both)[:, 0].float()).cpu()
        return (share[0] + share[1].flip(-1)) / 2

    def _look(self, volume: Volume, report: Callable[[float], None]) -> tuple[Localisation, Column] | None:
        """Class probabilities around the cervical spine and the column in them, or None where there is none.

        Memory is bounded by the 2 mm grid of the volume plus one pass over `ONE_PASS_ZYX` voxels.
        """
        grid = grid_covering(volume, LOCALISER_SPACING_MM)
        hu = sample_volume(volume, grid)
        report(0.2)
        region = (slice(0, hu.shape[0]), slice(0, hu.shape[1]), slice(0, hu.shape[2]))
        if any(n > most for n, most in zip(grid.shape_zyx, ONE_PASS_ZYX, strict=True)):
            neck = self._search(hu, lambda share: report(0.2 + 0.5 * share))
            if neck is None:
                return None
            region = neck
        here = hu[region]
        found = Localisation(grid=grid.part(region), probabilities=self._infer(here))
        report(0.9)
        column = find_column(found.probabilities.numpy(), found.grid)
        return None if column is None else self._look_again(here, found, column)

    def _look_again(self, hu: torch.Tensor, found: Localisation, column: Column) -> tuple[Localisation, Column]:
        """The answer for a neck that leans, looked at a second time upright: both together where they name alike.

        Where they do not, the surer one counts.
        """
        rotation = turn_upright(column)
        if rotation is None:
            return found, column
        stood, placed = turned(hu, rotation)
        again = replace(found, probabilities=turned_back(self._infer(stood), placed, found.grid.shape_zyx))
        second = find_column(again.probabilities.numpy(), again.grid)
        if second is None:
            return found, column
        if named_alike(column, second):
            both = replace(found, probabilities=(found.probabilities + again.probabilities) / 2)
            together = find_column(both.probabilities.numpy(), both.grid)
            if together is not None and named_alike(column, together):
                return both, together
        if sum(second.evidence.values()) < sum(column.evidence.values()):
            return found, column
        return again, second

    def _search(self, hu: torch.Tensor, report: Callable[[float], None]) -> tuple[slice, slice, slice] | None:
        """The index region around the most massive cervical candidate, or None."""
        cervical = np.zeros(hu.shape, dtype=np.float16)
        places = list(_places(tuple(hu.shape), _SEARCH_STRIDE_ZYX))
        for done, place in enumerate(places):
            where = tuple(slice(p, p + n) for p, n in zip(place, WINDOW_ZYX, strict=True))
            window = hu[where]
            if float((window > _BONE_HU).float().mean()) >= _LEAST_BONE:
                share = self._infer(window)[_CERVICAL].sum(dim=0).numpy().astype(np.float16)
                cervical[where] = np.maximum(cervical[where], share)
            report((done + 1) / len(places))
        parts, count = ndimage.label(ndimage.binary_dilation(cervical > 0.5, iterations=2))
        if count == 0:
            return None
        mass = ndimage.sum_labels(cervical > 0.5, parts, index=np.arange(1, count + 1))
        if mass.max() * LOCALISER_SPACING_MM**3 < _LEAST_CERVICAL_MM3:
            return None
        spot = np.argwhere((parts == int(mass.argmax()) + 1) & (cervical > 0.5))
        low, high = np.percentile(spot, [2, 98], axis=0)
        return _around((low + high) / 2, tuple(hu.shape))

    def _infer(self, hu: torch.Tensor) -> torch.Tensor:
        """Probabilities float32 [11, z, y, x] of HU [z, y, x]; sides are filled up with air to what the net needs."""
        padded = [-(-n // STRIDE) * STRIDE for n in hu.shape]
        full = torch.full(padded, AIR_HU)
        full[: hu.shape[0], : hu.shape[1], : hu.shape[2]] = hu
        batch = localiser_input(full)[None, None].to(self._device)
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            logits = self._net(batch)
            logits = logits[0, :, : hu.shape[0], : hu.shape[1], : hu.shape[2]].float()
            return torch.softmax(logits, dim=0).cpu()


def _ready(net: nn.Module, device: torch.device) -> nn.Module:
    return net.to(device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload, no-any-return]


def _around(centre: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    region = []
    for middle, n, most in zip(centre, shape, ONE_PASS_ZYX, strict=True):
        size = min(n, most)
        start = int(np.clip(round(float(middle) - size / 2), 0, n - size))
        region.append(slice(start, start + size))
    return region[0], region[1], region[2]


def _places(shape: tuple[int, ...], stride_zyx: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Window starts that cover `shape`, evenly spread, at most `stride` apart."""
    axes = []
    for n, size, stride in zip(shape, WINDOW_ZYX, stride_zyx, strict=True):
        room = max(0, n - size)
        steps = -(-room // stride)
        axes.append([round(room * i / steps) for i in range(steps + 1)] if steps else [0])
    for z in axes[0]:
        for y in axes[1]:
            for x in axes[2]:
                yield z, y, x
