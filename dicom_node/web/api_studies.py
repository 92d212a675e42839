"""/api/v1: what an operator does to studies and deliveries, for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.security import HTTPBearer

from dicom_node.app.operator_actions import ActionRefused, UnknownDelivery, UnknownStudy
from dicom_node.app.queries import delivery_json, job_json
from dicom_node.core.account import Action
from dicom_node.web.auth.gate import principal_of
from dicom_node.web.auth.needs import needs

if TYPE_CHECKING:
    from dicom_node.app.operator_actions import OperatorActions

_BEARER = HTTPBearer(auto_error=False, description="A token of `cspine-node users token add`; or a log-in's cookie.")
router = APIRouter(
    prefix="/api/v1",
    tags=["studies"],
    dependencies=[Depends(_BEARER)],
    responses={
        401: {"description": "Neither token nor log-in."},
        403: {"description": "The account's role may not."},
        404: {"description": "There is no such study or delivery."},
        409: {"description": "It makes no sense now; nothing was changed. `detail` says why."},
    },
)

DeliveryId = Annotated[int, Path(ge=1, le=2**62, description="As `/deliveries` says.")]


@router.post("/studies/{study_instance_uid}/close", summary="Close a study that is being received")
@needs(Action.WORK_ON_STUDIES)
def close(request: Request, study_instance_uid: str) -> dict[str, Any]:
    """Its analysis is queued, open associations or not. Answers with the job."""
    with _refusals_told():
        return job_json(_operator(request).close_study(study_instance_uid, actor=_actor(request)))


@router.post("/studies/{study_instance_uid}/cancel", summary="Stop the analysis that waits or runs")
@needs(Action.WORK_ON_STUDIES)
def cancel(request: Request, study_instance_uid: str) -> dict[str, Any]:
    """Answers with the job."""
    with _refusals_told():
        return job_json(_operator(request).cancel_study(study_instance_uid, actor=_actor(request)))


@router.post("/studies/{study_instance_uid}/retry", summary="Start again what stands still")
@needs(Action.WORK_ON_STUDIES)
def retry(request: Request, study_instance_uid: str) -> dict[str, Any]:
    """The analysis that ended without a result, or the failed deliveries of one. Answers with job and deliveries."""
    with _refusals_told():
        job, deliveries = _operator(request).retry_study(study_instance_uid, actor=_actor(request))
    return {"job": job_json(job), "deliveries": [delivery_json(delivery) for delivery in deliveries]}


@router.post("/studies/{study_instance_uid}/analyse-again", summary="Analyse a study again that has a result")
@needs(Action.WORK_ON_STUDIES)
def analyse_again(request: Request, study_instance_uid: str) -> dict[str, Any]:
    """As a new revision; receivers get the new result in place of the earlier one. Answers with the job."""
    with _refusals_told():
        return job_json(_operator(request).analyse_again(study_instance_uid, actor=_actor(request)))


@router.post("/deliveries/{delivery_id}/retry", summary="Send a delivery again")
@needs(Action.WORK_ON_STUDIES)
def retry_delivery(request: Request, delivery_id: DeliveryId) -> dict[str, Any]:
    """One that failed, or that waits for its next attempt or a commitment. Answers with the delivery."""
    with _refusals_told():
        return delivery_json(_operator(request).retry_delivery(delivery_id, actor=_actor(request)))


@contextmanager
def _refusals_told() -> Iterator[None]:
    """An ActionRefused becomes 404 where there is no such study or delivery, else 409, with its reason."""
    try:
        yield
    except ActionRefused as refused:
        unknown = isinstance(refused, UnknownStudy | UnknownDelivery)
        raise HTTPException(404 if unknown else 409, str(refused)) from refused


def _operator(request: Request) -> OperatorActions:
    operator: OperatorActions = request.app.state.sources.operator
    return operator


def _actor(request: Request) -> str:
    principal = principal_of(request)
    return principal.name if principal else ""
