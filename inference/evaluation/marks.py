"""The marks that a person set on the real series: numbers under version control, made once, without the network."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FULLHEAD: Final = Path(__file__).with_name("fullhead_marks.toml")

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """Centres by level, LPS mm [3], with the status that a right answer gives each of C1 to C7.

    `apart_mm` is the distance between the two readings whose mean a centre is. A level may have a status and no
    centre. `anatomy_ends_at_z_mm` is the lowest height with a picture, `atlantoaxial_joint_z_mm` where C1 ends
    and the facets of C2 begin.
    """

    series: str
    centres_lps_mm: dict[str, Array]
    apart_mm: dict[str, float]
    expected_status: dict[str, str]
    anatomy_ends_at_z_mm: float
    atlantoaxial_joint_z_mm: float


def read_marks(file: Path = FULLHEAD) -> Marks:
    """The marks of a TOML file; raises ValueError where its two readings do not mark the same levels."""
    raw = tomllib.loads(file.read_text(encoding="utf-8"))
    first, second = _points(raw["first_lps_mm"]), _points(raw["second_lps_mm"])
    if first.keys() != second.keys():
        raise ValueError(f"{file}: the readings mark {sorted(first)} and {sorted(second)}; mark the same levels twice")
    return Marks(
        series=str(raw["series"]),
        centres_lps_mm={level: (first[level] + second[level]) / 2 for level in first},
        apart_mm={level: float(np.linalg.norm(first[level] - second[level])) for level in first},
        expected_status={str(level): str(status) for level, status in raw["expected_status"].items()},
        anatomy_ends_at_z_mm=float(raw["anatomy_ends_at_z_mm"]),
        atlantoaxial_joint_z_mm=float(raw["atlantoaxial_joint_z_mm"]),
    )


def _points(table: dict[str, Any]) -> dict[str, Array]:
    return {str(level): np.array(point, dtype=float) for level, point in table.items()}
