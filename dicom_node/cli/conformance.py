"""The DICOM conformance statement of a configuration, as Markdown, in the form of PS3.2 annex A.

How to edit: the numbers of the sections are those of the template, so that readers find what they look for where they
always find it. What depends on the configuration comes from the settings, what depends on the program from the tables
that the program itself works with.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING

from dicom_node.cli.conformance_objects import coded_terms, created_objects, fallbacks
from dicom_node.cli.conformance_receivers import configuration, dicomweb, other_interfaces, stow_peers

if TYPE_CHECKING:
    from config.settings import Settings

_SYNTAXES_WE_SEND = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def statement(settings: Settings) -> str:
    """The statement, whole."""
    parts = [
        *_overview(settings),
        *_introduction(),
        "## 4 Networking",
        "",
        *_implementation_model(settings),
        *_acceptance(settings),
        *_initiation(settings),
        *dicomweb(settings),
        *configuration(settings),
        "## 5 Media interchange",
        "",
        "None.",
        "",
        "## 6 Support of character sets",
        "",
        "Received studies: every character set that the standard defines, ISO 2022 with code extensions, GB18030 and "
        "UTF-8 among them. Created objects carry the character set, and the patient's and the study's texts, of their "
        "study.",
        "",
        *_security(settings),
        *_annexes(),
        *other_interfaces(settings),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _overview(settings: Settings) -> list[str]:
    return [
        "# DICOM conformance statement",
        "",
        "## 1 Overview",
        "",
        f"cspine-node {version('cspine-node')}, as configured: Application Entity `{settings.node.ae_title}` "
        f"at {settings.node.host}:{settings.node.port}.",
        "",
        "Receives CT studies, analyses them for cervical spine fractures, and stores the results at the peers below.",
        "For research; not a medical device.",
        "",
        "| network service | as user (SCU) | as provider (SCP) |",
        "| --- | --- | --- |",
        "| Verification | yes, on request of an operator | yes |",
        "| Storage | yes, the created objects of 8.1 | yes, the SOP classes of 4.2.1.4 |",
        f"| STOW-RS (DICOMweb) | {'yes' if stow_peers(settings) else 'yes, no peer uses it'} | no |",
        f"| Storage Commitment Push Model | {_commitment_as_scu(settings)} | yes, for received instances |",
        "| Query/Retrieve, Modality Worklist, MPPS, Print | no | no |",
        "",
    ]


def _commitment_as_scu(settings: Settings) -> str:
    asked = ", ".join(peer.name for peer in settings.peers if peer.storage_commitment)
    return f"yes, of {asked}" if asked else "yes, no peer is asked"


def _introduction() -> list[str]:
    return [
        "## 3 Introduction",
        "",
        "For integrators and for those who run the node. Terms are those of PS3.2, PS3.3, PS3.4, PS3.7 and PS3.18. A "
        "*peer* is a remote Application Entity of the configuration; a *revision* is the nth time that a study was "
        "complete; a *bundle* is a version of the model. This statement is generated from the running configuration "
        "(`cspine-node conformance`). It does not by itself guarantee that two products work together: test it.",
        "",
    ]


def _implementation_model(settings: Settings) -> list[str]:
    return [
        "### 4.1 Implementation model",
        "",
        f"One Application Entity, `{settings.node.ae_title}`, accepts and requests associations. A study is complete "
        f"{settings.study.quiet_period_s:g} s after its last instance with no association carrying it, or "
        f"{settings.study.hard_limit_s:g} s after its first; then it is analysed, and the results are delivered. "
        "A later instance opens another revision, whose reports name their predecessor.",
        "",
        "| | |",
        "| --- | --- |",
        "| Application context | 1.2.840.10008.3.1.1.1 |",
        *_implementation_rows(),
        f"| Associations accepted at once | {settings.node.maximum_associations}, "
        f"{settings.node.maximum_associations_per_address} for an address |",
        f"| Associations requested at once | {settings.delivery.workers}, one for a peer |",
        "| Asynchronous operations | not negotiated |",
        f"| Silence until an association is aborted | {settings.node.network_timeout_s:g} s |",
        "",
    ]


def _implementation_rows() -> list[str]:
    from dicom_node.dimse.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

    return [
        f"| Implementation Class UID | {IMPLEMENTATION_CLASS_UID} |",
        f"| Implementation Version Name | {IMPLEMENTATION_VERSION_NAME} |",
        "| Maximum PDU length | 131072 bytes, proposed and accepted |",
    ]


def _acceptance(settings: Settings) -> list[str]:
    from pydicom.uid import UID

    from dicom_node.dimse.contexts import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES, VERIFICATION

    return [
        "### 4.2.1 Association acceptance: services as SCP",
        "",
        f"Associations are accepted that call `{settings.node.ae_title}`, from AE titles and addresses of peers that "
        "may send; others are rejected.",
        "",
        "#### 4.2.1.4 Presentation contexts",
        "",
        "Verification and Storage (PS3.4 annexes A and B), level 2 (full). A study's other objects are stored and take "
        "no part in the analysis. Storage SOP classes that are newer than this list, and private ones, are accepted.",
        "",
        *_uids("SOP class", [VERIFICATION, *STORAGE_SOP_CLASSES], UID),
        "Each is accepted in every transfer syntax below and stored as sent; nothing is converted.",
        "",
        *_uids("Transfer syntax", TRANSFER_SYNTAXES, UID),
        *_statuses(),
        "#### 4.2.1.5 Storage commitment",
        "",
        "Storage Commitment Push Model (1.2.840.10008.1.20.1, PS3.4 annex J), in Implicit and Explicit VR Little "
        "Endian. A peer that may send may ask (N-ACTION); it is asked whether the instance is known, of the SOP class "
        "named, and whether its file is there with the bytes that were received. The N-EVENT-REPORT comes on the same "
        "association while that is open, else on one that the node requests of the peer with the role of the SCP, "
        "and is tried again as deliveries are. Failure reasons: 0110 (the file is damaged), 0112 (not known, or no "
        "longer here), 0119 (another SOP class). Instances are not kept for ever: what a retention rule removes is "
        "known no longer. A peer with storage_commitment may open associations to report on our results (role "
        "selection is accepted), and may not store without may_send.",
        "",
    ]


def _initiation(settings: Settings) -> list[str]:
    from pydicom.uid import UID

    syntaxes = ", ".join(UID(uid).name for uid in _SYNTAXES_WE_SEND)
    return [
        "### 4.2.2 Association initiation: services as SCU",
        "",
        "Verification, on request of an operator; the contexts of the results are then proposed as well, on an "
        "association of their own that sends nothing. Storage of the results: every object that a peer is to get, and "
        "every one that may stand in for it, is proposed in one association, each SOP class in each transfer syntax "
        f"({syntaxes}). What is sent follows from what is accepted:",
        "",
        *fallbacks(),
        "An object that is answered with 0122 or A9xx counts as not accepted as well. A choice is kept at later "
        "attempts for as long as the peer takes it, so that the same findings do not arrive twice. Where no report of "
        "any kind is accepted the delivery fails and is shown; nothing is left out without a word in its history.",
        "",
        "#### 4.2.2.3 How the peer's status is read",
        "",
        "| status | meaning | behaviour |",
        "| --- | --- | --- |",
        "| 0000, 0001, 0107, Bxxx | Success, or a warning | stored |",
        "| 0111 | Duplicate SOP instance | stored: UIDs depend on the result alone |",
        "| A7xx, 0110, 0213 | Out of resources, processing failure | the association ends, tried again |",
        "| Cxxx | Cannot understand, used for anything | the others are sent, tried again |",
        "| 0122, A9xx | SOP class not supported, does not match | another kind stands in, else failed |",
        "| others | Refused | failed; the others are sent |",
        "",
        f"Tried again: at most {settings.delivery.attempts} attempts, {settings.delivery.backoff_initial_s:g} s to "
        f"{settings.delivery.backoff_maximum_s:g} s apart; {settings.delivery.timeout_s:g} s for an answer. A peer "
        f"that cannot be reached is probed every {settings.delivery.circuit_open_maximum_s:g} s at the latest, which "
        f"counts no attempt, for {settings.delivery.give_up_after_s / 86_400:g} days. The UIDs "
        "of the objects depend on the study, its revision, the bundle and the kind alone: a result sent twice is one "
        "instance.",
        "",
        "#### 4.2.2.4 Storage commitment",
        "",
        "Where a peer is configured with storage_commitment, it is asked to commit (N-ACTION of the Push Model) once "
        "it has stored all objects of a delivery. Its report is taken on the same association for a second, and on "
        "any that it opens later. What it does not commit to is sent again. Without a report in "
        f"{settings.delivery.commitment_timeout_s:g} s it is asked again, {settings.delivery.commitment_attempts} "
        "times in all; then the delivery is shown as failed. The files are kept until it has committed.",
        "",
    ]


def _security(settings: Settings) -> list[str]:
    return [
        "## 7 Security",
        "",
        "Associations are accepted by calling AE title and address or network, by called AE title, and for the peers "
        "that are configured so by TLS, a pinned certificate and a user identity.",
        "",
        "| | |",
        "| --- | --- |",
        f"| Secure transport as acceptor | {_tls_as_acceptor(settings)} |",
        f"| Secure transport as requestor | {_tls_as_requestor(settings)} |",
        "| Profile | BCP 195 RFC 8996, 9325 TLS (PS3.15 B.12): TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM; nothing "
        "older or weaker is negotiated. Peers of the Non-Downgrading BCP 195 profile (B.10) meet it in the ECDHE "
        "suites of both |",
        "| User identity negotiation (PS3.7 D.3.3.7) | user name (type 1), user name and passcode (type 2), as "
        "acceptor and as requestor, with the positive response where asked for; other types are not evaluated |",
        f"| Connections without an association | {settings.node.maximum_waiting}, "
        f"{settings.node.maximum_waiting_per_address} for an address, closed after "
        f"{settings.node.request_timeout_s:g} s (ARTIM) |",
        "",
        "STOW-RS and the webhook use HTTPS with the certificates of the system or those configured. Tokens, passcodes "
        "and secrets come from the environment or from files of their own and are never stored. Logs hold no patient's "
        "name, ID or data set.",
        "",
    ]


def _tls_as_acceptor(settings: Settings) -> str:
    tls = settings.node.tls
    if tls.mode == "off":
        return "not configured"
    where = "beside the plain one" if tls.mode == "beside" else "the only one"
    return f"port {tls.port}, {where}; client certificates: {tls.client_certificates}"


def _tls_as_requestor(settings: Settings) -> str:
    names = ", ".join(peer.name for peer in settings.peers if peer.tls)
    return f"to {names}" if names else "no peer is configured so"


def _annexes() -> list[str]:
    return [
        "## 8 Annexes",
        "",
        "### 8.1 Created SOP instances",
        "",
        "Each kind is a series of its own in the patient's study. Patient and General Study attributes are those of "
        "the study. Manufacturer, model, software version and Contributing Equipment (with Device UID, IHE AIR) name "
        "the node and the bundle. The algorithm's identification stands with each measurement and each segment.",
        "",
        *created_objects(),
        "### 8.2 Private attributes",
        "",
        "None are created; those of received instances are kept.",
        "",
        "### 8.3 Coded terminology",
        "",
        *coded_terms(),
        "### 8.4 Greyscale image consistency",
        "",
        "Not supported: the node has no display of its own.",
        "",
        "### 8.5 Extended, specialised and private SOP classes",
        "",
        "None are created.",
        "",
    ]


def _statuses() -> list[str]:
    rows = (
        ("0000", "Success: the instance is on disk and would survive a power cut"),
        ("0117", "Error: invalid SOP Instance UID"),
        ("0122", "Refused: SOP class not supported (it is not that of the presentation context)"),
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
