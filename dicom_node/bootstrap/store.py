"""Rows and files of a node, and the values that settings become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import cast
from urllib.parse import urlsplit

import structlog

from config.receivers import PeerSettings, RouteSettings
from config.settings import NodeTlsSettings, Settings
from config.watch import LivePeers
from dicom_node.bootstrap.clock import SystemClock
from dicom_node.core.delivery_terms import OwnTerms
from dicom_node.core.errors import StorageUnavailable
from dicom_node.core.hours import parse_hours
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer, PeerTls, StowEndpoint, UserIdentity, object_choice
from dicom_node.core.routing import ResultClass, RoutingRule
from dicom_node.ports import Clock, UnitOfWorkFactory
from storage.database import Database, open_database
from storage.direct_disk import DirectDisk, UnsyncedDisk
from storage.files import DiskFileStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Store:
    """What commands beside the node need: transactions, files, time."""

    database: Database
    files: DiskFileStore
    clock: Clock

    @property
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Opens a transaction."""
        return cast(UnitOfWorkFactory, self.database.unit_of_work)

    @property
    def reading(self) -> UnitOfWorkFactory:
        """Opens a snapshot that is never committed and waits for no writer."""
        return cast(UnitOfWorkFactory, self.database.reading)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()


def open_store(settings: Settings, clock: Clock | None = None) -> Store:
    """The rows and files under `settings`. Raises ConfigurationError where they cannot be opened."""
    clock = clock or SystemClock()
    data_dir = settings.node.data_dir
    return Store(
        database=open_database(settings.database.url, data_dir=data_dir),
        files=DiskFileStore(
            data_dir, clock=clock, disk=UnsyncedDisk() if settings.storage.durability == "os" else DirectDisk()
        ),
        clock=clock,
    )


def make_files_ready(store: Store) -> None:
    """Before anybody sends: the first image does not wait for folders and names. Where the disk cannot, it will say so
    to that image's sender."""
    try:
        store.files.make_ready()
    except StorageUnavailable as error:
        log.warning("files_not_made_ready", why=str(error))


def to_peer(settings: PeerSettings, tls: NodeTlsSettings) -> Peer:
    """The configured peer in the node's own type; `tls` has what we show to it and whom we trust.

    One that is a DICOMweb service alone is at that service's address.
    """
    service = urlsplit(settings.stow_url)
    default_port = 443 if service.scheme == "https" else 80
    return Peer(
        name=settings.name,
        ae_title=AETitle(settings.ae_title or "STOW-RS"),
        host=settings.host or service.hostname or "",
        port=settings.port or service.port or default_port,
        may_send=settings.may_send,
        receives_results=settings.receives_results,
        enabled=settings.enabled,
        objects=object_choice(settings.objects),
        status_reports=settings.status_reports,
        stow=_stow(settings),
        delivery=_own_terms(settings),
        addresses=tuple(ip_network(word) for word in settings.addresses),
        tls=_tls(settings, tls) if settings.tls else None,
        must_identify_as=_user(settings.user_name, settings.user_passcode_env, settings.user_passcode_file),
        identify_as=_user(settings.our_user_name, settings.our_user_passcode_env, settings.our_user_passcode_file),
    )


def _tls(settings: PeerSettings, own: NodeTlsSettings) -> PeerTls:
    return PeerTls(
        ca_file=settings.tls_ca_file or own.ca_file,
        own_certificate=own.certificate,
        own_key=own.key,
        certificate_sha256=settings.tls_certificate_sha256,
        server_name=settings.tls_server_name,
        checks_name=settings.tls_check_name,
    )


def _user(name: str, variable: str, file: str) -> UserIdentity | None:
    return UserIdentity(user_name=name, passcode_variable=variable, passcode_file=file) if name else None


def _own_terms(settings: PeerSettings) -> OwnTerms:
    return OwnTerms(
        attempts=settings.attempts,
        backoff_initial_s=settings.backoff_initial_s,
        backoff_factor=settings.backoff_factor,
        backoff_maximum_s=settings.backoff_maximum_s,
        backoff_jitter=settings.backoff_jitter,
        circuit_failures=settings.circuit_failures,
        circuit_open_s=settings.circuit_open_s,
        circuit_open_maximum_s=settings.circuit_open_maximum_s,
        give_up_after_s=settings.give_up_after_s,
        hours=parse_hours(settings.delivery_hours),
        urgent_at_any_hour=settings.urgent_at_any_hour,
        storage_commitment=settings.storage_commitment,
        commitment_timeout_s=settings.commitment_timeout_s,
        commitment_attempts=settings.commitment_attempts,
    )


def _stow(settings: PeerSettings) -> StowEndpoint | None:
    if not settings.stow_url:
        return None
    return StowEndpoint(
        url=settings.stow_url,
        ca_file=settings.stow_ca_file,
        client_certificate=settings.stow_client_certificate,
        client_key=settings.stow_client_key,
        token_variable=settings.stow_token_env,
    )


def to_rule(settings: RouteSettings) -> RoutingRule:
    """The configured route in the node's own type."""
    return RoutingRule(
        name=settings.name,
        calling_ae_titles=settings.calling_ae_titles,
        modalities=settings.modalities,
        body_parts=settings.body_parts,
        descriptions=settings.descriptions,
        stations=settings.stations,
        results=tuple(ResultClass(word) for word in settings.results),
        levels=settings.levels,
        add=settings.add,
        leave_out=settings.leave_out,
    )


class ConfiguredPeers:
    """The PeerDirectory behind the configuration file; an accepted edit shows at the next call."""

    def __init__(self, source: Callable[[], tuple[PeerSettings, ...]], tls: NodeTlsSettings) -> None:
        self._source = source
        self._tls = tls
        self._last: tuple[tuple[PeerSettings, ...], tuple[Peer, ...]] = ((), ())

    @classmethod
    def following(cls, live: LivePeers, tls: NodeTlsSettings) -> ConfiguredPeers:
        """Peers that follow the file."""
        return cls(live.peers, tls)

    @classmethod
    def fixed(cls, peers: tuple[PeerSettings, ...], tls: NodeTlsSettings) -> ConfiguredPeers:
        """Peers that never change: where there is no file."""
        return cls(lambda: peers, tls)

    def peers(self) -> tuple[Peer, ...]:
        """All peers, disabled ones too; asked for each image, so the same objects while the source has the same."""
        source, known = self._source(), self._last
        if known[0] is not source:
            known = self._last = (source, tuple(to_peer(peer, self._tls) for peer in source))
        return known[1]

    def by_name(self, name: str) -> Peer | None:
        """The peer of that name; None where there is none."""
        return next((peer for peer in self.peers() if peer.name == name), None)
