"""What an operator does on the study page: close, cancel, analyse again, send again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response

from dicom_node.app.operator_actions import ActionRefused, OperatorActions, UnknownDelivery, UnknownStudy
from dicom_node.core.account import Action
from dicom_node.web.auth.gate import form_of, principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.rendering import refusal
from dicom_node.web.study import study_page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)

_LONGEST_REASON = 200


@router.post("/studies/{study_instance_uid}/close")
@needs(Action.WORK_ON_STUDIES)
def close(request: Request, study_instance_uid: str) -> Response:
    """Nothing more is waited for; the analysis is queued."""
    reason = form_of(request).get("reason", "").strip()[:_LONGEST_REASON]
    return _done(
        request, study_instance_uid, lambda do, actor: do.close_study(study_instance_uid, actor=actor, reason=reason)
    )


@router.post("/studies/{study_instance_uid}/cancel")
@needs(Action.WORK_ON_STUDIES)
def cancel(request: Request, study_instance_uid: str) -> Response:
    """The analysis that waits or runs is stopped."""
    return _done(request, study_instance_uid, lambda do, actor: do.cancel_study(study_instance_uid, actor=actor))


@router.post("/studies/{study_instance_uid}/retry")
@needs(Action.WORK_ON_STUDIES)
def retry(request: Request, study_instance_uid: str) -> Response:
    """What stands still is started again: the analysis, or the deliveries that failed."""
    return _done(request, study_instance_uid, lambda do, actor: do.retry_study(study_instance_uid, actor=actor))


@router.post("/studies/{study_instance_uid}/analyse-again")
@needs(Action.WORK_ON_STUDIES)
def analyse_again(request: Request, study_instance_uid: str) -> Response:
    """A study that has a result is analysed as a new revision."""
    return _done(request, study_instance_uid, lambda do, actor: do.analyse_again(study_instance_uid, actor=actor))


@router.post("/studies/{study_instance_uid}/deliveries/{delivery_id}/retry")
@needs(Action.WORK_ON_STUDIES)
def retry_delivery(
    request: Request, study_instance_uid: str, delivery_id: Annotated[int, Path(ge=1, le=2**62)]
) -> Response:
    """One delivery is sent again."""
    return _done(request, study_instance_uid, lambda do, actor: do.retry_delivery(delivery_id, actor=actor))


def _done(request: Request, study_instance_uid: str, act: Callable[[OperatorActions, str], object]) -> Response:
    """Back to the study, whose page says what is so now, or why nothing was done."""
    sources: WebSources = request.app.state.sources
    principal = principal_of(request)
    try:
        act(sources.operator, principal.name if principal else "")
    except UnknownStudy:
        return study_page(request, study_instance_uid)
    except UnknownDelivery as refused:
        return refusal(request, 404, str(refused))
    except ActionRefused as refused:
        return study_page(request, study_instance_uid, refused=str(refused), status_code=409)
    return RedirectResponse(f"/studies/{study_instance_uid}", 303)
