"""Offer a peer the objects of a shipment, one after the other, whichever way they travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.core.delivery import ObjectStatus
from dicom_node.core.errors import NodeError, PeerBusy, PeerRefused, PermanentError
from dicom_node.core.finding import ResultObject
from dicom_node.core.shipment import Plan, Refusal, Shipment
from dicom_node.core.store_status import Answer, meaning
from dicom_node.ports import Clock


@dataclass(frozen=True, kw_only=True)
class Response:
    """The peer's status for one object, and the same in words for an operator."""

    status: int
    words: str


def takes_all(entry: ResultObject) -> str:
    """The refusal of a peer with whom nothing was negotiated."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Offering:
    """`offer` sends one object and returns the answer, or raises where there is none; `refusal` says what need not be
    offered at all.
    """

    shipment: Shipment
    offer: Callable[[ResultObject], Response]
    clock: Clock
    refusal: Refusal = takes_all

    def run(self, *, on_plan: Callable[[Plan], None], on_answer: Callable[[ObjectStatus], None]) -> None:
        """Everything of the last plan was offered and is held, as far as the peer takes it.

        An object that the peer can do nothing with changes the plan: another kind may stand in for it. One that is
        refused does not keep the others back: the error comes after all were tried. A busy peer ends the attempt at
        once. Raises PeerBusy, PeerRefused, and whatever `offer` raises.
        """
        unsuitable: dict[str, NodeError] = {}
        failures: list[NodeError] = []
        tried = set(self.shipment.stored)

        def refusal(entry: ResultObject) -> str:
            came_back = entry.sop_instance_uid in unsuitable
            return "answered that it can do nothing with it" if came_back else self.refusal(entry)

        while True:
            plan = self.shipment.plan(refusal)
            on_plan(plan)
            entry = next((entry for entry in plan.objects if entry.sop_instance_uid not in tried), None)
            if entry is None:
                break
            tried.add(entry.sop_instance_uid)
            failure = self._offered(entry, on_answer)
            if failure is None:
                continue
            if isinstance(failure, _Unsuitable):
                unsuitable[entry.sop_instance_uid] = failure
            elif isinstance(failure, PeerBusy) and not failure.is_about_one_object:
                raise failure
            else:
                failures.append(failure)
        self._raise_for(plan, failures, unsuitable)

    def _offered(self, entry: ResultObject, on_answer: Callable[[ObjectStatus], None]) -> NodeError | None:
        response = self.offer(entry)
        uid, at = entry.sop_instance_uid, self.clock.now()
        on_answer(ObjectStatus(sop_instance_uid=uid, status=response.status, answered_at=at))
        match meaning(response.status):
            case Answer.STORED:
                return None
            case Answer.BUSY:
                return PeerBusy(response.words)
            case Answer.UNCLEAR:
                return PeerBusy(response.words, is_about_one_object=True)
            case Answer.UNSUITABLE:
                return _Unsuitable(response.words)
            case Answer.REFUSED:
                return PeerRefused(response.words)

    def _raise_for(self, plan: Plan, failures: list[NodeError], unsuitable: dict[str, NodeError]) -> None:
        """An object that came back counts as refused where nothing stands in for it."""
        left_out = {entry.wanted for entry in plan.substitutions if entry.sent is None}
        kinds = {entry.sop_instance_uid: entry.kind for entry in self.shipment.objects}
        failures += [PeerRefused(str(error)) for uid, error in unsuitable.items() if kinds[uid] in left_out]
        refused = [failure for failure in failures if isinstance(failure, PermanentError)]
        if failures:
            raise (refused or failures)[0]


class _Unsuitable(NodeError):
    """The peer can do nothing with this kind of object."""
