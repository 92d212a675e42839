"""The pictures of a report as PNG: ROC curves, reliability, bars per level. Colours are told apart by everybody."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from inference.evaluation.fracture_summary import Model, Setting
from inference.evaluation.predictions import LEVEL_COLUMNS
from inference.evaluation.roc import roc

BLUE: Final = "#0072b2"
ORANGE: Final = "#d55e00"
GREY: Final = "#767676"

_DPI: Final = 110
_TITLES: Final = ("patient", *LEVEL_COLUMNS[1:])

Row = dict[str, Any]


def roc_figure(setting: Setting, model: Model, summary: Row) -> bytes:
    """Eight ROC curves with their 95 % bands; a dot is the operating point."""
    figure, axes = _figure(10.4, 5.6, 2, 4)
    for number, (place, name) in enumerate(zip(axes, LEVEL_COLUMNS, strict=True)):
        head = summary["heads"][name]
        curve = roc(setting.weights, setting.truth.values[:, number] > 0.5, model.values[:, number])
        place.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        if curve is None:
            place.text(0.5, 0.5, "one class only", ha="center", va="center", fontsize=8, color=GREY)
        else:
            place.fill_between(curve.grid, curve.low, curve.high, color=BLUE, alpha=0.18, lw=0)
            place.plot(curve.false_positive_rate, curve.sensitivity, color=BLUE, lw=1.4)
            place.plot(
                1 - head["specificity"]["value"], head["sensitivity"]["value"], "o", color=ORANGE, ms=6, clip_on=False
            )
            place.text(0.97, 0.06, _auc_text(head["auc"]), ha="right", fontsize=8, transform=place.transAxes)
        place.set_title(f"{_TITLES[number]} ({head['positives']} of {head['count']})", fontsize=9)
        place.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    figure.supxlabel("1 - specificity", fontsize=9)
    figure.supylabel("sensitivity", fontsize=9)
    return _png(figure)


def reliability_figure(summary: Row) -> bytes:
    """How often what was said came true, with Wilson's intervals; below, how often it was said."""
    figure = Figure(figsize=(8.4, 4.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(3.2, 1))
    parts = (("patient_overall", "patient", summary["heads"]["patient_overall"]),
             ("levels", "C1 to C7 together", summary["all_levels"]))  # fmt: skip
    for column, (key, title, numbers) in enumerate(parts):
        rows = summary["reliability"][key]
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        said, seen = np.array([r["said"] for r in rows]), np.array([r["seen"] for r in rows])
        limits = np.array([r["ci95"] for r in rows])
        above.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        above.errorbar(
            said, seen, yerr=np.clip([seen - limits[:, 0], limits[:, 1] - seen], 0, 1),
            color=BLUE, fmt="o-", ms=5, lw=1.2, elinewidth=1, capsize=2,
        )  # fmt: skip
        above.set_title(f"{title}: calibration error {numbers['ece']['value']:.3f}", fontsize=9)
        above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share fractured")
        below.bar([r["from"] + 0.05 for r in rows], [r["count"] for r in rows], width=0.092, color=BLUE)
        below.set(xlim=(-0.02, 1.02), yscale="log", ylim=(0.8, None), ylabel="studies" if column == 0 else "vertebrae")
        below.set_xlabel("probability said")
        _plain(above)
        _plain(below)
    return _png(figure)


def level_bars(summary: Row) -> bytes:
    """AUC, sensitivity and specificity of the patient and each level, with 95 % intervals."""
    figure, axes = _figure(10.4, 3.0, 1, 3)
    for place, key in zip(axes, ("auc", "sensitivity", "specificity"), strict=True):
        for x, name in enumerate(LEVEL_COLUMNS):
            number = summary["heads"][name][key]
            if number["value"] is None:
                place.text(x, 0.02, "-", ha="center", fontsize=10, color=GREY)
                continue
            low, high = number["ci95"] or (number["value"], number["value"])
            reach = np.clip([[number["value"] - low], [high - number["value"]]], 0, 1)
            colour = GREY if x == 0 else BLUE
            place.bar(x, number["value"], color=colour, width=0.7)
            place.errorbar(x, number["value"], yerr=reach, color="black", elinewidth=1, capsize=2, fmt="none")
        place.set_title("AUC" if key == "auc" else f"{key} at the operating point", fontsize=9)
        place.set_xticks(range(len(LEVEL_COLUMNS)), _TITLES)
        place.set(ylim=(0, 1.02))
        if key == "auc":
            place.axhline(0.5, color=ORANGE, lw=1, ls="--")
            place.text(7.4, 0.51, "a constant", color=ORANGE, fontsize=8, ha="right", va="bottom",
                       bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})  # fmt: skip
    return _png(figure)


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns).ravel())
    for place in axes:
        _plain(place)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)


def _auc_text(number: Row) -> str:
    if number["ci95"] is None:
        return f"AUC {number['value']:.3f}"
    return f"AUC {number['value']:.3f}\n[{number['ci95'][0]:.3f}, {number['ci95'][1]:.3f}]"


def _png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, dpi=_DPI, format="png", facecolor="white")
    return out.getvalue()
