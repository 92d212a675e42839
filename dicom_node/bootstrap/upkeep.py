"""What keeps store and process in order, as the settings say: quarantine, retention, memory."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from config.settings import Settings
from dicom_node.app.audit_events import study_deleted
from dicom_node.app.quarantine import Quarantine
from dicom_node.app.retention import ApplyRetention, RetentionPolicy
from dicom_node.app.set_aside import QuarantineLimits
from dicom_node.app.ticks import STALE_AFTER_PERIODS, Tick
from dicom_node.bootstrap.allocator import trim
from dicom_node.bootstrap.leftovers import read_found_instance
from dicom_node.bootstrap.store import Store
from dicom_node.core.audit import AuditedStudy
from dicom_node.core.study import StudyIntake
from dicom_node.ports import AuditLog, Counters
from storage.lock import removal


def quarantine_limits(settings: Settings) -> QuarantineLimits:
    """How much is kept of what is refused."""
    return QuarantineLimits(
        maximum_files=settings.quarantine.maximum_files, maximum_bytes=settings.quarantine.maximum_bytes
    )


def quarantine_of(store: Store) -> Quarantine:
    """What an operator may do with files in quarantine."""
    return Quarantine(
        uow_factory=store.unit_of_work,
        reading=store.reading,
        files=store.files,
        clock=store.clock,
        read_found=read_found_instance,
    )


def upkeep_tick(settings: Settings, store: Store, counters: Counters, audit: AuditLog) -> Tick:
    """Retention, the age of quarantine and memory that lies free, now and then."""

    def deleted(study: StudyIntake) -> None:
        gone = AuditedStudy(study_instance_uid=study.study_instance_uid)
        at, ae_title = store.clock.now(), settings.node.ae_title
        audit.record(study_deleted(study=gone, patient=study.patient, ae_title=ae_title, at=at))

    retention = ApplyRetention(
        uow_factory=store.unit_of_work,
        files=store.files,
        clock=store.clock,
        counters=counters,
        policy=retention_policy(settings),
        on_purged=deleted,
        hold=partial(removal, settings.node.data_dir),
    )
    quarantine, age_days = quarantine_of(store), settings.quarantine.maximum_age_days

    def look() -> None:
        if age_days:
            quarantine.expire(timedelta(days=age_days))
        retention.tick()
        trim()

    period_s = settings.retention.period_s
    return Tick(name="upkeep", call=look, period_s=period_s, stale_after_s=STALE_AFTER_PERIODS * period_s)


def retention_policy(settings: Settings) -> RetentionPolicy:
    """0 in the settings switches a rule off."""
    chosen = settings.retention
    return RetentionPolicy(
        maximum_age=timedelta(days=chosen.maximum_age_days) if chosen.maximum_age_days else None,
        minimum_free_bytes=chosen.minimum_free_bytes or None,
        minimum_age=timedelta(days=chosen.minimum_age_days),
    )
