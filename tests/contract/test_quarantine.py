"""What was set aside: rows that the database and its twin keep alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.core.errors import StorageConflict
from dicom_node.core.quarantine import QuarantinedFile, QuarantineReason, QuarantineState, QuarantineTotals
from tests.contract.rows import STUDY, at


def set_aside(number: int = 1, **changes: Any) -> QuarantinedFile:
    given: dict[str, Any] = {
        "file": Path(f"quarantine/2026-01-02/{number}.dcm"),
        "reason": QuarantineReason.CONFLICTING_INSTANCE,
        "why": "other content than the one that is held",
        "set_aside_at": at(number),
        "digest": f"{number:064x}",
        "size_bytes": 3_000_000_000,
        "sop_instance_uid": f"{STUDY}.7.{number}",
        "study_instance_uid": STUDY,
        "calling_aet": "CT_SCANNER",
    }
    return QuarantinedFile(**given | changes)


def added(database: Any, *entries: QuarantinedFile) -> tuple[QuarantinedFile, ...]:
    with database.unit_of_work() as uow:
        kept = tuple(uow.quarantine.add(entry) for entry in entries)
        uow.commit()
    return kept


def test_what_is_added_comes_back_whole_with_a_number(database: Any) -> None:
    (kept,) = added(database, set_aside(why="0x00\x00 and so on"))
    with database.reading() as uow:
        assert uow.quarantine.get(kept.id) == kept
        assert uow.quarantine.get(kept.id + 1) is None
    assert kept.id > 0
    assert replace(kept, id=0, why="") == set_aside(why="")


def test_a_file_has_one_row(database: Any) -> None:
    (kept,) = added(database, set_aside())
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.quarantine.add(set_aside())
    with database.reading() as uow:
        assert uow.quarantine.of_file(set_aside().file) == kept
        assert uow.quarantine.of_file(Path("quarantine/2026-01-02/other.dcm")) is None


def test_the_list_is_newest_first_and_can_be_narrowed(database: Any) -> None:
    first, second, third = added(
        database,
        set_aside(1),
        set_aside(2, study_instance_uid="", reason=QuarantineReason.UNREADABLE),
        set_aside(3, state=QuarantineState.DISCARDED, settled_at=at(9)),
    )
    with database.reading() as uow:
        assert uow.quarantine.list() == (third, second, first)
        assert uow.quarantine.list(states=[QuarantineState.HELD]) == (second, first)
        assert uow.quarantine.list(study_instance_uid=STUDY) == (third, first)
        assert uow.quarantine.list(limit=1, offset=1) == (second,)


def test_only_what_is_held_counts(database: Any) -> None:
    with database.reading() as uow:
        assert uow.quarantine.totals() == QuarantineTotals(files=0, size_bytes=0)
    added(database, set_aside(1), set_aside(2), set_aside(3, state=QuarantineState.RELEASED))
    with database.reading() as uow:
        assert uow.quarantine.totals() == QuarantineTotals(files=2, size_bytes=6_000_000_000)


def test_the_same_content_of_the_same_instance_is_found_again_whatever_became_of_it(database: Any) -> None:
    entry = set_aside()
    added(database, entry)
    (later,) = added(database, replace(entry, file=Path("quarantine/b.dcm"), state=QuarantineState.DISCARDED))
    with database.reading() as uow:
        assert uow.quarantine.find(digest=entry.digest, sop_instance_uid=entry.sop_instance_uid) == later
        assert uow.quarantine.find(digest=entry.digest, sop_instance_uid="1.2") is None
        assert uow.quarantine.find(digest="0" * 64, sop_instance_uid=entry.sop_instance_uid) is None


def test_of_two_who_settle_it_at_once_one_is_told_that_it_was_late(database: Any) -> None:
    (held,) = added(database, set_aside())
    released = replace(held, state=QuarantineState.RELEASED, settled_at=at(60), settled_by="ann", settled_why="right")
    discarded = replace(held, state=QuarantineState.DISCARDED, settled_at=at(61), settled_by="bob")
    with database.unit_of_work() as uow:
        assert uow.quarantine.update(released, expected=held)
        uow.commit()
    with database.unit_of_work() as uow:
        assert not uow.quarantine.update(discarded, expected=held)
        uow.commit()
    with database.reading() as uow:
        assert uow.quarantine.get(held.id) == released
