"""A configured remote application entity, and which kinds of result it is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
class Peer:
    """One remote AE. `name` is unique on this node; `host` is an address or a resolvable name.

    Where `stow` is there, results go that way and not by C-STORE. `status_reports`: it is also told of studies that
    were not analysed.
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


def kinds_on_request(peers: Iterable[Peer]) -> frozenset[ResultKind]:
    """The kinds that are made only because one of these peers asks for them."""
    used = [peer for peer in peers if peer.enabled]
    asked = {kind for peer in used for kind in peer.objects.kinds} & {ResultKind.SEG_LABELMAP}
    told = {ResultKind.STATUS_SR} if any(peer.status_reports for peer in used) else set()
    return frozenset(asked | told)


def _in_order(kinds: Iterable[ResultKind]) -> tuple[ResultKind, ...]:
    wanted = set(kinds)
    return tuple(kind for kind in ResultKind if kind in wanted)
