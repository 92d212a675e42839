"""What `cspine-node serve` runs.

Start: the data folder is locked, the sweep puts right what an earlier life left, then the receiver listens, the ticks
run and the page answers. Stop is the reverse: nothing new is accepted, the C-STORE under way is finished, leases are
given back. A kill instead of a stop loses nothing but time.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

import structlog

from config.load import LoadedSettings
from config.settings import AnalysisSettings, Settings
from dicom_node.analysis.analyzer import ChildAnalyzer
from dicom_node.analysis.evidence import last_stage
from dicom_node.app.associations import RecordAssociations
from dicom_node.app.audit_events import NoAudit
from dicom_node.app.audited import AuditedReceiver
from dicom_node.app.close_studies import CloseStudies
from dicom_node.app.commitment_duties import CommitmentDuties
from dicom_node.app.index_behind import IndexBehind
from dicom_node.app.operator_actions import OperatorActions
from dicom_node.app.receive_instance import ReceiveInstance
from dicom_node.app.report_status import ReportStatus
from dicom_node.app.requeue import Requeue
from dicom_node.app.run_analysis import AnalysisPolicy, RunAnalysis
from dicom_node.app.sweep import Sweep
from dicom_node.app.ticks import TickHealth, node_ticks
from dicom_node.app.verdicts import Verdicts
from dicom_node.bootstrap.accounts import accounts_of, check_tls_files
from dicom_node.bootstrap.auditing import audit_trail
from dicom_node.bootstrap.decoding import DecodingAhead
from dicom_node.bootstrap.delivering import (
    commitment_duties,
    make_outbox,
    notice_workers,
    object_worker,
    take_reports,
    terms_of,
)
from dicom_node.bootstrap.drift import ScoreDrift
from dicom_node.bootstrap.gpus import Gpus
from dicom_node.bootstrap.hands import receiving_processes
from dicom_node.bootstrap.indexing import DutiesBehind, IndexingThread
from dicom_node.bootstrap.leftovers import read_found_instance
from dicom_node.bootstrap.localiser import totalsegmentator
from dicom_node.bootstrap.offline import make_encoder
from dicom_node.bootstrap.peers import Administration, live_peers
from dicom_node.bootstrap.receiver_tls import plain_port, ports, tls_port
from dicom_node.bootstrap.store import ConfiguredPeers, Store, SystemClock, make_files_ready, open_store
from dicom_node.bootstrap.system import configuration, surroundings
from dicom_node.bootstrap.upkeep import quarantine_limits, quarantine_of, upkeep_tick
from dicom_node.bootstrap.watching import sources as watched
from dicom_node.bootstrap.watching import why_not_ready
from dicom_node.bootstrap.web_door import allowed_hosts, web_keys
from dicom_node.collector import spare_the_collector
from dicom_node.core.completeness import ClosePolicy
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.errors import ConfigurationError, StorageUnavailable
from dicom_node.core.peer import kinds_on_request
from dicom_node.core.retry import RetryPolicy
from dicom_node.dimse.commitment_service import CommitmentService
from dicom_node.dimse.server import DicomServer, ReceiverLimits
from dicom_node.gauges import Source, tick_samples
from dicom_node.observability import PrometheusCounters, configure_logging
from dicom_node.ports import AuditLog, Clock, PeerDirectory, ResultEncoder
from dicom_node.scheduling import TickScheduler
from dicom_node.web.app import WebSources, create_app
from dicom_node.web.server import WebServer
from storage.lock import hold_data_dir
from storage.permissions import keep_to_ourselves

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 15.0


def build_node(loaded: LoadedSettings, clock: Clock | None = None) -> Node:
    """A node that is ready to start. Raises ConfigurationError where a setting cannot work."""
    return Node(loaded, clock or SystemClock())


class Node:
    """One life of a node: `start` once, `stop` once."""

    def __init__(self, loaded: LoadedSettings, clock: Clock) -> None:
        self._loaded = loaded
        self._settings = loaded.settings
        self._clock = clock
        self._owner_prefix = f"{self._settings.node.ae_title}:"
        self._owner = f"{self._owner_prefix}{uuid.uuid4().hex[:12]}"
        self._live_peers = live_peers(loaded.path, self._settings, clock) if loaded.path else None
        self._configured_peers = (
            ConfiguredPeers.following(self._live_peers, self._settings.node.tls)
            if self._live_peers
            else ConfiguredPeers.fixed(self._settings.peers, self._settings.node.tls)
        )
        self._peers: PeerDirectory = self._configured_peers
        self._administration: Administration | None = None
        self._audit: AuditLog = NoAudit()
        self._counters = PrometheusCounters()
        self._exit = contextlib.ExitStack()
        self._stop_asked = threading.Event()
        self._server: DicomServer | None = None
        self._why_broken: Callable[[], str] = lambda: ""
        self._web: WebServer | None = None
        self._set_up_code = ""
        self._drift_samples: Source = lambda: ()

    @property
    def dicom_port(self) -> int:
        """The receiver's port, also where 0 was configured."""
        if self._server is None:
            raise RuntimeError("the node has not been started")
        return self._server.port

    @property
    def dicom_tls_port(self) -> int:
        """The receiver's port with TLS; 0 where there is none."""
        return self._server.tls_port if self._server else 0

    @property
    def web_port(self) -> int:
        """The web server's port; 0 where it is switched off."""
        return self._web.port if self._web else 0

    @property
    def web_url(self) -> str:
        """Where the pages are, for somebody at this machine; empty where there are none."""
        web = self._settings.web
        if not self._web:
            return ""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(web.host, web.host)
        return web.public_url or f"{'https' if web.tls.certificate else 'http'}://{host}:{self.web_port}"

    @property
    def set_up_url(self) -> str:
        """Where the first account is made, for whoever has started the node; empty where there is an account."""
        return f"{self.web_url}/setup?code={self._set_up_code}" if self._set_up_code else ""

    def start(self) -> None:
        """The node serves. On an error everything that was started is stopped again."""
        with contextlib.ExitStack() as starting:
            self._start(starting)
            self._exit = starting.pop_all()
        log.info("node_started", ae_title=self._settings.node.ae_title, port=self.dicom_port, web_port=self.web_port)

    def stop(self) -> None:
        """Finish what is under way, give leases back, let go of the data folder."""
        self._exit.close()
        log.info("node_stopped", ae_title=self._settings.node.ae_title)

    def run_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop.

        Raises StorageUnavailable, stopped as well, where the database can be trusted again only after a new start:
        whoever watches over the process gives it one.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop_asked.set())
        # A wait without a timeout would keep Python from running the signal handler on some platforms.
        why_broken = ""
        while not why_broken and not self._stop_asked.wait(1.0):
            why_broken = self._why_broken()
        self.stop()
        if why_broken:
            raise StorageUnavailable(why_broken)

    def _start(self, starting: contextlib.ExitStack) -> None:
        settings = self._settings
        keep_to_ourselves()
        configure_logging(settings.log.level, settings.log.format)
        starting.enter_context(hold_data_dir(settings.node.data_dir))
        store = open_store(settings, self._clock)
        starting.callback(store.close)
        self._audit = starting.enter_context(audit_trail(settings, self._clock, self._counters))
        if self._live_peers:
            self._administration = Administration(
                self._live_peers, self._configured_peers, settings=settings, audit=self._audit, clock=self._clock
            )
            self._peers = self._administration.directory
        requeue = self._requeue(store)
        duties = commitment_duties(settings, store, self._peers)
        store.database.empty_log()
        behind = IndexBehind(
            uow_factory=store.unit_of_work,
            reading=store.reading,
            files=store.files,
            holds=store.database.holds_instance,
        )
        indexing = IndexingThread(behind)
        self._why_broken = lambda: store.database.failure or indexing.failure
        self._sweep(store, requeue).run()
        make_files_ready(store)
        indexing.start()
        starting.callback(indexing.stop, STOP_TIMEOUT_S)
        ahead = DecodingAhead(settings, store, self._counters)
        ahead.start()
        starting.callback(ahead.close)
        self._counters.watch(ahead.samples)
        scheduler, health = self._scheduler(store, requeue, duties, ahead)
        self._server = self._receiver(store, duties, behind, ahead)
        if self._server.hands is not None:
            starting.callback(self._server.hands.stop, STOP_TIMEOUT_S)
            self._server.hands.start()
        # Before senders come: loading all that pages need would take the processor from the first of them.
        web = self._web_server(store, health) if settings.web.enabled else None
        spare_the_collector()
        self._listen(starting)
        scheduler.start()
        starting.callback(scheduler.stop, timeout_s=STOP_TIMEOUT_S)
        if web is not None:
            self._web = web
            try:
                web.start()
            except OSError as error:
                raise ConfigurationError(
                    f"cannot listen on {settings.web.host}:{settings.web.port}: {error.strerror}",
                    key="web.port",
                    value=settings.web.port,
                ) from error
            starting.callback(web.stop)

    def _listen(self, starting: contextlib.ExitStack) -> None:
        assert self._server is not None
        try:
            self._server.start()
        except OSError as error:
            node = self._settings.node
            wanted = ports(node)
            raise ConfigurationError(
                f"cannot listen on {node.host}:{' and '.join(map(str, wanted.values()))}: {error.strerror}",
                key=next(iter(wanted)),
                value=node.port,
            ) from error
        starting.callback(self._server.stop, STOP_TIMEOUT_S)

    def _sweep(self, store: Store, requeue: Requeue) -> Sweep:
        return Sweep(
            uow_factory=store.unit_of_work,
            files=store.files,
            clock=self._clock,
            requeue=requeue,
            read_found=read_found_instance,
            owner=self._owner,
            owner_prefix=self._owner_prefix,
        )

    def _requeue(self, store: Store) -> Requeue:
        general = terms_of(self._settings.delivery)

        def terms(name: str) -> DeliveryTerms:
            peer = self._peers.by_name(name)
            return general if peer is None else peer.delivery.over(general)

        return Requeue(
            uow_factory=store.unit_of_work,
            clock=self._clock,
            lost_jobs_limit=self._settings.analysis.attempts,
            terms_of=terms,
            evidence_of=lambda job: last_stage(store.files.job_folder(job.id) / f"attempt-{job.attempt}"),
        )

    def _receiver(
        self, store: Store, duties: CommitmentDuties, behind: IndexBehind, ahead: DecodingAhead
    ) -> DicomServer:
        node = self._settings.node
        receiver = AuditedReceiver(
            receive=ReceiveInstance(
                uow_factory=store.unit_of_work,
                files=store.files,
                clock=self._clock,
                counters=self._counters,
                min_free_bytes=node.min_free_bytes,
                quarantine=quarantine_limits(self._settings),
                behind=behind,
                ahead=ahead.use_case,
            ),
            associations=RecordAssociations(uow_factory=store.unit_of_work, clock=self._clock, behind=behind),
            audit=self._audit,
            clock=self._clock,
            ae_title=node.ae_title,
        )
        return DicomServer(
            ae_title=node.ae_title,
            host=node.host,
            port=plain_port(node),
            peers=self._peers,
            receive=receiver.receive,
            associations=receiver,
            on_refused=receiver.refused,
            commitment=CommitmentService(
                duties=DutiesBehind(duties, behind), take_report=take_reports(self._settings, store, self._peers)
            ),
            counters=self._counters,
            clock=self._clock,
            limits=ReceiverLimits(
                maximum_associations=node.maximum_associations,
                maximum_associations_per_address=node.maximum_associations_per_address,
                maximum_waiting=node.maximum_waiting,
                maximum_waiting_per_address=node.maximum_waiting_per_address,
                requests_per_second_per_address=node.requests_per_second_per_address,
                handshake_timeout_s=node.tls.handshake_timeout_s,
                acse_timeout_s=node.request_timeout_s,
                network_timeout_s=node.network_timeout_s,
                receiving_memory_bytes=node.receiving_memory_mb << 20,
                shares_a_core=node.receiving_on_one_core,
            ),
            tls=tls_port(node.tls),
            hands=receiving_processes(self._settings, store, self._counters),
        )

    def _scheduler(
        self, store: Store, requeue: Requeue, duties: CommitmentDuties, ahead: DecodingAhead
    ) -> tuple[TickScheduler, TickHealth]:
        settings = self._settings
        stopping = _Stopping()
        ticks = node_ticks(
            close_studies=CloseStudies(
                uow_factory=store.unit_of_work,
                clock=self._clock,
                counters=self._counters,
                policy=ClosePolicy(
                    quiet_period_s=settings.study.quiet_period_s,
                    hard_limit_s=settings.study.hard_limit_s,
                    up_since=self._clock.now(),
                ),
            ),
            requeue=requeue,
            run_analysis=self._analysis(store, ahead),
            deliver_results=object_worker(
                settings, store, self._peers, counters=self._counters, audit=self._audit, owner=self._owner
            ),
            report_status=ReportStatus(
                uow_factory=store.unit_of_work,
                files=store.files,
                encoder=self._encoder(),
                outbox=make_outbox(settings, self._peers),
                clock=self._clock,
            ),
            commitment_duties=duties,
            notices=notice_workers(settings, store, counters=self._counters, owner=self._owner),
            is_stopping=stopping,
            period_s=settings.scheduler.tick_s,
            analysis_workers=settings.inference.workers,
            delivery_workers=settings.delivery.workers,
            # Twice: what does not fit on the GPU is analysed on the CPU in the same attempt.
            longest_analysis_s=2 * settings.inference.timeout_s,
        )
        drift = ScoreDrift(store)
        self._counters.watch(drift.samples)
        self._drift_samples = drift.samples
        ticks += (upkeep_tick(settings, store, self._counters, self._audit), drift.tick(), *ahead.ticks(stopping))
        health = TickHealth(ticks, clock=self._clock)
        scheduler = TickScheduler(ticks, health=health)
        stopping.ask = scheduler.is_stopping
        return scheduler, health

    def _analysis(self, store: Store, ahead: DecodingAhead) -> RunAnalysis:
        settings = self._settings
        return RunAnalysis(
            uow_factory=store.unit_of_work,
            files=store.files,
            analyzer=ChildAnalyzer(
                bundle=settings.inference.bundle,
                device=settings.inference.device,
                threads=settings.inference.threads or None,
                timeout_s=settings.inference.timeout_s,
                memory_limit_mb=settings.inference.memory_limit_mb,
                localiser=totalsegmentator(settings.inference),
            ),
            encoder=self._encoder(),
            outbox=make_outbox(settings, self._peers),
            clock=self._clock,
            counters=self._counters,
            policy=AnalysisPolicy(retry=_analysis_retry(settings.analysis), lease_s=settings.scheduler.lease_s),
            owner=self._owner,
            randomness=random.random,
            decoded=ahead.files,
        )

    def _encoder(self) -> ResultEncoder:
        return make_encoder(self._settings, lambda: kinds_on_request(self._peers.peers()))

    def _watch(self, store: Store, health: TickHealth) -> None:
        """What the metrics page looks up whenever it is read."""
        assert self._server is not None
        live = self._live_peers
        self._counters.watch(
            lambda: tick_samples(health.reports()),
            *watched(
                self._settings,
                store,
                self._server,
                version=version("cspine-node"),
                peers_problem=lambda: live.problem if live else "",
            ),
            self._gpus,
        )

    def _settings_now(self) -> Settings:
        """With the peers as they are in use."""
        live = self._live_peers
        return self._settings.model_copy(update={"peers": live.peers()}) if live else self._settings

    def _web_server(self, store: Store, health: TickHealth) -> WebServer:
        assert self._server is not None
        receiver = self._server
        web = self._settings.web
        live = self._live_peers
        check_tls_files(web)
        keys = web_keys(self._settings, store, audit=self._audit, clock=self._clock)
        self._set_up_code = keys.log_in.set_up_code()
        self._gpus = Gpus()
        self._watch(store, health)
        sources = WebSources(
            unit_of_work=store.reading,
            clock=self._clock,
            health=health.reports,
            peers=self._peers,
            counters_registry=self._counters.registry,
            job_folder=store.files.job_folder,
            readiness=lambda: why_not_ready(self._settings, store, receiver),
            peers_problem=lambda: live.problem if live else "",
            receiver_host=self._settings.node.host,
            receiver_ports=lambda: (receiver.port if receiver.port != receiver.tls_port else 0, receiver.tls_port),
            ae_title=self._settings.node.ae_title,
            version=version("cspine-node"),
            audit=self._audit,
            keys=keys,
            operator=OperatorActions(uow_factory=store.unit_of_work, clock=self._clock, counters=self._counters),
            quarantine=quarantine_of(store),
            verdicts=Verdicts(uow_factory=store.unit_of_work, clock=self._clock),
            accounts=accounts_of(store),
            surroundings=surroundings(self._settings, gpus=self._gpus, drift=self._drift_samples),
            configuration=lambda: configuration(replace(self._loaded, settings=self._settings_now())),
            manage_peers=self._administration.manage if self._administration else None,
        )
        return WebServer(
            create_app(sources, allowed_hosts=allowed_hosts(web)),
            host=web.host,
            port=web.port,
            certificate=web.tls.certificate,
            key=web.tls.key,
        )


class _Stopping:
    """Ticks are built before the scheduler that can be asked whether it stops."""

    def __init__(self) -> None:
        self.ask: Callable[[], bool] = lambda: False

    def __call__(self) -> bool:
        return self.ask()


def _analysis_retry(settings: AnalysisSettings) -> RetryPolicy:
    return RetryPolicy(
        base_s=settings.backoff_initial_s,
        factor=settings.backoff_factor,
        cap_s=settings.backoff_maximum_s,
        max_attempts=settings.attempts,
    )
