"""What delivers and what tells, as the settings say: senders, notifiers, and the workers around them."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Mapping

from config.receivers import Hl7Settings, WebhookSettings
from config.settings import DeliverySettings, Settings
from dicom_node.app.audited import AuditedCarrier
from dicom_node.app.carry_notices import NoticeCarrier
from dicom_node.app.carry_objects import ObjectCarrier
from dicom_node.app.commitment_duties import CommitmentDuties
from dicom_node.app.commitments import TakeReports
from dicom_node.app.deliver_results import Carrier, DeliverResults, DeliveryPolicy
from dicom_node.app.outbox import Outbox
from dicom_node.bootstrap.leftovers import read_found_instance
from dicom_node.bootstrap.senders import ChosenSender
from dicom_node.bootstrap.store import Store, to_rule
from dicom_node.core.delivery import Channel
from dicom_node.core.delivery_terms import CircuitPolicy, CommitmentTerms, DeliveryTerms
from dicom_node.core.errors import ConfigurationError
from dicom_node.core.retry import RetryPolicy
from dicom_node.dimse.commitment import DimseCommitter
from dicom_node.dimse.requestor import Timeouts
from dicom_node.dimse.sender import DimseSender
from dicom_node.notify.mllp import Hl7Notifier, Listener
from dicom_node.notify.oru import Parties
from dicom_node.notify.webhook import Receiver, WebhookNotifier
from dicom_node.ports import AuditLog, Clock, Counters, Notifier, PeerDirectory, StorageCommitter
from dicom_node.stow.sender import StowSender


def make_outbox(settings: Settings, peers: PeerDirectory) -> Outbox:
    """Who is sent what when a job ends."""
    told = {Channel.HL7: settings.notify.hl7.enabled, Channel.WEBHOOK: settings.notify.webhook.enabled}
    return Outbox(
        peers=peers,
        rules=tuple(to_rule(route) for route in settings.routes),
        notifies=tuple(channel for channel, is_on in told.items() if is_on),
    )


def object_worker(
    settings: Settings, store: Store, peers: PeerDirectory, *, counters: Counters, audit: AuditLog, owner: str
) -> DeliverResults:
    """Delivers objects to peers, by C-STORE or STOW-RS as each is configured."""
    answer_s = settings.delivery.timeout_s
    sender = ChosenSender(
        dimse=DimseSender(own_aet=settings.node.ae_title, clock=store.clock, timeouts=Timeouts(answer_s=answer_s)),
        stow=StowSender(clock=store.clock, timeout_s=answer_s),
    )
    carrier = ObjectCarrier(
        uow_factory=store.unit_of_work,
        sender=sender,
        peers=peers,
        clock=store.clock,
        committer=committer(settings),
        terms=terms_of(settings.delivery),
    )
    audited = AuditedCarrier(
        carrier,
        audit=audit,
        uow_factory=store.reading,
        peers=peers,
        clock=store.clock,
        ae_title=settings.node.ae_title,
    )
    return _worker(settings, store, {Channel.OBJECTS: audited}, counters=counters, owner=owner, peers=peers)


def committer(settings: Settings) -> StorageCommitter:
    """Storage commitment with peers."""
    return DimseCommitter(own_aet=settings.node.ae_title, timeouts=Timeouts(answer_s=settings.delivery.timeout_s))


def take_reports(settings: Settings, store: Store, peers: PeerDirectory) -> TakeReports:
    """Takes what peers report on our results."""
    return TakeReports(
        uow_factory=store.unit_of_work,
        peers=peers,
        clock=store.clock,
        terms=terms_of(settings.delivery),
        randomness=random.random,
    )


def commitment_duties(settings: Settings, store: Store, peers: PeerDirectory) -> CommitmentDuties:
    """Answers those who ask whether we keep what they sent."""
    return CommitmentDuties(
        uow_factory=store.unit_of_work,
        files=store.files,
        peers=peers,
        committer=committer(settings),
        read_found=read_found_instance,
        clock=store.clock,
        terms=terms_of(settings.delivery),
        randomness=random.random,
    )


def terms_of(settings: DeliverySettings) -> DeliveryTerms:
    """How every peer is served that says nothing for itself."""
    return DeliveryTerms(
        retry=_retry(settings),
        circuit=CircuitPolicy(
            failures=settings.circuit_failures,
            open_s=settings.circuit_open_s,
            open_maximum_s=settings.circuit_open_maximum_s,
        ),
        give_up_after_s=settings.give_up_after_s,
        commitment=CommitmentTerms(timeout_s=settings.commitment_timeout_s, attempts=settings.commitment_attempts),
    )


def notice_workers(settings: Settings, store: Store, *, counters: Counters, owner: str) -> dict[str, DeliverResults]:
    """Tell of positive results, one worker a channel. Raises ConfigurationError for a missing secret.

    Notices that were queued while a channel was on wait while it is off.
    """
    notifiers: dict[Channel, Notifier] = {}
    if settings.notify.hl7.enabled:
        notifiers[Channel.HL7] = _hl7(settings.notify.hl7, settings.node.ae_title, store.clock)
    if settings.notify.webhook.enabled:
        notifiers[Channel.WEBHOOK] = _webhook(settings.notify.webhook, store.clock, os.environ)
    workers: dict[str, DeliverResults] = {}
    for channel, notifier in notifiers.items():
        carrier = NoticeCarrier(uow_factory=store.unit_of_work, notifier=notifier)
        workers[channel.value] = _worker(settings, store, {channel: carrier}, counters=counters, owner=owner)
    return workers


def _worker(
    settings: Settings,
    store: Store,
    carriers: Mapping[Channel, Carrier],
    *,
    counters: Counters,
    owner: str,
    peers: PeerDirectory | None = None,
) -> DeliverResults:
    return DeliverResults(
        uow_factory=store.unit_of_work,
        carriers=carriers,
        clock=store.clock,
        counters=counters,
        policy=DeliveryPolicy(terms=terms_of(settings.delivery), lease_s=settings.scheduler.lease_s),
        owner=owner,
        randomness=random.random,
        peers=peers,
    )


def _hl7(settings: Hl7Settings, ae_title: str, clock: Clock) -> Hl7Notifier:
    listener = Listener(
        host=settings.host,
        port=settings.port,
        timeout_s=settings.timeout_s,
        tls=_tls(settings) if settings.tls else None,
    )
    parties = Parties(
        sending_application=ae_title,
        sending_facility=settings.sending_facility,
        receiving_application=settings.receiving_application,
        receiving_facility=settings.receiving_facility,
    )
    return Hl7Notifier(listener, parties, clock=clock)


def _tls(settings: Hl7Settings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.tls_ca_file or None)
    except (OSError, ssl.SSLError) as error:
        key = "notify.hl7.tls_ca_file"
        raise ConfigurationError(f"{key} cannot be used: {error}", key=key, value=settings.tls_ca_file) from error


def _webhook(settings: WebhookSettings, clock: Clock, environ: Mapping[str, str]) -> WebhookNotifier:
    if not environ.get(settings.secret_env):
        raise ConfigurationError(
            f"notify.webhook is enabled and the environment variable {settings.secret_env} holds no secret",
            key="notify.webhook.secret_env",
            value=settings.secret_env,
        )
    receiver = Receiver(
        url=settings.url,
        secret_variable=settings.secret_env,
        timeout_s=settings.timeout_s,
        ca_file=settings.ca_file,
    )
    return WebhookNotifier(receiver, clock=clock, environ=environ)


def _retry(settings: DeliverySettings) -> RetryPolicy:
    return RetryPolicy(
        base_s=settings.backoff_initial_s,
        factor=settings.backoff_factor,
        cap_s=settings.backoff_maximum_s,
        jitter=settings.backoff_jitter,
        max_attempts=settings.attempts,
    )
