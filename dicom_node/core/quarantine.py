"""A file set aside: kept apart from what counts, with the reason, until somebody decides about it.

Nothing in quarantine takes part in an analysis. Nothing in it was acknowledged either, with one exception: an instance
that an operator replaced by another of the same UID (`REPLACED`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path


class QuarantineReason(StrEnum):
    """Why a file was set aside."""

    CONFLICTING_INSTANCE = "conflicting_instance"  # its SOP Instance UID is held with other content
    UNREADABLE = "unreadable"  # received, and the data set cannot be read
    MISSING_UID = "missing_uid"  # received without a valid Study, Series or SOP Instance UID
    COMMAND_MISMATCH = "command_mismatch"  # received, and it contradicts the command that carried it
    UNREADABLE_LEFTOVER = "unreadable_leftover"  # found without a row, and it cannot be read
    DAMAGED = "damaged"  # found with another content than the one acknowledged
    REPLACED = "replaced"  # was held, until an operator put another one in its place

    @property
    def was_acknowledged(self) -> bool:
        """Whether a sender was told Success for it and may have deleted its copy."""
        return self in (QuarantineReason.REPLACED, QuarantineReason.DAMAGED)


class QuarantineState(StrEnum):
    """What has become of a file in quarantine."""

    HELD = "HELD"  # waits for a decision
    RELEASED = "RELEASED"  # taken in; the row of the instance names the file
    DISCARDED = "DISCARDED"  # removed


@dataclass(frozen=True, kw_only=True)
class QuarantinedFile:
    """`file` is where it lies while HELD, relative to the file store's root; `why` is the reason in a sentence.

    `digest` is the data set's (data_set_digest). UIDs are what command and data set say, empty where they say nothing.
    `settled_by` and `settled_why` say who released or discarded it, and to what end.
    """

    id: int = 0
    file: Path
    reason: QuarantineReason
    why: str
    set_aside_at: datetime
    digest: str
    size_bytes: int
    state: QuarantineState = QuarantineState.HELD
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    study_instance_uid: str = ""
    calling_aet: str = ""
    settled_at: datetime | None = None
    settled_by: str = ""
    settled_why: str = ""


@dataclass(frozen=True, kw_only=True)
class QuarantineTotals:
    """What is held now."""

    files: int
    size_bytes: int
