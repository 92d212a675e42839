"""The report of an evaluation as one HTML file: no scripts, no outside files, pictures inside, readable aloud."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from inference.evaluation.comparison import MEASURES
from inference.evaluation.figures import level_bars, reliability_figure, roc_figure
from inference.evaluation.fracture_summary import Model, Setting
from inference.evaluation.predictions import LEVEL_COLUMNS

Picture = Callable[[str], bytes | None]
"""The picture of a study, by its UID, as PNG; None where there is none."""

TITLE: Final = "Fracture models: evaluation"
UNKNOWN_DATA: Final = "These numbers hold for the studies they were measured on and for no others."
SYNTHETIC_DATA: Final = "Synthetic CT only: these numbers say nothing about patients."

_COLUMNS: Final = (
    ("log_loss", "log loss"),
    ("auc", "AUC"),
    ("sensitivity", "sensitivity (recall)"),
    ("specificity", "specificity"),
    ("precision", "precision"),
    ("accuracy", "accuracy"),
    ("f1", "F1"),
    ("f2", "F2"),
    ("ece", "calibration error"),
)

Row = dict[str, Any]


def report_html(
    setting: Setting,
    models: Sequence[Model],
    summaries: Sequence[Row],
    hollow: Sequence[Row],
    comparison: Row,
    *,
    pictures: Mapping[str, Picture] | None = None,
    data_note: str = UNKNOWN_DATA,
) -> str:
    """The whole report: the comparison, then each model with its figures, tables and worst studies.

    `pictures` gives a picture function for a model's name; its worst studies are drawn where it knows them.
    """
    shown = [
        _shown(setting, model, summary, (pictures or {}).get(model.name))
        for model, summary in zip(models, summaries, strict=True)
    ]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=TITLE,
            data_note=data_note,
            comparison=comparison,
            measures=MEASURES,
            hollow=hollow,
            models=shown,
            columns=_COLUMNS,
            heads=LEVEL_COLUMNS,
        )
    )


def comparison_html(comparison: Row, *, data_note: str = UNKNOWN_DATA) -> str:
    """The comparison alone."""
    template = _environment().get_template("comparison.html.j2")
    return template.render(title="Comparison", data_note=data_note, comparison=comparison, measures=MEASURES)


def _shown(setting: Setting, model: Model, summary: Row, picture: Picture | None) -> Row:
    drawn = {} if picture is None else {w["uid"]: _text(picture(w["uid"])) for w in summary["worst"]}
    return {
        "summary": summary,
        "heads": [*summary["heads"].items(), ("C1 to C7 together", summary["all_levels"])],
        "roc": _text(roc_figure(setting, model, summary)),
        "reliability": _text(reliability_figure(summary)),
        "bars": _text(level_bars(summary)),
        "pictures": drawn if any(drawn.values()) else {},
    }


def _text(png: bytes | None) -> str:
    return "" if png is None else b64encode(png).decode("ascii")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("inference.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
