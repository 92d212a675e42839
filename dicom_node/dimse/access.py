"""Who may open an association: decided from values alone, with the standard's reject reason.

Reject reasons are those of PS3.8 9.3.4. A peer is admitted by its calling AE title *and* its address, it must call
our AE title, and it must be configured with `may_send` (the contract: "its associations are accepted"); a peer that
only receives results is refused like an unknown one, C-ECHO included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, ip_address

from dicom_node.core.peer import Peer

AddressesOf = Callable[[str], frozenset[str]]
"""From a configured host (address or name) to the addresses it stands for, normalised."""


class Result(IntEnum):
    """PS3.8 table 9-21, Result."""

    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class Source(IntEnum):
    """PS3.8 table 9-21, Source."""

    SERVICE_USER = 1
    PROVIDER_ACSE = 2
    PROVIDER_PRESENTATION = 3


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


def admit(
    *,
    calling_aet: str,
    called_aet: str,
    address: str,
    peers: Iterable[Peer],
    own_aet: str,
    addresses_of: AddressesOf,
) -> Admitted | Refused:
    """Whether a requestor gets in. `address` is where the connection comes from."""
    if called_aet.strip(" ") != own_aet:
        return _permanent(
            CALLED_AET_NOT_RECOGNISED, "called_ae_title", f"calls {called_aet.strip()!r}, our AE title is {own_aet!r}"
        )
    calling = calling_aet.strip(" ")
    namesakes = [peer for peer in peers if peer.ae_title == calling and peer.enabled]
    if not namesakes:
        return _calling("calling_ae_title", f"no enabled peer has the AE title {calling!r}")
    origin = normalise_address(address)
    here = [peer for peer in namesakes if origin in addresses_of(peer.host)]
    if not here:
        hosts = ", ".join(peer.host for peer in namesakes)
        return _calling("address", f"{calling!r} is configured at {hosts}, the connection comes from {origin}")
    senders = [peer for peer in here if peer.may_send]
    if not senders:
        return _calling("may_send", f"peer {here[0].name!r} is configured with may_send = false")
    return Admitted(peer=senders[0])


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
