"""What is told of a positive result beside the objects: who, which levels, how sure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.core.study import PatientSummary


@dataclass(frozen=True, kw_only=True)
class LevelNotice:
    """One cervical level; `probability` is None where it was not assessed. Both numbers lie in [0, 1]."""

    level: str
    probability: float | None
    threshold: float | None
    is_positive: bool


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A positive result of one revision of a study. `id` is the same at each attempt, so that a receiver that is told
    twice, because its acknowledgement was lost, can tell.

    `patient` is for receivers inside the hospital only. Times are aware UTC.
    """

    id: str
    study_instance_uid: str
    revision: int
    patient: PatientSummary
    analysed_at: datetime
    probability: float | None
    threshold: float | None
    levels: tuple[LevelNotice, ...]
    bundle: str
    trained_on: str = ""

    @property
    def is_positive(self) -> bool:
        """Whether the patient as a whole reaches the threshold; a notice may be about a single level as well."""
        return self.probability is not None and self.threshold is not None and self.probability >= self.threshold

    @property
    def remark(self) -> str:
        """What must be said with it."""
        trained = f"; trained on {self.trained_on}" if self.trained_on else ""
        return f"AI result, not a diagnosis{trained}"


def notice_id(channel: str, study_instance_uid: str, revision: int) -> str:
    """20 characters (the most that HL7's MSH-10 takes in version 2.5.1) that depend on these alone."""
    text = "\x1f".join((channel, study_instance_uid, str(revision)))
    return hashlib.sha256(text.encode()).hexdigest()[:20].upper()


def notice_of(
    result: Mapping[str, Any], *, id: str, revision: int, patient: PatientSummary, analysed_at: datetime
) -> Notice:
    """The notice of an analysis, from the contract's `result.json`."""
    overall, bundle = result["patient_overall"], result["bundle"]
    return Notice(
        id=id,
        study_instance_uid=result["study_instance_uid"],
        revision=revision,
        patient=patient,
        analysed_at=analysed_at,
        probability=overall["probability"],
        threshold=overall["threshold"],
        levels=tuple(
            LevelNotice(
                level=level["level"],
                probability=level["probability"],
                threshold=level["threshold"],
                is_positive=bool(level["fracture"]),
            )
            for level in result["levels"]
        ),
        bundle=f"{bundle['name']} {bundle['version']}",
        trained_on=bundle.get("trained_on", ""),
    )
