"""A configured remote application entity, and which kinds of result it is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from dicom_node.core.delivery_terms import AS_ALL_OTHERS, OwnTerms
from dicom_node.core.finding import ResultKind
from dicom_node.core.identifiers import AETitle

AUTO = "auto"
AUTO_KINDS: tuple[ResultKind, ...] = (
    ResultKind.SEG,
    ResultKind.SUSPICION_SEG,
    ResultKind.SR,
    ResultKind.TEXT_SR,
    ResultKind.SC,
)
"""What a peer gets that asks for nothing in particular: findings for machines and for people, and what shows them."""


@dataclass(frozen=True, kw_only=True)
class ObjectChoice:
    """The kinds a peer is given. Where it `negotiates`, another kind stands in for one that it does not accept."""

    kinds: tuple[ResultKind, ...] = AUTO_KINDS
    negotiates: bool = True

    def __str__(self) -> str:
        kinds = ", ".join(kind.value for kind in self.kinds)
        return f"{kinds}, with fallbacks" if self.negotiates else f"exactly {kinds}"


AUTOMATIC = ObjectChoice()


def object_choice(words: Iterable[str]) -> ObjectChoice:
    """The choice behind the words of a configuration: names of kinds, and "auto" for what everybody gets.

    A list without "auto" is meant to the letter. Beside "auto", SEG_LABELMAP takes the place of SEG. Raises
    ValueError for a word that is neither.
    """
    given = tuple(words)
    named = tuple(ResultKind(word) for word in given if word != AUTO)
    if AUTO not in given:
        return ObjectChoice(kinds=_in_order(named), negotiates=False)
    basis = (kind for kind in AUTO_KINDS if kind is not ResultKind.SEG or ResultKind.SEG_LABELMAP not in named)
    return ObjectChoice(kinds=_in_order((*basis, *named)))


@dataclass(frozen=True, kw_only=True)
class StowEndpoint:
    """Where a peer takes results by STOW-RS (PS3.18 10.5). `token_variable` names the environment variable that holds
    its bearer token; the token itself is never kept. The files are PEM; empty strings where there is none.
    """

    url: str
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""
    token_variable: str = ""


@dataclass(frozen=True, kw_only=True)
class PeerTls:
    """DICOM over TLS with a peer, both ways. `ca_file` is PEM, "" for the system's authorities.

    `own_certificate` with `own_key` is what we show to a peer that asks, "" for none. `certificate_sha256` pins its
    certificate (64 hexadecimal digits in lower case); `server_name` is the name its certificate must bear, "" for its
    host.
    """

    ca_file: str = ""
    own_certificate: str = ""
    own_key: str = ""
    certificate_sha256: str = ""
    server_name: str = ""
    checks_name: bool = True


@dataclass(frozen=True, kw_only=True)
class UserIdentity:
    """A user name in an association request (PS3.7 D.3.3.7), with a passcode where one of the two sources is given.

    The passcode itself is never kept: it is read from the environment variable or the file when it is needed.
    """

    user_name: str
    passcode_variable: str = ""
    passcode_file: str = ""

    @property
    def has_passcode(self) -> bool:
        """Whether the name alone is not enough."""
        return bool(self.passcode_variable or self.passcode_file)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One remote AE. `name` is unique on this node; `host` is an address or a resolvable name.

    Where `stow` is there, results go that way and not by C-STORE. `status_reports`: it is also told of studies that
    were not analysed. Its associations come from `addresses`, or from `host` where there are none; with `tls` they
    come over TLS only; with `must_identify_as` they name that user. `identify_as` is what we say to it.
    """

    name: str
    ae_title: AETitle
    host: str
    port: int
    may_send: bool = False
    receives_results: bool = False
    enabled: bool = True
    objects: ObjectChoice = AUTOMATIC
    status_reports: bool = False
    stow: StowEndpoint | None = None
    delivery: OwnTerms = AS_ALL_OTHERS
    addresses: tuple[IPv4Network | IPv6Network, ...] = ()
    tls: PeerTls | None = None
    must_identify_as: UserIdentity | None = None
    identify_as: UserIdentity | None = None


def kinds_on_request(peers: Iterable[Peer]) -> frozenset[ResultKind]:
    """The kinds that are made only because one of these peers asks for them."""
    used = [peer for peer in peers if peer.enabled]
    asked = {kind for peer in used for kind in peer.objects.kinds} & {ResultKind.SEG_LABELMAP}
    told = {ResultKind.STATUS_SR} if any(peer.status_reports for peer in used) else set()
    return frozenset(asked | told)


def _in_order(kinds: Iterable[ResultKind]) -> tuple[ResultKind, ...]:
    wanted = set(kinds)
    return tuple(kind for kind in ResultKind if kind in wanted)
