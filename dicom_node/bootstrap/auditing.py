"""The audit trail as the settings say, and what it is told at start and stop."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.settings import Settings
from dicom_node.app.audit_events import NoAudit, application_activity
from dicom_node.app.counting import NoCounters
from dicom_node.audit.log_file import AuditFile
from dicom_node.audit.sender import Repository, TlsSender
from dicom_node.audit.spool import Spool
from dicom_node.audit.trail import AuditTrail
from dicom_node.ports import AuditLog, Clock, Counters

FOLDER = "audit"
SPOOL = "spool"


def audit_folder(settings: Settings) -> Path:
    """Where the trail and what waits to be sent lie."""
    return settings.node.data_dir / FOLDER


@contextmanager
def audit_trail(settings: Settings, clock: Clock, counters: Counters) -> Iterator[AuditLog]:
    """The trail, which has recorded the start of the node and records its end when the block is left.

    Raises ConfigurationError where files for TLS cannot be used.
    """
    if not _is_kept(settings):
        yield NoAudit()
        return
    trail = _trail(settings, counters, is_sending=True)
    ae_title, launched_by = settings.node.ae_title, _user()
    trail.start()
    try:
        trail.record(application_activity(started=True, ae_title=ae_title, launched_by=launched_by, at=clock.now()))
        yield trail
    finally:
        trail.record(application_activity(started=False, ae_title=ae_title, launched_by=launched_by, at=clock.now()))
        trail.stop()


@contextmanager
def trail_of_a_command(settings: Settings) -> Iterator[AuditLog]:
    """The same trail for a command beside the node or without one; what goes to the repository the node sends."""
    if not _is_kept(settings):
        yield NoAudit()
        return
    trail = _trail(settings, NoCounters(), is_sending=False)
    try:
        yield trail
    finally:
        trail.stop()


def _is_kept(settings: Settings) -> bool:
    return settings.audit.file or bool(settings.audit.syslog_host)


def _trail(settings: Settings, counters: Counters, *, is_sending: bool) -> AuditTrail:
    chosen, folder = settings.audit, audit_folder(settings)
    file = AuditFile(folder / "audit.log", maximum_bytes=chosen.file_maximum_bytes, count=chosen.file_count)
    repository = Repository(
        host=chosen.syslog_host,
        port=chosen.syslog_port,
        ca_file=chosen.syslog_ca_file,
        certificate=chosen.syslog_certificate,
        key=chosen.syslog_key,
    )
    return AuditTrail(
        source_id=settings.node.ae_title,
        site=chosen.site,
        host=socket.gethostname(),
        process_id=os.getpid(),
        counters=counters,
        file=file if chosen.file else None,
        spool=Spool(folder / SPOOL, maximum_bytes=chosen.spool_maximum_bytes) if chosen.syslog_host else None,
        sender=TlsSender(repository) if chosen.syslog_host and is_sending else None,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
