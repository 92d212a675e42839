"""Around every request: security headers, and an incident number instead of a traceback."""

from __future__ import annotations

import traceback
import uuid

import structlog
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# A report is one file with its styles and pictures inside; it runs no script and reaches nothing.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": browsers would then send forms with Origin: null, which is no origin of ours.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Adds the headers that a response does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class IncidentGuard:
    """An unexpected error becomes a 500 with an incident number; type and places of the error go to the log.

    Its text does not: it may quote a data set. Neither does the address of the page, which names a study.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def noticing(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noticing)
        except Exception as error:
            incident = uuid.uuid4().hex[:8]
            _record(incident, scope, error)
            if not has_started:
                await _apology(incident, scope)(scope, receive, send)


def _record(incident: str, scope: Scope, error: Exception) -> None:
    route = scope.get("route")
    log.error(
        "web_incident",
        incident=incident,
        route=getattr(route, "path", ""),
        kind=type(error).__name__,
        places=[f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]],
    )


def _apology(incident: str, scope: Scope) -> JSONResponse | PlainTextResponse:
    text = f"Something went wrong here. Incident {incident}: the node's log has more under this number."
    if scope["path"].startswith("/api/"):
        return JSONResponse({"detail": text, "incident": incident}, status_code=500)
    return PlainTextResponse(text, status_code=500)
