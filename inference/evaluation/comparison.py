"""Several models on the same studies: one table, and how far each is from the first, on the same draws of patients.

Two intervals that overlap do not say that two models are alike: the same hard patients are in both. The difference is
therefore taken draw by draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.fracture_summary import Model, Setting
from inference.evaluation.metrics import competition_losses
from inference.evaluation.predictions import LEVEL_COLUMNS
from inference.evaluation.resampling import auc, counts, mean, measured, rates

# What is compared, its title, and whether more of it is better.
MEASURES: Final = (
    ("competition_loss", "competition loss", False),
    ("patient_auc", "patient AUC", True),
    ("mean_level_auc", "mean level AUC", True),
    ("patient_sensitivity", "patient sensitivity", True),
    ("patient_specificity", "patient specificity", True),
    ("level_sensitivity", "level sensitivity", True),
    ("level_specificity", "level specificity", True),
)

_LEVELS: Final = range(1, len(LEVEL_COLUMNS))

Array = NDArray[np.float64]
Row = dict[str, Any]


def compare(setting: Setting, models: Sequence[Model], summaries: Sequence[Row], hollow: Sequence[Row]) -> Row:
    """A row for each model and each predictor that looks at no image, and each model's difference from the first."""
    draws = [measures(setting, model) for model in models]
    return {
        "studies": len(setting.truth),
        "patients": len(set(setting.patients)),
        "draws": setting.rounds,
        "rows": [_row(s, "model") for s in summaries] + [_row(s, "looks at no image") for s in hollow],
        "against": models[0].name if models else None,
        "differences": [
            {"name": model.name, **{key: _difference(own[key] - draws[0][key], more) for key, _, more in MEASURES}}
            for model, own in zip(models[1:], draws[1:], strict=True)
        ],
    }


def measures(setting: Setting, model: Model) -> dict[str, Array]:
    """What is compared, of the sample and of every draw."""
    truth, values, weights = setting.truth.values > 0.5, model.values, setting.weights
    patient = rates(counts(weights, truth[:, 0], model.called[:, 0]))
    levels = rates(counts(weights, truth[:, 1:], model.called[:, 1:]))
    return {
        "competition_loss": mean(weights, competition_losses(setting.truth.values, values)),
        "patient_auc": auc(weights, truth[:, 0], values[:, 0]),
        "mean_level_auc": np.mean([auc(weights, truth[:, k], values[:, k]) for k in _LEVELS], axis=0),
        "patient_sensitivity": patient["sensitivity"],
        "patient_specificity": patient["specificity"],
        "level_sensitivity": levels["sensitivity"],
        "level_specificity": levels["specificity"],
    }


def comparison_markdown(comparison: Row) -> str:
    """The table of all models and the differences from the first as Markdown."""
    heads = ["", *(title for _, title, _ in MEASURES), "lowest level AUC"]
    rows = [[r["name"], *(shown(r[key]) for key, _, _ in MEASURES), lowest_shown(r)] for r in comparison["rows"]]
    parts = [
        f"{comparison['studies']} studies of {comparison['patients']} patients; 95 % intervals over "
        f"{comparison['draws']} draws of patients",
        _markdown(heads, rows),
    ]
    if comparison["differences"]:
        differences = [
            [d["name"], *(shown(d[key]) + _mark(d[key]) for key, _, _ in MEASURES)] for d in comparison["differences"]
        ]
        parts += [
            f"Difference from {comparison['against']} on the same draws; better or worse: 0 lies outside the interval",
            _markdown(["", *(title for _, title, _ in MEASURES)], differences),
        ]
    return "\n\n".join(parts) + "\n"


def shown(number: Row) -> str:
    """A measured number with its interval; "-" where it is undefined."""
    if number["value"] is None:
        return "-"
    if number["ci95"] is None:
        return f"{number['value']:.3f}"
    return f"{number['value']:.3f} [{number['ci95'][0]:.3f}, {number['ci95'][1]:.3f}]"


def lowest_shown(row: Row) -> str:
    """The lowest of the levels' AUCs and whose it is."""
    lowest = row["lowest_level_auc"]
    return "-" if lowest is None else f"{lowest['value']:.3f} ({lowest['level']})"


def _row(summary: Row, kind: str) -> Row:
    heads, levels = summary["heads"], summary["all_levels"]
    aucs = [(heads[n]["auc"]["value"], n) for n in LEVEL_COLUMNS[1:] if heads[n]["auc"]["value"] is not None]
    least = min(aucs, default=None)
    return {
        "name": summary["name"],
        "kind": kind,
        "competition_loss": summary["competition_loss"],
        "patient_auc": heads["patient_overall"]["auc"],
        "mean_level_auc": summary["mean_level_auc"],
        "lowest_level_auc": None if least is None else {"value": least[0], "level": least[1]},
        "patient_sensitivity": heads["patient_overall"]["sensitivity"],
        "patient_specificity": heads["patient_overall"]["specificity"],
        "level_sensitivity": levels["sensitivity"],
        "level_specificity": levels["specificity"],
    }


def _difference(draws: Array, more_is_better: bool) -> Row:
    """`verdict` is better or worse where the interval leaves out 0, else undecided."""
    number = measured(draws, why="it is undefined for one of the two")
    limits, verdict = number["ci95"], "undecided"
    if limits is not None and (limits[0] > 0 or limits[1] < 0):
        verdict = "better" if (limits[0] > 0) == more_is_better else "worse"
    return {**number, "verdict": verdict}


def _mark(number: Row) -> str:
    return {"better": ", better", "worse": ", worse"}.get(number["verdict"], "")


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, *rows)]
    return "\n".join((lines[0], "|" + " --- |" * len(heads), *lines[1:]))
