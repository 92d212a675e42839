"""How the node itself is: what it runs on, what waits in it, how fast it answers, and with what it was configured.

Nothing here names a patient. What cannot be said now is None or missing, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.app.figures import Figures, node_figures
from dicom_node.app.queries import iso
from dicom_node.core.delivery import Channel, Delivery, DeliveryState
from dicom_node.core.job import JobState
from dicom_node.core.standing import awaited_since
from dicom_node.core.study import StudyState
from dicom_node.ports import UnitOfWork

LATEST = 200
"""So many of the latest results tell how long it takes to notify somebody."""
_HELD = (DeliveryState.STORED, DeliveryState.COMMIT_WAIT, DeliveryState.COMMITTED)


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Of the file system of `data_dir`, bytes. Below `reserve` images are refused."""

    free: int
    size: int
    reserve: int


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Memory in bytes, `busy` from 0 to 1."""

    number: str
    memory_used: int
    memory_size: int
    busy: float


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """`ends_at` is None for one that cannot be read."""

    use: str
    ends_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DriftFinding:
    """A quantity of late beside the results before: `verdict` is stable, watch or drifted."""

    quantity: str
    verdict: str
    psi_excess: float | None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """`studies` were looked at; `findings` are empty while they are too few."""

    studies: int
    findings: tuple[DriftFinding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the bundle says of itself; `thresholds` by level. `problem`: why it cannot be read, else empty."""

    name: str = ""
    version: str = ""
    sha256: str = ""
    created: str = ""
    trained_on: str = ""
    thresholds: tuple[tuple[str, float], ...] = ()
    metrics: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """The last one that was made with `cspine-node backup`."""

    at: datetime
    archive: str
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ConfiguredValue:
    """`source` is where it came from: "default", "FILE:LINE", "environment NAME" or "command line"."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What only the composition of the node knows. `audit_waiting` counts messages of the audit trail not sent yet."""

    versions: tuple[tuple[str, str], ...] = ()
    disk: Disk | None = None
    gpus: tuple[Gpu, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    audit_waiting: int | None = None
    drift: Drift | None = None
    model: ModelCard = ModelCard()
    backup: Backup | None = None


@dataclass(frozen=True, kw_only=True)
class NotificationTimes:
    """From a study's last image until a peer held its result, seconds, of `count` studies; None of none."""

    count: int
    p50_s: float | None
    p95_s: float | None


@dataclass(frozen=True, kw_only=True)
class SystemReport:
    """Everything of one moment."""

    at: datetime
    around: Surroundings
    figures: Figures
    notified: NotificationTimes

    def as_json(self) -> dict[str, Any]:
        """For the API."""
        around, figures = self.around, self.figures
        return {
            "at": iso(self.at),
            "versions": dict(around.versions),
            "disk": None if around.disk is None else vars(around.disk),
            "gpus": [vars(gpu) for gpu in around.gpus],
            "certificates": [{"use": each.use, "ends_at": iso(each.ends_at)} for each in around.certificates],
            "audit_messages_waiting": around.audit_waiting,
            "drift": None if around.drift is None else _drift_json(around.drift),
            "model": {**vars(around.model), "thresholds": dict(around.model.thresholds)}
            | {"metrics": dict(around.model.metrics)},
            "last_backup": None if around.backup is None else {**vars(around.backup), "at": iso(around.backup.at)},
            "studies": {state.value: _count(figures.studies.get(state)) for state in StudyState},
            "jobs": {state.value: tally.count for state, tally in figures.jobs.items()},
            "deliveries_unfinished": sum(tally.count for tally in figures.deliveries.values()),
            "receivers_not_reached": len(figures.circuits),
            "commitment_duties_unfinished": figures.unfinished_duties,
            "quarantine": {"files": figures.quarantine.files, "size_bytes": figures.quarantine.size_bytes},
            "seconds_from_last_image_to_stored_result": vars(self.notified),
        }

    @property
    def oldest_job_age_s(self) -> float | None:
        """How long the analysis that waits longest has waited; None where none waits."""
        waiting = self.figures.jobs.get(JobState.QUEUED)
        return waiting.age_s(self.at) if waiting else None


def system_report(uow: UnitOfWork, around: Surroundings, *, at: datetime) -> SystemReport:
    """The report, its rows in one transaction. Raises StorageUnavailable."""
    return SystemReport(at=at, around=around, figures=node_figures(uow), notified=notification_times(uow))


def notification_times(uow: UnitOfWork) -> NotificationTimes:
    """Of the `LATEST` deliveries of objects that a peer holds, one a study: the first peer that held its result."""
    first: dict[str, float] = {}
    for delivery in uow.deliveries.list(states=_HELD, limit=LATEST):
        passed_s = _passed_s(uow, delivery)
        if passed_s is not None:
            uid = delivery.study_instance_uid
            first[uid] = min(passed_s, first.get(uid, passed_s))
    times = sorted(first.values())
    return NotificationTimes(count=len(times), p50_s=quantile(times, 0.50), p95_s=quantile(times, 0.95))


def quantile(in_order: Sequence[float], share: float) -> float | None:
    """The least of the values that `share` of them do not exceed (nearest rank); None of none."""
    if not in_order:
        return None
    rank = max(1, -(-len(in_order) * round(share * 1000) // 1000))
    return in_order[rank - 1]


def _passed_s(uow: UnitOfWork, delivery: Delivery) -> float | None:
    """None where it says nothing of the time: a study that got more images since, or a second sending."""
    answered = [status.answered_at for status in delivery.statuses if status.is_stored and status.answered_at]
    study = uow.studies.get(delivery.study_instance_uid)
    if delivery.channel is not Channel.OBJECTS or delivery.round > 1 or not answered or study is None:
        return None
    if study.revision != delivery.revision or study.state is StudyState.RECEIVING:
        return None
    return (max(answered) - awaited_since(study, uow.jobs.of_study(study.study_instance_uid))).total_seconds()


def configuration_json(values: Iterable[ConfiguredValue]) -> list[dict[str, str]]:
    """For the API."""
    return [vars(value) for value in values]


def _drift_json(drift: Drift) -> dict[str, Any]:
    return {"studies": drift.studies, "findings": [vars(finding) for finding in drift.findings]}


def _count(tally: Any) -> int:
    return tally.count if tally is not None else 0
