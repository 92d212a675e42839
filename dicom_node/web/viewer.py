"""What the study page shows of the viewer before its script runs: the levels to go to, and the curve as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.app.viewing import Viewing, read_viewing, viewer_folder
from dicom_node.web.shown import LevelChip

LIBRARY = "/static/vendor/niivue-0.69.0.umd.js"
CURVE_WIDTH, CURVE_HEIGHT = 1000, 120


@dataclass(frozen=True, kw_only=True)
class CurveMark:
    """A level's key slice on the curve; `x` in its units."""

    level: str
    x: float
    look: str


@dataclass(frozen=True, kw_only=True)
class ShownViewer:
    """`line` are the points of the curve, the highest slice left; `first` is the level that is opened first."""

    levels: tuple[LevelChip, ...]
    first: str
    line: str
    area: str
    marks: tuple[CurveMark, ...]
    slices: int
    highest: float
    highest_slice: int
    has_suspicion: bool


def shown_viewer(job_folder: Path, chips: tuple[LevelChip, ...]) -> ShownViewer | None:
    """None where the analysis left nothing for the viewer."""
    folder = viewer_folder(job_folder)
    viewing = read_viewing(folder) if folder else None
    if viewing is None or not viewing.curve:
        return None
    looks = {chip.level: chip for chip in chips}
    placed = {place.level for place in viewing.levels}
    line = _line(viewing)
    peak = max(range(len(viewing.curve)), key=lambda z: viewing.curve[z])
    return ShownViewer(
        levels=tuple(chip for chip in chips if chip.level in placed),
        first=_first(viewing, looks),
        line=line,
        area=f"0,{CURVE_HEIGHT} {line} {CURVE_WIDTH},{CURVE_HEIGHT}",
        marks=_marks(viewing, looks),
        slices=len(viewing.curve),
        highest=viewing.curve[peak],
        highest_slice=len(viewing.curve) - peak,
        has_suspicion=viewing.has_suspicion,
    )


def _line(viewing: Viewing) -> str:
    points = []
    for z in reversed(range(len(viewing.curve))):
        y = CURVE_HEIGHT * (1 - min(1.0, max(0.0, viewing.curve[z])))
        points.append(f"{_x(z, len(viewing.curve)):.1f},{y:.1f}")
    return " ".join(points)


def _x(z: int, count: int) -> float:
    return CURVE_WIDTH * (count - 1 - z + 0.5) / count


def _marks(viewing: Viewing, looks: dict[str, LevelChip]) -> tuple[CurveMark, ...]:
    return tuple(
        CurveMark(
            level=place.level,
            x=round(_x(place.slice_index, len(viewing.curve)), 1),
            look=looks[place.level].look if place.level in looks else "none",
        )
        for place in viewing.levels
        if place.slice_index is not None
    )


def _first(viewing: Viewing, looks: dict[str, LevelChip]) -> str:
    """The suspicious level of the highest probability, else none: the middle of the neck."""
    suspicious = [chip for place in viewing.levels if (chip := looks.get(place.level)) and chip.look == "positive"]
    return max(suspicious, key=lambda chip: chip.probability or 0.0).level if suspicious else ""
