"""Where a model holds and where it does not: by kernel, slice thickness and noise of the scan, by severity.

A number over all studies hides that a model may read bone kernels only, or find only gross fractures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.head_numbers import auc_number
from inference.evaluation.predictions import LEVEL_COLUMNS, Facts
from inference.evaluation.resampling import ratio, share

# Of the scan: the fact, its name, and the upper ends of its groups (none: each value is a group).
CONDITIONS: Final = (
    ("kernel", "kernel", ()),
    ("slice_mm", "slice thickness, mm", (0.75, 1.0, 1.5, 2.0)),
    ("noise_sd_hu", "noise, HU", (20.0, 60.0, 100.0)),
)
SEVERITIES: Final = (("subtle", 1 / 3), ("middle", 2 / 3), ("gross", np.inf))

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]
Row = dict[str, Any]


def by_condition(
    weights: Array, uids: Sequence[str], truth: Bool, values: Array, called: Bool, facts: Facts
) -> list[Row]:
    """One row per group of a condition that the facts know: AUC, sensitivity and specificity, patients and levels."""
    rows = []
    for fact, title, ends in CONDITIONS:
        groups: dict[tuple[int, str], list[int]] = {}
        for index, uid in enumerate(uids):
            value = facts.get(uid, {}).get(fact)
            if value is not None:
                groups.setdefault(_group(value, ends), []).append(index)
        for key in sorted(groups):
            at = np.array(groups[key])
            own, y, said, calls = weights[:, at], truth[at], values[at], called[at]
            rows.append(
                {
                    "condition": title,
                    "group": key[1],
                    "studies": len(at),
                    "patient_auc": auc_number(own, y[:, 0], said[:, 0]),
                    "patient_sensitivity": _rate(own, y[:, :1] & calls[:, :1], y[:, :1]),
                    "patient_specificity": _rate(own, ~y[:, :1] & ~calls[:, :1], ~y[:, :1]),
                    "level_auc": auc_number(own, y[:, 1:], said[:, 1:]),
                    "level_sensitivity": _rate(own, y[:, 1:] & calls[:, 1:], y[:, 1:]),
                    "level_specificity": _rate(own, ~y[:, 1:] & ~calls[:, 1:], ~y[:, 1:]),
                }
            )
    return rows


def by_severity(weights: Array, uids: Sequence[str], truth: Bool, called: Bool, facts: Facts) -> list[Row]:
    """The share of fractured levels that are called, by how gross the level's worst fracture is (0 to 1)."""
    severity = np.full(truth[:, 1:].shape, np.nan)
    for row, uid in enumerate(uids):
        for level, given in (facts.get(uid, {}).get("severity") or {}).items():
            severity[row, LEVEL_COLUMNS.index(level) - 1] = max(given)
    rows, low = [], -np.inf
    for name, high in SEVERITIES:
        within = (severity > low) & (severity <= high) & truth[:, 1:]
        if within.any():
            rows.append({"severity": name, "sensitivity": _rate(weights, within & called[:, 1:], within)})
        low = high
    return rows


def _group(value: Any, ends: Sequence[float]) -> tuple[int, str]:
    """The group of a value: its place in the table, and its name."""
    if not ends:
        return 0, str(value)
    place = int(np.searchsorted(ends, value))
    if place == 0:
        return place, f"to {ends[0]:g}"
    return place, f"{ends[place - 1]:g} to {ends[place]:g}" if place < len(ends) else f"over {ends[-1]:g}"


def _rate(weights: Array, hits: Bool, trials: Bool) -> Row:
    hit, tried = (a.sum(axis=1).astype(np.float64) for a in (hits, trials))
    return share(ratio(weights @ hit, weights @ tried), int(hit.sum()), int(tried.sum()), why="there is none of them")
