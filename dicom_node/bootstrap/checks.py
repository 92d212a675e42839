"""Would this configuration work? And: C-ECHO and C-STORE from the command line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import ConfigError
from config.load import LoadedSettings, check_port_free
from config.receivers import PeerSettings
from config.settings import NodeTlsSettings, Settings
from config.web import WebSettings
from dicom_node.bootstrap.accounts import check_web_files
from dicom_node.bootstrap.localiser import totalsegmentator
from dicom_node.bootstrap.receiver_tls import ports, tls_port
from dicom_node.bootstrap.store import open_store, to_peer
from dicom_node.core.errors import ConfigurationError, NodeError, PeerUnreachable

if TYPE_CHECKING:
    from dicom_node.dimse.sender import SendReport

Progress = Callable[[str, float], None]
SENDING = "sending"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of `cspine-node check`."""

    name: str
    ok: bool
    detail: str


def run_checks(loaded: LoadedSettings) -> list[Check]:
    """Everything that can be looked at without starting the node. Never raises for a check that fails."""
    settings = loaded.settings
    is_running = _is_served(settings)
    checks = [Check(name="configuration", ok=True, detail=str(loaded.path))]
    names = {"node.port": "receiver port", "node.tls.port": "receiver TLS port"}
    for key, port in ports(settings.node).items():
        checks.append(_port(names[key], settings.node.host, port, is_running))
    checks += _receiver_tls(settings)
    if settings.web.enabled:
        checks.append(_port("web port", settings.web.host, settings.web.port, is_running))
        checks += _web_files(settings.web)
    checks += _storage(settings)
    checks.append(_bundle(settings))
    checks += _localiser(settings)
    checks += [_peer(peer, settings) for peer in settings.peers if peer.enabled]
    checks += notified(settings)
    if not any(peer.enabled and peer.may_send for peer in settings.peers):
        checks.append(Check(name="peers", ok=False, detail="no enabled peer may send: nothing will ever arrive"))
    return checks


def _web_files(web: WebSettings) -> list[Check]:
    """Certificate, key and token of the web server, where it has any."""
    if not web.tls.certificate and not web.metrics_token_file:
        return []
    try:
        check_web_files(web)
    except ConfigurationError as error:
        return [Check(name="web files", ok=False, detail=str(error))]
    return [Check(name="web files", ok=True, detail=web.tls.certificate or web.metrics_token_file)]


def echo_peer(settings: Settings, name: str) -> float:
    """C-ECHO to the configured peer; returns milliseconds. Raises ConfigurationError, PeerUnreachable."""
    from dicom_node.dimse.echo import echo

    answer = echo(to_peer(_configured(settings, name), settings.node.tls), settings.node.ae_title)
    if not answer.ok:
        raise PeerUnreachable(f"peer {name}: {answer.why}")
    return answer.ms


def send_path(settings: Settings, path: Path, name: str, progress: Progress | None = None) -> SendReport:
    """C-STORE every DICOM file under `path` to the configured peer; what became of each. Raises NodeError."""
    from dicom_node.dimse.part10 import files_below
    from dicom_node.dimse.sender import FileAnswer, send_files

    files = files_below([path])
    done = 0

    def report(_answer: FileAnswer) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(SENDING, done / len(files))

    return send_files(
        to_peer(_configured(settings, name), settings.node.tls), files, report, own_aet=settings.node.ae_title
    )


def _configured(settings: Settings, name: str) -> PeerSettings:
    for peer in settings.peers:
        if peer.name == name and not peer.ae_title:
            raise ConfigurationError(f"peer {name!r} is a DICOMweb service alone: `cspine-node check` looks at it")
        if peer.name == name:
            return peer
    known = ", ".join(peer.name for peer in settings.peers) or "none"
    raise ConfigurationError(f"no peer is called {name!r}; configured peers: {known}")


def _is_served(settings: Settings) -> bool:
    """Whether a node is running on this data folder: then its ports are in use, and rightly so."""
    from storage.lock import hold_data_dir

    try:
        with hold_data_dir(settings.node.data_dir):
            return False
    except ConfigurationError:
        return True


def _port(name: str, host: str, port: int, is_running: bool) -> Check:
    try:
        check_port_free(host, port, key=name, source="configuration")
    except ConfigError as error:
        if is_running:
            return Check(name=name, ok=True, detail=f"{host}:{port} is in use by the running node")
        return Check(name=name, ok=False, detail=str(error))
    return Check(name=name, ok=True, detail=f"{host}:{port} is free")


def _receiver_tls(settings: Settings) -> list[Check]:
    from dicom_node.dimse.tls import server_context

    receiver = tls_port(settings.node.tls)
    if receiver is None:
        return []
    try:
        server_context(receiver)
    except ConfigurationError as error:
        return [Check(name="receiver TLS", ok=False, detail=str(error))]
    detail = f"{receiver.files.certificate}, client certificates {receiver.client_certificates.value}"
    return [Check(name="receiver TLS", ok=True, detail=detail)]


def _storage(settings: Settings) -> list[Check]:
    try:
        store = open_store(settings)
    except (NodeError, OSError) as error:
        return [Check(name="storage", ok=False, detail=str(error))]
    try:
        store.database.ping()
        free_bytes = store.files.free_bytes()
    except NodeError as error:
        return [Check(name="storage", ok=False, detail=str(error))]
    finally:
        store.close()
    enough = free_bytes >= settings.node.min_free_bytes
    detail = f"{free_bytes / 1e9:.1f} GB free in {settings.node.data_dir}"
    return [
        Check(name="database", ok=True, detail=settings.database.url.partition("@")[2] or settings.database.url),
        Check(name="disk", ok=enough, detail=detail if enough else f"{detail}: C-STORE would be refused"),
    ]


def _bundle(settings: Settings) -> Check:
    from inference.bundle import load_bundle
    from inference.bundle_files import BundleError

    try:
        bundle = load_bundle(settings.inference.bundle)
    except BundleError as error:
        return Check(name="bundle", ok=False, detail=str(error))
    return Check(name="bundle", ok=True, detail=f"{bundle.name} {bundle.version}, sha256 {bundle.sha256[:12]}")


def _localiser(settings: Settings) -> list[Check]:
    """TotalSegmentator, where it is configured; the bundle's own network is part of the bundle."""
    from inference.errors import LocaliserError
    from inference.totalsegmentator_process import probe

    chosen = totalsegmentator(settings.inference)
    if chosen is None:
        return []
    try:
        answer = probe(chosen)
    except LocaliserError as error:
        return [Check(name="localiser", ok=False, detail=str(error))]
    return [Check(name="localiser", ok=True, detail=f"TotalSegmentator {answer.version}, task {chosen.task}")]


def _peer(peer: PeerSettings, settings: Settings) -> Check:
    name = f"peer {peer.name}"
    if peer.stow_url and peer.receives_results:
        return _stow(name, peer, settings.node.tls)
    if not peer.receives_results:
        return Check(name=name, ok=True, detail=f"{peer.ae_title} only sends; not called")
    try:
        elapsed_ms = echo_peer(settings, peer.name)
    except NodeError as error:
        return Check(name=name, ok=False, detail=str(error))
    return Check(name=name, ok=True, detail=f"{peer.ae_title} answered C-ECHO in {elapsed_ms:.0f} ms")


def _stow(name: str, peer: PeerSettings, tls: NodeTlsSettings) -> Check:
    from dicom_node.stow.probe import probe

    try:
        elapsed_ms, status = probe(to_peer(peer, tls))
    except NodeError as error:
        return Check(name=name, ok=False, detail=str(error))
    return Check(name=name, ok=True, detail=f"{peer.stow_url} answered {status} in {elapsed_ms:.0f} ms")


def notified(settings: Settings) -> list[Check]:
    """The systems that are told of positives. Nothing is sent to them: they would act on it."""
    checks: list[Check] = []
    hl7, webhook = settings.notify.hl7, settings.notify.webhook
    if hl7.enabled:
        at = f"{hl7.host}:{hl7.port}"
        try:
            socket.create_connection((hl7.host, hl7.port), timeout=hl7.timeout_s).close()
        except OSError as error:
            checks.append(Check(name="notify hl7", ok=False, detail=f"nobody listens at {at}: {error}"))
        else:
            checks.append(Check(name="notify hl7", ok=True, detail=f"{at} takes connections"))
    if webhook.enabled:
        has_secret = bool(os.environ.get(webhook.secret_env))
        detail = f"{webhook.url}, signed with {webhook.secret_env}"
        if not has_secret:
            detail = f"the environment variable {webhook.secret_env} holds no secret: the node would not start"
        checks.append(Check(name="notify webhook", ok=has_secret, detail=detail))
    return checks
