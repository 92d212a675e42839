"""What is said of each level: a fracture is present, absent or undetermined.

"Absent" is said only of what was seen and what nothing else in the analysis contradicts:

- the study as a whole is suspicious and yet no level reaches its threshold: a fracture is somewhere, so no level is
  called free of it;
- a level is suspicious, or was not assessed, and the study as a whole stays below its threshold: the spine as a whole
  is not called free.

No band around a threshold is undetermined: the threshold is where it was validated, and a second one was not.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

OVERALL = "overall"


class Call(StrEnum):
    """The three values of CID 240."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"


def calls(result_json: Mapping[str, Any]) -> dict[str, Call | None]:
    """By level, and for `OVERALL`; None where there is no probability. `result_json` is the contract's."""
    levels = {entry["level"]: entry["fracture"] for entry in result_json["levels"]}
    overall = result_json["patient_overall"]["fracture"]
    is_somewhere = bool(overall) and not any(levels.values())
    is_complete = all(fracture is False for fracture in levels.values())
    made: dict[str, Call | None] = {level: _call(fracture, not is_somewhere) for level, fracture in levels.items()}
    return made | {OVERALL: _call(overall, is_complete)}


def _call(fracture: bool | None, is_uncontradicted: bool) -> Call | None:
    if fracture is None:
        return None
    if fracture:
        return Call.PRESENT
    return Call.ABSENT if is_uncontradicted else Call.UNDETERMINED
