"""Which action a route does: `@needs(Action.LOOK)` below its path, above its function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.routing import APIRoute

from dicom_node.core.account import Action

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_MARK = "__needs_action__"


def needs(action: Action) -> Callable[[Endpoint], Endpoint]:
    """Declares the action; who may do it is `NEEDED_ROLE`."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, action)
        return endpoint

    return declare


def action_of(endpoint: Callable[..., Any]) -> Action | None:
    """What the route's function declared; None where it declared nothing."""
    found = getattr(endpoint, _MARK, None)
    return found if isinstance(found, Action) else None


def declared_routes(routers: Iterable[APIRouter]) -> tuple[tuple[APIRoute, Action], ...]:
    """Every route of the routers with its action, in their order. Raises TypeError where one has not declared any."""
    found: list[tuple[APIRoute, Action]] = []
    for router in routers:
        for route in router.routes:
            action = action_of(route.endpoint) if isinstance(route, APIRoute) else None
            if action is None or not isinstance(route, APIRoute):
                raise TypeError(f"{getattr(route, 'path', route)} does not say who may use it: see web/auth/needs.py")
            found.append((route, action))
    return tuple(found)
