"""Results on their way: what stands where, who could not be reached, what scanners asked us to keep; and what an
operator may do about it, on the page and for scripts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from dicom_node.app.operator_actions import (
    CANCELLABLE,
    REPEATABLE,
    RETRIABLE_DELIVERIES,
    ActionRefused,
    OperatorActions,
)
from dicom_node.app.queries import delivery_json, history_json
from dicom_node.app.receivers import duty_json, list_receivers, request_json
from dicom_node.core.account import Action
from dicom_node.core.delivery import Delivery, DeliveryState
from dicom_node.ports import UnitOfWork
from dicom_node.web.accesses import note_query
from dicom_node.web.api_parts import CHANGES, Limit, Offset, api_router, refusals_as_answers
from dicom_node.web.auth.browser import local_path
from dicom_node.web.auth.gate import form_of, principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.rendering import page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)
api = api_router()

PAGE_LENGTH = 50
DUTIES_SHOWN = 50
_ACTS: dict[str, Callable[[OperatorActions, int, str], Delivery]] = {
    "retry": lambda actions, delivery_id, actor: actions.retry_delivery(delivery_id, actor=actor),
    "send-again": lambda actions, delivery_id, actor: actions.send_again(delivery_id, actor=actor),
    "cancel": lambda actions, delivery_id, actor: actions.cancel_delivery(delivery_id, actor=actor),
}

PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
PeerName = Annotated[str, Query(max_length=256)]
DeliveryId = Annotated[int, InPath(ge=1, le=2**62)]


class ReceiverNamed(BaseModel):
    """A receiver, as the list of them names it."""

    model_config = ConfigDict(extra="forbid")

    peer: str = Field(min_length=1, max_length=256)


@router.get("/deliveries")
@needs(Action.LOOK)
def deliveries_page(
    request: Request, state: DeliveryState | None = None, peer: PeerName = "", page: PageNumber = 1
) -> Response:
    """Deliveries, newest first; before them the receivers that need somebody, behind them the duties."""
    note_query(request)
    return _shown(request, state, peer, page)


@router.post("/deliveries/{delivery_id}/{act}")
@needs(Action.WORK_ON_STUDIES)
def act_on_delivery(request: Request, delivery_id: DeliveryId, act: str) -> Response:
    """Retry, send again or cancel; then the list as it was shown."""
    chosen = _ACTS.get(act)
    if chosen is None:
        raise HTTPException(404, "there is no such action")
    return _acted(request, lambda actions, actor: chosen(actions, delivery_id, actor))


@router.post("/receivers/{act}")
@needs(Action.WORK_ON_STUDIES)
def act_on_receiver(request: Request, act: str) -> Response:
    """Send everything again that failed at the receiver `peer` of the form, or try it at once."""
    peer = form_of(request).get("peer", "")
    if act == "retry":
        return _acted(request, lambda actions, actor: actions.retry_peer(peer, actor=actor))
    if act == "reset":
        return _acted(request, lambda actions, actor: actions.reset_circuit(peer, actor=actor))
    raise HTTPException(404, "there is no such action")


@api.get("/deliveries", summary="Results on their way to peers, newest first")
@needs(Action.LOOK)
def deliveries(
    request: Request,
    state: DeliveryState | None = None,
    peer: PeerName = "",
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[dict[str, Any]]:
    """Each delivery with the peer's answer to each object; `state` and `peer` narrow the list."""
    note_query(request)
    with _sources(request).unit_of_work() as uow:
        found = uow.deliveries.list(
            states=None if state is None else [state], peer=peer or None, limit=limit, offset=offset
        )
    return [delivery_json(delivery) for delivery in found]


@api.get(
    "/deliveries/{delivery_id}",
    summary="One delivery with its history and what its peer was asked to commit to",
    responses={404: {"description": "There is no delivery of this number."}},
)
@needs(Action.LOOK)
def delivery(request: Request, delivery_id: DeliveryId) -> dict[str, Any]:
    """As in the list, with `commitments` and `history`."""
    with _sources(request).unit_of_work() as uow:
        found = uow.deliveries.get(delivery_id)
        if found is None:
            raise HTTPException(404, f"there is no delivery {delivery_id}")
        subject = f"delivery:{delivery_id}"
        history = [each for each in uow.history.of_study(found.study_instance_uid) if each.subject == subject]
        asked = uow.commitments.requests_of(delivery_id)
    note_query(request)
    return {
        **delivery_json(found),
        "commitments": [request_json(each) for each in asked],
        "history": [history_json(each) for each in history],
    }


@api.post("/deliveries/{delivery_id}/retry", summary="Try a delivery now that failed or waits", responses=CHANGES)
@needs(Action.WORK_ON_STUDIES)
def retry(request: Request, delivery_id: DeliveryId) -> dict[str, Any]:
    """What the peer holds already is not sent twice."""
    return _acted_for_script(request, "retry", delivery_id)


@api.post(
    "/deliveries/{delivery_id}/send-again", summary="Send all of a finished delivery once more", responses=CHANGES
)
@needs(Action.WORK_ON_STUDIES)
def send_again(request: Request, delivery_id: DeliveryId) -> dict[str, Any]:
    """Answers with the new delivery."""
    return _acted_for_script(request, "send-again", delivery_id)


@api.post("/deliveries/{delivery_id}/cancel", summary="Give up a delivery that waits or failed", responses=CHANGES)
@needs(Action.WORK_ON_STUDIES)
def cancel(request: Request, delivery_id: DeliveryId) -> dict[str, Any]:
    """One that is being sent is not cancelled."""
    return _acted_for_script(request, "cancel", delivery_id)


@api.get("/receivers", summary="What waits for each receiver, and which could not be reached")
@needs(Action.LOOK)
def receivers(request: Request) -> list[dict[str, Any]]:
    """`state` is reachable, failing (tried again soon) or open (left alone and probed now and then)."""
    with _sources(request).unit_of_work() as uow:
        return [receiver.as_json() for receiver in list_receivers(uow)]


@api.post("/receivers/retry", summary="Send everything again that failed at a receiver", responses=CHANGES)
@needs(Action.WORK_ON_STUDIES)
def retry_receiver(request: Request, named: ReceiverNamed) -> list[dict[str, Any]]:
    """What a newer result has replaced is left as it is. Answers with the deliveries."""
    with refusals_as_answers():
        retried = _sources(request).operator.retry_peer(named.peer, actor=_actor(request))
    return [delivery_json(each) for each in retried]


@api.post("/receivers/reset", summary="Try a receiver at once that could not be reached", responses=CHANGES)
@needs(Action.WORK_ON_STUDIES)
def reset_receiver(request: Request, named: ReceiverNamed) -> list[dict[str, Any]]:
    """Answers with the receivers as they are then."""
    with refusals_as_answers():
        _sources(request).operator.reset_circuit(named.peer, actor=_actor(request))
    with _sources(request).unit_of_work() as uow:
        return [receiver.as_json() for receiver in list_receivers(uow)]


@api.get("/commitments", summary="What scanners asked this node to commit to, newest first")
@needs(Action.LOOK)
def commitments(request: Request, limit: Limit = 100) -> list[dict[str, Any]]:
    """Each request with what the scanner was told."""
    with _sources(request).unit_of_work() as uow:
        return [duty_json(duty) for duty in uow.commitments.duties(limit=limit)]


def _acted(request: Request, act: Callable[[OperatorActions, str], object]) -> Response:
    try:
        act(_sources(request).operator, _actor(request))
    except ActionRefused as refused:
        return _shown(request, None, "", 1, why=str(refused), status_code=409)
    return RedirectResponse(local_path(form_of(request).get("back", "/deliveries")), 303)


def _acted_for_script(request: Request, act: str, delivery_id: int) -> dict[str, Any]:
    with refusals_as_answers():
        return delivery_json(_ACTS[act](_sources(request).operator, delivery_id, _actor(request)))


def _shown(
    request: Request,
    state: DeliveryState | None,
    peer: str,
    number: int,
    *,
    why: str = "",
    status_code: int = 200,
) -> Response:
    with _sources(request).unit_of_work() as uow:
        context = _context(uow, state, peer, number)
    here = {"here": "/deliveries"} if why else {}
    return page(request, "deliveries.html", {**context, "why": why, **here}, status_code)


def _context(uow: UnitOfWork, state: DeliveryState | None, peer: str, number: int) -> dict[str, Any]:
    found = uow.deliveries.list(
        states=None if state is None else [state],
        peer=peer or None,
        limit=PAGE_LENGTH + 1,
        offset=(number - 1) * PAGE_LENGTH,
    )
    counted = uow.deliveries.counted()
    of_peer = {key: count for key, count in counted.items() if peer in ("", key[0])}
    return {
        "deliveries": found[:PAGE_LENGTH],
        "has_more": len(found) > PAGE_LENGTH,
        "page": number,
        "state": state,
        "peer": peer,
        "peers": sorted({name for name, _ in counted}),
        "states": [(each, sum(n for (_, s), n in of_peer.items() if s is each)) for each in DeliveryState],
        "failed_at": {name for (name, each) in counted if each is DeliveryState.FAILED},
        "receivers": list_receivers(uow),
        "duties": uow.commitments.duties(limit=DUTIES_SHOWN),
        "retriable": RETRIABLE_DELIVERIES,
        "cancellable": CANCELLABLE,
        "repeatable": REPEATABLE,
    }


def _actor(request: Request) -> str:
    principal = principal_of(request)
    assert principal is not None  # the gate lets nobody else through
    return principal.name


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
