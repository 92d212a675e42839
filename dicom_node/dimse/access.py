"""Who may open an association: decided from values alone, with the standard's reject reason.

Reject reasons are those of PS3.8 9.3.4. A peer is admitted by its calling AE title *and* its address (or one of its
networks), it must call our AE title, and it must be configured with `may_send` (the contract: "its associations are
accepted"); a peer that only receives results is refused like an unknown one, C-ECHO included. Where it is configured
so, it must also come over TLS, with the certificate that is pinned for it, and name its user with the right passcode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from dicom_node.core.peer import Peer, UserIdentity

AddressesOf = Callable[[str], frozenset[str]]
"""From a configured host (address or name) to the addresses it stands for, normalised."""

IsUser = Callable[[UserIdentity], bool]
"""Whether the request names this user, with the right passcode."""


class Result(IntEnum):
    """PS3.8 table 9-21, Result."""

    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class Source(IntEnum):
    """PS3.8 table 9-21, Source."""

    SERVICE_USER = 1
    PROVIDER_ACSE = 2
    PROVIDER_PRESENTATION = 3


NO_REASON_GIVEN = 1  # source: provider, ACSE related
CALLING_AET_NOT_RECOGNISED = 3  # source: service user
CALLED_AET_NOT_RECOGNISED = 7  # source: service user
TEMPORARY_CONGESTION = 1  # source: provider, presentation related
LOCAL_LIMIT_EXCEEDED = 2  # source: provider, presentation related


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """The association belongs to this peer."""

    peer: Peer


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Answer A-ASSOCIATE-RJ with these three numbers; `why` is for our log, `rule` for the counter."""

    result: Result
    source: Source
    reason: int
    rule: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Load:
    """Associations open now, in all and from one address, and how many there may be, the new one included."""

    open_associations: int
    open_from_address: int
    maximum: int
    maximum_per_address: int


@dataclass(frozen=True, kw_only=True)
class Requestor:
    """Who asks for an association. `address` is where the connection comes from.

    `certificate_sha256` is that of its TLS certificate; "" without one, None where the connection is plain.
    """

    calling_aet: str
    called_aet: str
    address: str
    certificate_sha256: str | None = None


def admit(
    requestor: Requestor,
    *,
    peers: Iterable[Peer],
    own_aet: str,
    addresses_of: AddressesOf,
    is_user: IsUser,
) -> Admitted | Refused:
    """Whether a requestor gets in."""
    called = requestor.called_aet.strip(" ")
    if called != own_aet:
        return _permanent(
            CALLED_AET_NOT_RECOGNISED, "called_ae_title", f"calls {called!r}, our AE title is {own_aet!r}"
        )
    calling = requestor.calling_aet.strip(" ")
    namesakes = [peer for peer in peers if peer.ae_title == calling and peer.enabled]
    if not namesakes:
        return _calling("calling_ae_title", f"no enabled peer has the AE title {calling!r}")
    origin = normalise_address(requestor.address)
    here = [peer for peer in namesakes if _comes_from(peer, origin, addresses_of)]
    if not here:
        places = ", ".join(_places(peer) for peer in namesakes)
        return _calling("address", f"{calling!r} is configured at {places}, the connection comes from {origin}")
    senders = [peer for peer in here if peer.may_send or peer.delivery.storage_commitment]
    if not senders:
        return _calling("may_send", f"peer {here[0].name!r} is configured with may_send = false")
    return _proven(senders, requestor, is_user)


def _proven(senders: list[Peer], requestor: Requestor, is_user: IsUser) -> Admitted | Refused:
    """The first of these peers that the requestor has proven to be, or why it is not the first."""
    refusals = []
    for peer in senders:
        refused = _tls_refusal(peer, requestor.certificate_sha256) or _user_refusal(peer, is_user)
        if refused is None:
            return Admitted(peer=peer)
        refusals.append(refused)
    return refusals[0]


def _tls_refusal(peer: Peer, certificate_sha256: str | None) -> Refused | None:
    if peer.tls is None:
        return None
    if certificate_sha256 is None:
        return _calling("tls", f"peer {peer.name!r} is configured with tls = true, the connection is plain")
    if peer.tls.certificate_sha256 and certificate_sha256 != peer.tls.certificate_sha256:
        shown = f"with SHA-256 {certificate_sha256}" if certificate_sha256 else "none"
        return _calling("certificate", f"peer {peer.name!r} has another pinned certificate; it showed {shown}")
    return None


def _user_refusal(peer: Peer, is_user: IsUser) -> Refused | None:
    if peer.must_identify_as is None or is_user(peer.must_identify_as):
        return None
    # PS3.7 D.3.3.7.1: a failed authorisation is rejected by the service provider, ACSE.
    return Refused(
        result=Result.REJECTED_PERMANENT,
        source=Source.PROVIDER_ACSE,
        reason=NO_REASON_GIVEN,
        rule="user_identity",
        why=f"peer {peer.name!r} did not name its user, or gave another passcode",
    )


def _comes_from(peer: Peer, origin: str, addresses_of: AddressesOf) -> bool:
    if not peer.addresses:
        return origin in addresses_of(peer.host)
    address = ip_address(origin)
    return any(address in network for network in peer.addresses)


def _places(peer: Peer) -> str:
    return ", ".join(str(network) for network in peer.addresses) or peer.host


def check_load(load: Load) -> Refused | None:
    """A refusal where one more association is one too many: transient, so the requestor comes again."""
    if load.open_associations >= load.maximum:
        return _limit("maximum_associations", f"{load.open_associations} associations are open")
    if load.open_from_address >= load.maximum_per_address:
        return _limit("maximum_per_address", f"{load.open_from_address} associations are open from this address")
    return None


def congestion(why: str) -> Refused:
    """A refusal because the node itself cannot work now."""
    return Refused(
        result=Result.REJECTED_TRANSIENT,
        source=Source.PROVIDER_PRESENTATION,
        reason=TEMPORARY_CONGESTION,
        rule="congestion",
        why=why,
    )


@lru_cache(maxsize=1024)
def normalise_address(address: str) -> str:
    """The address in its shortest form; IPv4-mapped IPv6 (::ffff:a.b.c.d) becomes IPv4, a zone is dropped."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(parsed)


def _calling(rule: str, why: str) -> Refused:
    return _permanent(CALLING_AET_NOT_RECOGNISED, rule, why)


def _permanent(reason: int, rule: str, why: str) -> Refused:
    return Refused(result=Result.REJECTED_PERMANENT, source=Source.SERVICE_USER, reason=reason, rule=rule, why=why)


def _limit(rule: str, why: str) -> Refused:
    return Refused(
        result=Result.REJECTED_TRANSIENT,
        source=Source.PROVIDER_PRESENTATION,
        reason=LOCAL_LIMIT_EXCEEDED,
        rule=rule,
        why=why,
    )
