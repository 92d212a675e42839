"""How right a localiser is on one study: names, places, masks and statuses beside the truth."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.evaluation.held_out import Study, TrueLevel
from inference.evaluation.metrics import dice
from inference.postprocess import ASSESSED, LEVELS, NOT_ASSESSED, PARTLY
from inference.spine import LocatedLevel, Spine
from inference.volume import Volume

# Localisers call a level near the border partly seen; a partial level with less than this in view may go unreported.
NEAR_EDGE_MM: Final = 5.0
LITTLE_IN_VIEW: Final = 0.25
DICE_SPACING_MM: Final = 1.0

_LABELS: Final = 32
_STATUS_OF: Final = {"complete": ASSESSED, "partial": PARTLY, "absent": NOT_ASSESSED}

Row = dict[str, Any]


def score(study: Study, spine: Spine | None) -> Row:
    """One study's row: facts, `found`, `shift`, and per level what was true and what was said.

    Per level: `covers` is the true vertebra (1 on, 8 = T1; 0 none) that most of the answered mask lies on, `dice` is
    at 1 mm and, like `centre_error_mm`, only for levels that are completely in view and were reported. `shift` is the
    number of levels by which the whole column is misnamed (0: it is not; 1: C2 was called C1).
    """
    said = _said(spine)
    covers = _covers(study, spine)
    whole = [k for k, true in enumerate(study.levels, 1) if true.status == "complete" and _reported(said[k - 1])]
    overlaps = {} if spine is None else dice_at_1_mm(study.volume, study.labels, spine.mask, whole)
    levels = []
    for number, (true, answer) in enumerate(zip(study.levels, said, strict=True), 1):
        levels.append(
            {
                "level": true.level,
                "truth": true.status,
                "in_view": true.in_view,
                "edge_mm": true.edge_mm,
                "status": answer.status,
                "status_right": status_right(true, answer.status),
                "status_strictly_right": answer.status == _STATUS_OF[true.status],
                "covers": covers[number],
                "centre_error_mm": _centre_error_mm(true, answer) if number in whole else None,
                "dice": overlaps.get(number),
            }
        )
    return {
        **study.facts,
        "found": any(_reported(answer) for answer in said),
        "shift": shift({k: covers[k] for k, answer in enumerate(said, 1) if _reported(answer)}),
        "levels": levels,
        "notes": [] if spine is None else list(spine.notes),
    }


def status_right(true: TrueLevel, status: str) -> bool:
    """Whether a status is right for a level, with the margins that are named at the top of this module."""
    if status == _STATUS_OF[true.status]:
        return True
    if true.status == "complete":
        return status == PARTLY and true.edge_mm is not None and true.edge_mm < NEAR_EDGE_MM
    return true.status == "partial" and status == NOT_ASSESSED and true.in_view < LITTLE_IN_VIEW


def shift(covers: dict[int, int]) -> int:
    """By how many levels a column is misnamed: true minus said, where at least two and half of the levels agree.

    `covers`: said level to true vertebra (0 where it lies on none).
    """
    steps = [true - said for said, true in covers.items() if true > 0]
    if not steps:
        return 0
    values, counts = np.unique(steps, return_counts=True)
    most = int(counts.argmax())
    return int(values[most]) if counts[most] >= 2 and 2 * counts[most] >= len(steps) else 0


def dice_at_1_mm(
    volume: Volume, truth: NDArray[np.uint8], said: NDArray[np.uint8], levels: list[int]
) -> dict[int, float]:
    """Dice of each level of two masks [z, y, x] on the volume's grid, both taken at 1 mm (nearest voxel)."""
    boxes = [
        box
        for mask in (truth, said)
        for number, box in enumerate(ndimage.find_objects(mask, max_label=len(LEVELS)), 1)
        if box is not None and number in levels
    ]
    if not boxes:
        return {}
    low = np.min([[s.start - 1 for s in box] for box in boxes], axis=0)
    high = np.max([[s.stop for s in box] for box in boxes], axis=0)
    ends = np.array([[z, y, x] for z in (low[0], high[0]) for y in (low[1], high[1]) for x in (low[2], high[2])])
    corners = volume.to_lps_mm(ends)
    axes = [
        np.arange(a, b + DICE_SPACING_MM, DICE_SPACING_MM)
        for a, b in zip(corners.min(axis=0), corners.max(axis=0), strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    index = np.round(volume.to_index_zyx(points)).astype(np.int64)
    inside = np.all((index >= 0) & (index < np.array(truth.shape)), axis=1)
    at = tuple(index[inside].T)
    a, b = truth[at], said[at]
    return {k: round(dice(a == k, b == k), 4) for k in levels}


def _covers(study: Study, spine: Spine | None) -> dict[int, int]:
    if spine is None:
        return dict.fromkeys(range(1, len(LEVELS) + 1), 0)
    where = spine.mask > 0
    pairs = spine.mask[where].astype(np.int64) * _LABELS + study.labels[where]
    counts = np.bincount(pairs, minlength=(len(LEVELS) + 1) * _LABELS).reshape(-1, _LABELS)
    return {k: int(counts[k, 1:].argmax()) + 1 if counts[k, 1:].any() else 0 for k in range(1, len(LEVELS) + 1)}


def _said(spine: Spine | None) -> tuple[LocatedLevel, ...]:
    if spine is not None:
        return spine.levels
    return tuple(
        LocatedLevel(level=name, status=NOT_ASSESSED, centre_lps_mm=None, box=None, evidence=None) for name in LEVELS
    )


def _reported(answer: LocatedLevel) -> bool:
    return answer.status != NOT_ASSESSED


def _centre_error_mm(true: TrueLevel, answer: LocatedLevel) -> float | None:
    if answer.centre_lps_mm is None:
        return None
    return round(float(np.linalg.norm(np.subtract(answer.centre_lps_mm, true.centre_lps_mm))), 3)
