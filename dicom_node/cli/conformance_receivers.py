"""The part of the conformance statement about who is given results and who is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.receivers import PeerSettings
    from config.settings import Settings


def dicomweb(settings: Settings) -> list[str]:
    """What goes over HTTP."""
    peers = stow_peers(settings)
    listed = [f"| {peer.name} | {peer.stow_url} | {_authorised(peer)} |" for peer in peers]
    return [
        "### 4.2.3 DICOMweb: STOW-RS as user agent",
        "",
        '`POST {service}/studies/{study}` (PS3.18 10.5), `multipart/related; type="application/dicom"`, one instance a '
        "request, `Accept: application/dicom+json`. The Failed SOP Sequence of a 200, 202 or 409 is read as the "
        "statuses above. 408, 425, 429 and 5xx (but not 501) are tried again; 413 and 415 count as not accepted; every "
        "other status fails. Redirects are not followed.",
        "",
        *(["| peer | service | authorisation |", "| --- | --- | --- |", *listed, ""] if listed else []),
    ]


def _authorised(peer: PeerSettings) -> str:
    ways = []
    if peer.stow_token_env:
        ways.append(f"bearer token from `{peer.stow_token_env}`")
    if peer.stow_client_certificate:
        ways.append("client certificate")
    return ", ".join(ways) or "none"


def configuration(settings: Settings) -> list[str]:
    """The peers and routes of the configuration."""
    rows = [_peer_row(peer) for peer in settings.peers if peer.enabled]
    heads = ("name", "AE title", "address", "may send", "receives results", "by", "objects", "status reports")
    return [
        "### 4.4 Configuration: peers",
        "",
        f"| {' | '.join(heads)} |",
        f"| {' | '.join('---' for _ in heads)} |",
        *rows,
        "",
        "`auto` is SEG, SUSPICION_SEG, SR, TEXT_SR and SC with the fallbacks of 4.2.2; a list without it is sent to "
        "the letter. Peers are edited while the node runs; every setting: docs/CONFIGURATION.md.",
        "",
        *_routes(settings),
    ]


def _peer_row(peer: PeerSettings) -> str:
    called = f"`{peer.ae_title}` | {peer.host}:{peer.port}" if peer.ae_title else "– | –"
    objects = ", ".join(f"`{word}`" for word in peer.objects)
    way = "STOW-RS" if peer.stow_url else "C-STORE"
    facts = (_yes(peer.may_send), _yes(peer.receives_results), way, objects, _yes(peer.status_reports))
    return f"| {peer.name} | {called} | {' | '.join(facts)} |"


def _routes(settings: Settings) -> list[str]:
    if not settings.routes:
        return []
    rows = []
    for route in settings.routes:
        given = route.model_dump(exclude={"name", "add", "leave_out"})
        conditions = "; ".join(f"{key} {', '.join(values)}" for key, values in given.items() if values)
        added, left_out = ", ".join(route.add) or "–", ", ".join(route.leave_out) or "–"
        rows.append(f"| {route.name} | {conditions or 'always'} | {added} | {left_out} |")
    return ["| route | where | adds | leaves out |", "| --- | --- | --- | --- |", *rows, ""]


def other_interfaces(settings: Settings) -> list[str]:
    """What is told outside of DICOM."""
    hl7, webhook = settings.notify.hl7, settings.notify.webhook
    to_hl7 = f"to {hl7.host}:{hl7.port}{' with TLS' if hl7.tls else ''}" if hl7.enabled else "off"
    to_webhook = f"to {webhook.url}" if webhook.enabled else "off"
    return [
        "## Notifications of positive results (outside of DICOM)",
        "",
        "| interface | as configured | content |",
        "| --- | --- | --- |",
        f"| HL7 v2.5.1 ORU^R01 over MLLP | {to_hl7} | an OBX for the patient and for each level: probability (%), "
        "reference range, abnormal flag; status P. AA is accepted, AE fails, AR and silence are tried again |",
        f"| webhook (HTTP POST, JSON) | {to_webhook} | the same without name and ID of the patient, signed with "
        "HMAC-SHA256 over timestamp and body (docs/RESULTS.md) |",
        "",
    ]


def stow_peers(settings: Settings) -> list[PeerSettings]:
    """The peers that take results by STOW-RS."""
    return [peer for peer in settings.peers if peer.enabled and peer.stow_url]


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
