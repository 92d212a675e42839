"""The localiser's numbers from the rows of its studies, with 95 % intervals, and the targets beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import Interval, bootstrap, wilson
from inference.postprocess import LEVELS, NOT_ASSESSED

_SEED: Final = 7
_ROUNDS: Final = 1000
_WORST: Final = 10
_THICKNESS_MM: Final = ((0.0, 0.8), (0.8, 1.25), (1.25, 2.0), (2.0, np.inf))

Row = dict[str, Any]


def summarise(rows: Iterable[Row]) -> dict[str, Any]:
    """Everything `evaluate localiser` reports of phantoms; rows are those of `score` with `group` and `seed`.

    Proportions have Wilson's interval; means and percentiles are bootstrapped over studies.
    """
    known = list(rows)
    spines = [r for r in known if r["group"] == "spine"]
    others = [r for r in known if r["group"] == "without"]
    numbers = {
        "phantoms": len(spines),
        "without_cervical_spine": len(others),
        "levels": level_numbers(spines),
        "studies": _study_numbers(spines),
        "false_cervical_spine": _share(sum(r["found"] for r in others), len(others)),
        "false_by_coverage": {
            c: _share(sum(r["found"] for r in g), len(g)) for c, g in _grouped(others, lambda r: r["coverage"]).items()
        },
        "by_level": {name: level_numbers(spines, only=name, intervals=False) for name in LEVELS},
        "by_coverage": _broken_down(spines, lambda r: str(r["coverage"])),
        "by_slice_mm": _broken_down(spines, _thickness),
        "by_kernel": _broken_down(spines, lambda r: str(r["kernel"])),
        "worst": worst(known),
        "seconds": _seconds(known),
    }
    return {**numbers, "targets": targets(numbers)}


def level_numbers(spines: list[Row], *, only: str | None = None, intervals: bool = True) -> dict[str, Any]:
    """Names, Dice, centres and statuses of the levels of some studies; `only` one level where it is named."""
    per_study = [[v for v in r["levels"] if only in (None, v["level"])] for r in spines]
    flat = [v for levels in per_study for v in levels]
    whole = [v for v in flat if v["truth"] == "complete"]
    reported = [v for v in flat if v["status"] != NOT_ASSESSED]
    numbers = {
        "complete": len(whole),
        "complete_named_right": _share(sum(_named_right(v) for v in whole), len(whole)),
        "complete_missed": _share(sum(v["status"] == NOT_ASSESSED for v in whole), len(whole)),
        "reported": len(reported),
        "reported_named_right": _share(sum(_named_right(v) for v in reported), len(reported)),
        "status_right": _share(sum(v["status_right"] for v in flat), len(flat)),
        "status_strictly_right": _share(sum(v["status_strictly_right"] for v in flat), len(flat)),
        "status_table": _status_table(flat),
    }
    overlaps, errors = _values(per_study, "dice"), _values(per_study, "centre_error_mm")
    statistics: dict[str, tuple[list[NDArray[np.float64]], Callable[[NDArray[np.float64]], float]]] = {
        "dice_mean": (overlaps, lambda v: float(v.mean())),
        "centre_error_mm_median": (errors, lambda v: float(np.median(v))),
        "centre_error_mm_p95": (errors, lambda v: float(np.percentile(v, 95))),
        "centre_error_mm_p99": (errors, lambda v: float(np.percentile(v, 99))),
    }
    return numbers | {name: _resampled(*args, intervals=intervals) for name, args in statistics.items()}


def worst(rows: list[Row]) -> list[dict[str, Any]]:
    """The ten studies with most against them: false finds and misnamed levels before far centres and low Dice."""
    listed = [{**_faults(r), "group": r["group"], "seed": r["seed"], "coverage": r["coverage"]} for r in rows]
    listed.sort(key=lambda f: (-f["false_find"], -f["misnamed"], -f["missed"], -f["worst_error_mm"], f["least_dice"]))
    return listed[:_WORST]


def targets(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """What the localiser is to reach, and whether the measured value (not its interval) does."""
    levels = numbers["levels"]
    rows = [
        ("complete levels named right", levels["complete_named_right"], "at least", 0.99),
        ("mean Dice at 1 mm", levels["dice_mean"], "at least", 0.90),
        ("centre error, median, mm", levels["centre_error_mm_median"], "under", 2.0),
        ("centre error, 99th percentile, mm", levels["centre_error_mm_p99"], "under", 6.0),
        ("cervical spine reported where none is", numbers["false_cervical_spine"], "at most", 0.0),
    ]
    return [{"what": what, **got, "target": f"{how} {goal:g}", "met": _met(got["value"], how, goal)}
            for what, got, how, goal in rows]  # fmt: skip


def _met(value: float | None, how: str, goal: float) -> bool | None:
    if value is None:
        return None
    return {"at least": value >= goal, "under": value < goal, "at most": value <= goal}[how]


def _study_numbers(spines: list[Row]) -> dict[str, Any]:
    """Studies with two or more complete levels must be found; what happens with fewer is only told."""
    due = [r for r in spines if _complete(r) >= 2]
    few = [r for r in spines if _complete(r) < 2]
    return {
        "with_two_or_more_complete_levels": len(due),
        "spine_missed": _share(sum(not r["found"] for r in due), len(due)),
        "column_misnamed_by_a_count": _share(sum(r["shift"] != 0 for r in spines), len(spines)),
        "with_fewer_complete_levels": len(few),
        "found_of_those": _share(sum(r["found"] for r in few), len(few)),
    }


def _complete(row: Row) -> int:
    return sum(v["truth"] == "complete" for v in row["levels"])


def _named_right(level: Row) -> bool:
    return bool(level["status"] != NOT_ASSESSED and level["covers"] == LEVELS.index(level["level"]) + 1)


def _faults(row: Row) -> dict[str, Any]:
    levels = row["levels"]
    return {
        "false_find": int(row["group"] == "without" and row["found"]),
        "misnamed": sum(v["status"] != NOT_ASSESSED and not _named_right(v) for v in levels),
        "missed": sum(v["truth"] == "complete" and v["status"] == NOT_ASSESSED for v in levels),
        "shift": row["shift"],
        "worst_error_mm": max((v["centre_error_mm"] or 0.0 for v in levels), default=0.0),
        "least_dice": min((v["dice"] for v in levels if v["dice"] is not None), default=1.0),
    }


def _status_table(levels: list[Row]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for v in levels:
        row = table.setdefault(v["truth"], {})
        row[v["status"]] = row.get(v["status"], 0) + 1
    return table


def _broken_down(spines: list[Row], by: Callable[[Row], str]) -> dict[str, Any]:
    return {
        name: {"studies": len(rows), **level_numbers(rows, intervals=False)}
        for name, rows in sorted(_grouped(spines, by).items())
    }


def _grouped(rows: list[Row], by: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    return groups


def _thickness(row: Row) -> str:
    low, high = next((a, b) for a, b in _THICKNESS_MM if row["slice_mm"] <= b)
    return f"over {low:g} mm" if np.isinf(high) else f"over {low:g} to {high:g} mm"


def _values(per_study: list[list[Row]], key: str) -> list[NDArray[np.float64]]:
    return [np.array([v[key] for v in levels if v[key] is not None], dtype=float) for levels in per_study]


def _resampled(
    per_study: list[NDArray[np.float64]], statistic: Callable[[NDArray[np.float64]], float], *, intervals: bool
) -> dict[str, Any]:
    def of(rows: NDArray[np.int64]) -> float:
        values = np.concatenate([per_study[i] for i in rows]) if len(rows) else np.zeros(0)
        return statistic(values) if len(values) else float("nan")

    count = len(per_study)
    if not intervals or np.isnan(of(np.arange(count))):
        value = of(np.arange(count))
        return {"value": _number(value)}
    return _interval(bootstrap(of, count, seed=_SEED, rounds=_ROUNDS))


def _seconds(rows: list[Row]) -> dict[str, Any]:
    locate = [r["seconds"]["locate"] for r in rows if "seconds" in r]
    return {"locate_median": _number(float(np.median(locate)))} if locate else {}


def _share(part: int, whole: int) -> dict[str, Any]:
    return {"count": int(part), "of": whole, **_interval(wilson(int(part), whole))}


def _interval(interval: Interval) -> dict[str, Any]:
    return {"value": _number(interval.value), "ci95": [_number(interval.low), _number(interval.high)]}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
