"""A reader's verdict on what the analysis said: kept beside the calls it is about, so that it says the same for ever.

A verdict names what the reader holds to be wrong: levels that were called and are not fractured (`false_positives`),
and levels that are fractured and were not called (`missed`). With neither the reader agrees. `WHOLE` stands for the
cervical spine as a whole, where the study was called and no level of it.

A verdict is never changed. Another one on the same study takes its place, and the earlier one stays to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.core.finding import LEVELS, LevelStatus, Outcome

WHOLE = "whole"
LONGEST_NOTE = 500
_ORDER = {name: place for place, name in enumerate((*LEVELS, WHOLE))}


@dataclass(frozen=True, kw_only=True)
class Called:
    """What an analysis said of one revision of a study, as far as a verdict is about it.

    `levels` were called suspicious, `assessed` could be looked at; `whole`: the study as a whole was called.
    """

    levels: tuple[str, ...]
    assessed: tuple[str, ...]
    whole: bool
    bundle_name: str
    bundle_version: str
    bundle_sha256: str

    @property
    def is_positive(self) -> bool:
        """Whether the study was called suspicious, by a level or as a whole."""
        return self.whole or bool(self.levels)

    @property
    def doubtable(self) -> tuple[str, ...]:
        """What a reader may hold to be called wrongly."""
        return self.levels or ((WHOLE,) if self.whole else ())

    @property
    def missable(self) -> tuple[str, ...]:
        """What a reader may hold to be missed: every level that was not called, looked at or not."""
        return tuple(level for level in LEVELS if level not in self.levels)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One reader's word on one revision. `note` may name a patient: it goes into no log and no metric."""

    id: int = 0
    study_instance_uid: str
    revision: int
    called: Called
    false_positives: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    note: str = ""
    reader: str
    at: datetime

    @property
    def agrees(self) -> bool:
        """Whether the reader holds everything that was said to be right."""
        return not self.false_positives and not self.missed

    @property
    def truth(self) -> tuple[str, ...]:
        """The levels that are fractured, according to the reader."""
        right = (level for level in self.called.levels if level not in self.false_positives)
        return in_order((*right, *self.missed))

    @property
    def is_fractured(self) -> bool:
        """Whether the reader holds the study to be positive."""
        called_as_whole_alone = self.called.whole and not self.called.levels
        return bool(self.truth) or (called_as_whole_alone and WHOLE not in self.false_positives)

    @property
    def in_words(self) -> str:
        """For the history: what is wrong, without the note."""
        wrong = [
            f"{what} {', '.join(levels)}"
            for what, levels in (("false positive", self.false_positives), ("missed", self.missed))
            if levels
        ]
        return "; ".join(wrong) or "agrees"


def called_in(result: Mapping[str, Any] | None) -> Called | None:
    """What a `result.json` called; None where the study was not analysed and there is nothing to agree with."""
    if result is None or result.get("outcome") != Outcome.ANALYSED.value:
        return None
    levels, bundle = result["levels"], result["bundle"]
    return Called(
        levels=tuple(entry["level"] for entry in levels if entry["fracture"]),
        assessed=tuple(entry["level"] for entry in levels if entry["status"] == LevelStatus.ASSESSED.value),
        whole=bool(result["patient_overall"]["fracture"]),
        bundle_name=str(bundle["name"]),
        bundle_version=str(bundle["version"]),
        bundle_sha256=str(bundle["sha256"]),
    )


def why_not_this_verdict(called: Called, false_positives: Iterable[str], missed: Iterable[str], note: str) -> str:
    """Why it cannot be one on this result; empty where it can."""
    for level in false_positives:
        if level not in called.doubtable:
            return f"{level[:20]!r} was not called, so it is no false positive"
    for level in missed:
        if level not in called.missable:
            why = "was called, so it was not missed" if level in called.levels else "is no level of C1 to C7"
            return f"{level[:20]!r} {why}"
    if len(note) > LONGEST_NOTE:
        return f"a note has at most {LONGEST_NOTE} characters, this one has {len(note)}"
    return ""


def in_order(levels: Iterable[str]) -> tuple[str, ...]:
    """Each once, from C1 down, the whole last. What is no level keeps its place behind them."""
    return tuple(sorted(dict.fromkeys(levels), key=lambda level: _ORDER.get(level, len(_ORDER))))
