"""Readers' verdicts: giving one, what there is on a study, and how far readers and the analysis agree.

The verdict keeps what was called when it was given, so an analysis that is run again takes nothing from it. It is given
on the revision that the reader saw: where a newer one has come meanwhile, the reader is asked to look again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from dicom_node.app.moves import note
from dicom_node.app.operator_actions import ActionRefused, UnknownStudy
from dicom_node.app.queries import iso
from dicom_node.core.agreement import Agreement, Share, Table, agreement
from dicom_node.core.identifiers import study_key
from dicom_node.core.standing import current_job
from dicom_node.core.study import StudyIntake
from dicom_node.core.verdict import Called, Verdict, called_in, in_order, why_not_this_verdict
from dicom_node.ports import Clock, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A study, what was said of its current revision (None: nothing a reader could judge), and every verdict on it,
    the newest first."""

    study: StudyIntake
    called: Called | None
    verdicts: tuple[Verdict, ...]

    @property
    def current(self) -> Verdict | None:
        """The newest verdict on the revision that is shown."""
        return next((each for each in self.verdicts if each.revision == self.study.revision), None)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How far readers agree, and where they do not, the newest first."""

    agreement: Agreement
    disagreements: tuple[Verdict, ...]

    def as_json(self) -> dict[str, Any]:
        """For the API."""
        found = self.agreement
        return {
            "agreed": _share_json(found.agreed),
            "studies": _table_json(found.studies),
            "levels": {level: _table_json(table) for level, table in found.levels},
            "weeks": [{"monday": week.monday.isoformat(), "agreed": _share_json(week.agreed)} for week in found.weeks],
            "bundles": [
                {
                    "name": bundle.name,
                    "version": bundle.version,
                    "sha256": bundle.sha256,
                    "agreed": _share_json(bundle.agreed),
                    "studies": _table_json(bundle.studies),
                }
                for bundle in found.bundles
            ],
            "disagreements": [verdict_json(verdict) for verdict in self.disagreements],
        }


class Verdicts:
    """What readers do. `reader` is the account's name."""

    def __init__(self, *, uow_factory: UnitOfWorkFactory, clock: Clock) -> None:
        self._uow = uow_factory
        self._clock = clock

    def give(
        self,
        study_instance_uid: str,
        *,
        revision: int,
        false_positives: Iterable[str] = (),
        missed: Iterable[str] = (),
        remark: str = "",
        reader: str,
    ) -> Verdict:
        """The newest verdict on this revision, which the reader has seen.

        Raises UnknownStudy, and ActionRefused where it cannot be one: nothing was kept then.
        """
        wrong, overlooked, remark = in_order(false_positives), in_order(missed), remark.strip()
        with self._uow() as uow:
            seen = judged(uow, study_instance_uid)
            called = _judgeable(seen, study_instance_uid, revision)
            why_not = why_not_this_verdict(called, wrong, overlooked, remark)
            if why_not:
                raise ActionRefused(why_not)
            given = uow.verdicts.add(
                Verdict(
                    study_instance_uid=study_instance_uid,
                    revision=revision,
                    called=called,
                    false_positives=wrong,
                    missed=overlooked,
                    note=remark,
                    reader=reader,
                    at=self._clock.now(),
                )
            )
            _note(uow, given)
            uow.commit()
        log.info("verdict_given", study=study_key(study_instance_uid), agrees=given.agrees, reader=reader)
        return given


def judged(uow: UnitOfWork, study_instance_uid: str) -> Judged | None:
    """The study with its verdicts; None where the node does not know it."""
    study = uow.studies.get(study_instance_uid)
    if study is None:
        return None
    jobs = uow.jobs.of_study(study_instance_uid)
    job = current_job(study, jobs)
    return Judged(
        study=study,
        called=called_in(job.result if job else None),
        verdicts=uow.verdicts.of_study(study_instance_uid),
    )


def quality(uow: UnitOfWork, *, since: datetime | None = None) -> Quality:
    """Agreement over the newest verdict of each study, of those given from `since` on."""
    verdicts = uow.verdicts.newest(since=since)
    disagreements = tuple(each for each in reversed(verdicts) if not each.agrees)
    return Quality(agreement=agreement(verdicts), disagreements=disagreements)


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON."""
    called = verdict.called
    return {
        "id": verdict.id,
        "study_instance_uid": verdict.study_instance_uid,
        "revision": verdict.revision,
        "agrees": verdict.agrees,
        "false_positives": list(verdict.false_positives),
        "missed": list(verdict.missed),
        "note": verdict.note,
        "reader": verdict.reader,
        "at": iso(verdict.at),
        "called": {
            "fracture": called.is_positive,
            "levels": list(called.levels),
            "assessed": list(called.assessed),
            "bundle": {"name": called.bundle_name, "version": called.bundle_version, "sha256": called.bundle_sha256},
        },
    }


def _judgeable(seen: Judged | None, study_instance_uid: str, revision: int) -> Called:
    if seen is None:
        raise UnknownStudy(f"there is no study {study_instance_uid} on this node")
    if seen.called is None:
        raise ActionRefused(f"study {study_instance_uid} has no result to judge")
    if seen.study.revision != revision:
        raise ActionRefused(
            f"the result of revision {seen.study.revision} has taken the place of the one you saw: look again"
        )
    return seen.called


def _note(uow: UnitOfWork, given: Verdict) -> None:
    """In the history stands what is wrong; the remark stays with the verdict, for it may name somebody."""
    note(
        uow,
        f"verdict:{given.id}",
        "verdict_given",
        at=given.at,
        from_state="",
        to_state="AGREES" if given.agrees else "DISAGREES",
        reason=f"revision {given.revision}: {given.in_words}",
        actor=given.reader,
        study_instance_uid=given.study_instance_uid,
    )


def _share_json(share: Share) -> dict[str, Any]:
    interval = share.interval
    return {
        "count": share.count,
        "of": share.of,
        "share": share.value,
        "interval_95": None if interval is None else list(interval),
    }


def _table_json(table: Table) -> dict[str, Any]:
    return {
        "true_positive": table.true_positive,
        "false_positive": table.false_positive,
        "false_negative": table.false_negative,
        "true_negative": table.true_negative,
        "unseen": table.unseen,
        "sensitivity": _share_json(table.sensitivity),
        "specificity": _share_json(table.specificity),
        "predictive_value": _share_json(table.predictive_value),
    }
