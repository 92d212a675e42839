"""What the metrics page and /readyz look at: the disk, the receiver, certificates, GPUs, the audit spool, the rows.

Every source answers within a moment and never raises: what cannot be said is left out, and the alert rules notice what
is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from config.settings import Settings
from dicom_node.app.figures import Figures, node_figures
from dicom_node.bootstrap.auditing import SPOOL, audit_folder
from dicom_node.bootstrap.certificates import ends_at
from dicom_node.bootstrap.store import Store
from dicom_node.core.errors import NodeError, StorageUnavailable
from dicom_node.dimse.server import DicomServer
from dicom_node.gauges import Sample, Source, figure_samples


def figures_now(store: Store) -> Figures | None:
    """What the rows say; None where the database cannot be asked now."""
    try:
        with store.reading() as uow:
            return node_figures(uow)
    except NodeError:
        return None


def why_not_ready(settings: Settings, store: Store, receiver: DicomServer) -> Mapping[str, str]:
    """For each thing that a new association needs: why it cannot be had; empty where it can.

    Says no path and nothing of a study: whoever watches the node may read it without a log-in.
    """
    return {
        "database": "the database takes nothing until the node is started again" if store.database.failure else "",
        "disk": _why_no_space(settings, store),
        "receiver": "" if receiver.is_listening else "the receiver does not listen",
    }


def _why_no_space(settings: Settings, store: Store) -> str:
    try:
        free = store.files.free_bytes()
    except StorageUnavailable:
        return "the disk cannot be looked at"
    reserve = settings.node.min_free_bytes
    return "" if free >= reserve else f"{free} bytes are free and {reserve} are kept in reserve: images are refused"


def sources(
    settings: Settings, store: Store, receiver: DicomServer, *, version: str, peers_problem: Callable[[], str]
) -> tuple[Source, ...]:
    """Everything about a running node that is looked up when its metrics are read, but its ticks, GPUs and drift."""
    spool = audit_folder(settings) / SPOOL

    def node() -> Iterable[Sample]:
        yield "node_info", (version, settings.node.ae_title), 1.0
        yield "receiver_up", (), float(receiver.is_listening)
        yield "associations_open", (), float(receiver.open_associations)
        hands = receiver.hands
        yield "receiving_processes_up", (), float(hands.up if hands else 0)
        yield "associations_lent", (), float(hands.lent if hands else 0)
        yield "configuration_refused", (), float(bool(peers_problem()))

    def rows() -> Iterable[Sample]:
        return figure_samples(figures_now(store), store.clock.now())

    return node, rows, lambda: disk_samples(settings), lambda: spool_samples(spool), lambda: certificates(settings)


def disk_samples(settings: Settings) -> Iterable[Sample]:
    """The file system of `data_dir`."""
    yield "disk_reserve_bytes", (), float(settings.node.min_free_bytes)
    try:
        usage = shutil.disk_usage(settings.node.data_dir)
    except OSError:
        return
    yield "disk_free_bytes", (), float(usage.free)
    yield "disk_size_bytes", (), float(usage.total)


def spool_samples(folder: Path) -> Iterable[Sample]:
    """How many audit messages wait; 0 where there is no spool."""
    try:
        with os.scandir(folder) as found:
            waiting = sum(entry.name.endswith(".syslog") for entry in found)
    except FileNotFoundError:
        waiting = 0
    except OSError:
        return
    yield "audit_spool_messages", (), float(waiting)


def certificates(settings: Settings) -> Iterable[Sample]:
    """When each certificate of the node ends; one that cannot be read has no end to tell."""
    for use, file in certificate_files(settings).items():
        end = ends_at(file)
        if end is not None:
            yield "certificate_expiry_timestamp_seconds", (use,), end.timestamp()


def certificate_files(settings: Settings) -> dict[str, Path]:
    """The node's own certificates by what they are for."""
    named = {
        "receiver": settings.node.tls.certificate,
        "web": settings.web.tls.certificate,
        "audit": settings.audit.syslog_certificate,
    }
    named |= {f"stow {peer.name}": peer.stow_client_certificate for peer in settings.peers}
    return {use: Path(file) for use, file in named.items() if file}
