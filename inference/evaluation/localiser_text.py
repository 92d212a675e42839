"""The localiser's numbers as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from inference.postprocess import ASSESSED, NOT_ASSESSED, PARTLY

_SIGN: Final = {ASSESSED: "+", PARTLY: "~", NOT_ASSESSED: "-"}

Row = dict[str, Any]


def phantoms_text(metrics: Row) -> str:
    """Targets, sums, breakdowns and the worst studies of `localiser_summary.summarise`."""
    levels, studies = metrics["levels"], metrics["studies"]
    parts = [
        f"Localiser on {metrics['phantoms']} held-out phantoms and {metrics['without_cervical_spine']} without a "
        "cervical spine (synthetic data only; 95 % intervals)",
        _table(
            ("target", "measured", "", "met"),
            [
                (f"{t['what']} {t['target']}", _value(t), _ci(t), {True: "yes", False: "NO", None: "?"}[t["met"]])
                for t in metrics["targets"]
            ],
        ),
        _table(
            ("levels", "measured", ""),
            [
                *(_line(name, levels[key]) for name, key in _LEVEL_LINES),
                *(_line(name, studies[key]) for name, key in _STUDY_LINES),
                _line("false cervical spine", metrics["false_cervical_spine"]),
                *(_line(f"  {name}", value) for name, value in metrics["false_by_coverage"].items()),
            ],
        ),
        _breakdown("level", metrics["by_level"]),
        _breakdown("coverage", metrics["by_coverage"]),
        _breakdown("slice thickness", metrics["by_slice_mm"]),
        _breakdown("kernel", metrics["by_kernel"]),
        _table(("truth", *_SIGN), [(t, *(row.get(s, 0) for s in _SIGN)) for t, row in levels["status_table"].items()]),
        _worst(metrics["worst"]),
    ]
    return "\n\n".join(parts)


def real_text(real: Row) -> str:
    """One line per variant of the real series: + assessed, ~ partly in view, - not assessed, ! where that is wrong."""
    names = [v["level"] for v in real["rows"][0]["levels"]]
    rows = [(r["variant"], *(_cell(v) for v in r["levels"]), "yes" if r["right"] else "NO") for r in real["rows"]]
    head = (
        f"{real['series']}, marked by eye (evaluation only): centre error in mm per level\n"
        "+ assessed, ~ partly in view, - not assessed, ! wrong name, place or status"
    )
    foot = (
        f"{real['variants_right']} of {real['variants']} variants right; "
        f"{real['assessable_levels_right']} of {real['assessable_levels']} assessable levels right; centre error "
        f"median {real['centre_error_mm_median']} mm, most {real['centre_error_mm_most']} mm"
    )
    return "\n".join((head, _table(("variant", *names, "right"), rows), foot))


_LEVEL_LINES: Final = (
    ("complete levels named right", "complete_named_right"),
    ("complete levels missed", "complete_missed"),
    ("reported levels named right", "reported_named_right"),
    ("status right", "status_right"),
    ("status right, strictly", "status_strictly_right"),
    ("mean Dice at 1 mm", "dice_mean"),
    ("centre error mm, median", "centre_error_mm_median"),
    ("centre error mm, 95 %", "centre_error_mm_p95"),
    ("centre error mm, 99 %", "centre_error_mm_p99"),
)
_STUDY_LINES: Final = (
    ("cervical spine missed", "spine_missed"),
    ("column misnamed by a count", "column_misnamed_by_a_count"),
    ("found with under two complete levels", "found_of_those"),
)


def _cell(level: Row) -> str:
    error = "" if level["centre_error_mm"] is None else f"{level['centre_error_mm']:.1f}"
    return f"{_SIGN[level['status']]}{error}{'' if level['right'] else '!'}"


def _line(name: str, value: Row) -> tuple[str, str, str]:
    count = f" ({value['count']} of {value['of']})" if "of" in value else ""
    return name, _value(value) + count, _ci(value)


def _breakdown(by: str, groups: dict[str, Row]) -> str:
    rows = [
        (
            name,
            g["complete"],
            _value(g["complete_named_right"]),
            _value(g["dice_mean"]),
            _value(g["centre_error_mm_median"]),
            _value(g["centre_error_mm_p99"]),
            _value(g["status_right"]),
        )
        for name, g in groups.items()
    ]
    return _table((by, "complete", "named right", "Dice", "mm median", "mm 99 %", "status right"), rows)


def _worst(worst: list[Row]) -> str:
    keys = ("group", "seed", "coverage", "false_find", "misnamed", "missed", "shift", "worst_error_mm", "least_dice")
    heads = tuple(key.replace("_", " ") for key in keys)
    return "Worst studies\n" + _table(heads, [tuple(w[key] for key in keys) for w in worst])


def _value(value: Row) -> str:
    return "?" if value["value"] is None else f"{value['value']:.3f}"


def _ci(value: Row) -> str:
    low, high = value.get("ci95") or (None, None)
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    cells = [[str(c) for c in row] for row in (heads, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join((lines[0], "  ".join("-" * w for w in widths), *lines[1:]))
