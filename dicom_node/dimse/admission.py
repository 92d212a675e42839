"""From an A-ASSOCIATE-RQ to an accepted association or a rejection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_node.core.identifiers import AETitle
from dicom_node.dimse import access, counted, user_identity
from dicom_node.dimse.association import NodeAssociation
from dicom_node.dimse.contexts import (
    IMPLICIT_LITTLE,
    PUSH_MODEL,
    VERIFICATION,
    choose_transfer_syntax,
    is_storage_sop_class,
)
from dicom_node.dimse.handlers import contained
from dicom_node.dimse.open_associations import OpenAssociations
from dicom_node.dimse.refusals import Refusals
from dicom_node.ports import Counters, PeerDirectory

log = structlog.get_logger(__name__)


class AssociationLog(Protocol):
    """Where open associations are recorded, so that a study waits for those that carry it.

    Either method may raise; an association that cannot be recorded is not accepted, and an end that cannot be
    recorded is tried again for a while.
    """

    def opened(self, association_id: str, *, calling_aet: str, address: str) -> None: ...
    def closed(self, association_id: str, *, how: str) -> None: ...


class Admission:
    """Decides on association requests. Safe to call from many threads at once."""

    def __init__(
        self,
        *,
        own_aet: AETitle,
        peers: PeerDirectory,
        addresses_of: Callable[[str], frozenset[str]],
        open_associations: OpenAssociations,
        recorded_in: AssociationLog,
        counters: Counters,
        environ: Mapping[str, str],
        refusals: Refusals,
    ) -> None:
        """`environ` is where passcodes of users stand."""
        self._refusals = refusals
        self._own_aet = own_aet
        self._peers = peers
        self._addresses_of = addresses_of
        self._open = open_associations
        self._log = recorded_in
        self._counters = counters
        self._environ = environ

    def decide(self, association: NodeAssociation) -> None:
        """Accept or reject the request. Fails closed: what cannot be checked or recorded is rejected for now."""
        contained(lambda: self._decide(association), lambda error: self._cannot(association, error))

    def may_store(self, calling_aet: str) -> bool:
        """Whether this AE title may still send: peers are edited while associations are open."""
        return any(peer.ae_title == calling_aet and peer.enabled and peer.may_send for peer in self._peers.peers())

    def _decide(self, association: NodeAssociation) -> None:
        primitive: Any = association.requestor.primitive
        association.calling_aet = primitive.calling_ae_title.strip(" ")
        association.called_aet = primitive.called_ae_title.strip(" ")
        identity = user_identity.identity_in(primitive.user_information)
        decision = access.admit(
            access.Requestor(
                calling_aet=association.calling_aet,
                called_aet=association.called_aet,
                address=association.address,
                certificate_sha256=association.secured.certificate_sha256 if association.secured else None,
            ),
            peers=self._peers.peers(),
            own_aet=self._own_aet,
            addresses_of=self._addresses_of,
            is_user=lambda user: user_identity.is_shown(user, identity, self._environ),
        )
        refused = decision if isinstance(decision, access.Refused) else self._open.admit(association)
        if refused is not None:
            self._reject(association, refused)
            return
        self._log.opened(association.association_id, calling_aet=association.calling_aet, address=association.address)
        if isinstance(decision, access.Admitted):
            association.peer_name = decision.peer.name
        accept_proposals(association)
        if identity is not None and identity.positive_response_requested and _knows_users(decision):
            association.acceptor.add_negotiation_item(user_identity.positive_response())
        self._counters.count(counted.ASSOCIATIONS_ACCEPTED, calling_aet=association.calling_aet)
        log.info(
            "association_accepted",
            association=association.association_id,
            calling_aet=association.calling_aet,
            address=association.address,
        )

    def _cannot(self, association: NodeAssociation, error: Exception) -> None:
        self._open.withdraw(association)
        self._reject(association, access.congestion(f"{type(error).__name__}: {error}"))

    def _reject(self, association: NodeAssociation, refused: access.Refused) -> None:
        self._refusals.tell(
            "association_rejected",
            counted.ASSOCIATIONS_REJECTED,
            calling_aet=association.calling_aet,
            address=association.address,
            rule=refused.rule,
            why=refused.why,
        )
        association.is_rejected = True
        association.acse.send_reject(refused.result, refused.source, refused.reason)
        association.kill()


def _knows_users(decision: access.Admitted | access.Refused) -> bool:
    """Whether this peer's user was asked for: one that was not is accepted without a response (PS3.7 D.3.3.7.2)."""
    return isinstance(decision, access.Admitted) and decision.peer.must_identify_as is not None


def accept_proposals(association: Association) -> None:
    """Support exactly what this requestor proposes and we take, one transfer syntax for each proposed context.

    pynetdicom's acceptor prefers by its own order and knows one list for each abstract syntax; we prefer by the
    requestor's order, context by context. So each proposal is narrowed to the syntax we choose, and the acceptor is
    given the union. An abstract syntax we take without a syntax we know keeps one that was not proposed, so that the
    answer is "transfer syntaxes not supported" (PS3.8 9.3.3.2).
    """
    supported: dict[str, list[str]] = {}
    request: Any = association.requestor.primitive
    for proposal in request.presentation_context_definition_list:
        abstract_syntax = str(proposal.abstract_syntax)
        if abstract_syntax not in (VERIFICATION, PUSH_MODEL) and not is_storage_sop_class(abstract_syntax):
            continue
        accepted = supported.setdefault(abstract_syntax, [])
        chosen = choose_transfer_syntax(abstract_syntax, [str(uid) for uid in proposal.transfer_syntax])
        if chosen is not None:
            proposal.transfer_syntax = [chosen]
            accepted.append(chosen)
    contexts = [build_context(uid, syntaxes or [IMPLICIT_LITTLE]) for uid, syntaxes in supported.items()]
    for context in contexts:
        if context.abstract_syntax == PUSH_MODEL:  # a PACS reports on an association of its own, as SCP
            context.scu_role = context.scp_role = True
    association.acceptor.supported_contexts = contexts
