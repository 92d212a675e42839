"""The DICOM conformance statement of a configuration (after PS3.2), as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.settings import Settings

_SR = "1.2.840.10008.5.1.4.1.1.88.34"
_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"


def statement(settings: Settings) -> str:
    """The statement, whole."""
    from pydicom.uid import UID

    from dicom_node.dimse.contexts import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES, VERIFICATION

    parts = [
        "# DICOM conformance statement",
        "",
        f"cspine-node {version('cspine-node')}, as configured: Application Entity `{settings.node.ae_title}` "
        f"at {settings.node.host}:{settings.node.port}.",
        "",
        "Receives CT studies, analyses them for cervical spine fractures, and stores the results at the peers below.",
        "For research; not a medical device.",
        "",
        *_association(settings),
        *_peers(settings),
        "## Services as SCP",
        "",
        "Verification and Storage (PS3.4 annexes A and B), level 2 (full). A study's other objects are stored and take "
        "no part in the analysis. Storage SOP classes that are newer than this list, and private ones, are accepted.",
        "",
        *_uids("SOP class", [VERIFICATION, *STORAGE_SOP_CLASSES], UID),
        "Each is accepted in every transfer syntax below and stored as sent; nothing is converted.",
        "",
        *_uids("Transfer syntax", TRANSFER_SYNTAXES, UID),
        *_statuses(),
        "## Services as SCU",
        "",
        "Verification, on request of an operator. Storage of the results, each in the first transfer syntax that the "
        "peer accepts:",
        "",
        "| SOP class | UID | transfer syntaxes | content |",
        "| --- | --- | --- | --- |",
        f"| {UID(_SEG).name} | {_SEG} | {UID(_EXPLICIT_LITTLE).name}, {UID(_IMPLICIT_LITTLE).name} "
        "| BINARY, one segment for each of C1 to C7 that was found |",
        f"| {UID(_SR).name} | {_SR} | {UID(_EXPLICIT_LITTLE).name}, {UID(_IMPLICIT_LITTLE).name} "
        "| TID 1500 Measurement Report: a finding for each assessed level |",
        "",
        "The instances' UIDs depend on the study, its revision, the bundle and the kind alone: a result sent twice is "
        "one instance. A failed delivery is tried again as configured under `[delivery]`.",
        "",
        "## Character sets",
        "",
        "Every one that the standard defines, in received studies; results carry the character set of their study.",
        "",
        "## Security",
        "",
        "Associations are accepted by calling AE title and address, and by called AE title. No TLS yet.",
    ]
    return "\n".join(parts) + "\n"


def _association(settings: Settings) -> list[str]:
    node = settings.node
    return [
        "## Associations",
        "",
        "| | |",
        "| --- | --- |",
        "| Application context | 1.2.840.10008.3.1.1.1 |",
        f"| Associations at once | {node.maximum_associations}, "
        f"{node.maximum_associations_per_address} for an address |",
        f"| Silence until an association is aborted | {node.network_timeout_s:g} s |",
        f"| A study is complete | {settings.study.quiet_period_s:g} s after its last instance with no association "
        f"carrying it, or {settings.study.hard_limit_s:g} s after its first |",
        "",
    ]


def _peers(settings: Settings) -> list[str]:
    rows = [
        f"| {peer.name} | `{peer.ae_title}` | {peer.host}:{peer.port} | {'yes' if peer.may_send else 'no'} "
        f"| {'yes' if peer.receives_results else 'no'} |"
        for peer in settings.peers
        if peer.enabled
    ]
    return [
        "## Peers",
        "",
        "| name | AE title | address | may send | receives results |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def _statuses() -> list[str]:
    rows = (
        ("0000", "Success: the instance is on disk and would survive a power cut"),
        ("0124", "Refused: not authorised (the peer may not send)"),
        ("A700", "Refused: out of resources (disk or database); send it again later"),
        ("A900", "Error: data set does not match SOP class"),
        ("C000", "Error: cannot understand (no UIDs, a damaged data set)"),
    )
    return [
        "C-STORE is answered with:",
        "",
        "| status | meaning |",
        "| --- | --- |",
        *(f"| {code} | {meaning} |" for code, meaning in rows),
        "",
    ]


def _uids(heading: str, uids: Iterable[str], uid_type: type) -> list[str]:
    rows = [f"| {getattr(uid_type(uid), 'name', uid)} | {uid} |" for uid in sorted(uids, key=_numerically)]
    return [f"| {heading} | UID |", "| --- | --- |", *rows, ""]


def _numerically(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]
