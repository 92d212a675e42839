"""What the routes of the API share: their place, what their answers mean, and how far a list goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.security import HTTPBearer

from dicom_node.app.operator_actions import ActionRefused, UnknownDelivery, UnknownStudy
from dicom_node.app.quarantine import UnknownQuarantine
from dicom_node.core.account import AccountRefused

Limit = Annotated[int, Query(ge=1, le=1000, description="At most this many.")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="Leave out this many first.")]

_BEARER = HTTPBearer(auto_error=False, description="A token of `cspine-node users token add`; or a log-in's cookie.")

CHANGES: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be read."},
    404: {"description": "The node does not know what this is about."},
    409: {"description": "It makes no sense now; nothing was changed. `detail` says why."},
    413: {"description": "The body is too long."},
}
"""What a call that changes something may answer beside its success."""


def api_router() -> APIRouter:
    """A router for calls of the API."""
    return APIRouter(
        prefix="/api/v1",
        tags=["api"],
        # For the description alone: who may is decided before a request comes here (web/auth/gate.py).
        dependencies=[Depends(_BEARER)],
        responses={
            401: {"description": "Neither token nor log-in."},
            403: {"description": "The account's role may not."},
        },
    )


@contextmanager
def refusals_as_answers() -> Iterator[None]:
    """What a use case refuses is a 404 or a 409 with its sentence."""
    try:
        yield
    except (UnknownStudy, UnknownDelivery, UnknownQuarantine) as unknown:
        raise HTTPException(404, str(unknown)) from None
    except (ActionRefused, AccountRefused) as refused:
        raise HTTPException(409, str(refused)) from None
