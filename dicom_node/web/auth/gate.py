"""The one door of the web server: nothing behind it is reached without a role that may.

It stands before routing and body parsing, and knows each route with the action it declared. What it does not know it
does not let through, so a route that was forgotten is closed, not open. Whoever is not logged in learns nothing of what
there is: a page leads to the log-in, everything else is 401, whether it exists or not.

A request that changes something is let through with a cookie only if one of our own pages made it (see `browser`). For
that the form is read here, and the route finds it under `form_of`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

import structlog
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.app.audit_events import access_refused
from dicom_node.app.log_in import LogIn
from dicom_node.core.account import NEEDED_ROLE, Action, Principal, may
from dicom_node.core.errors import StorageUnavailable
from dicom_node.ports import AuditLog, Clock
from dicom_node.web.auth.browser import CSRF_FIELD, CSRF_HEADER, BrowserRules, is_csrf_token
from dicom_node.web.language import chosen_language, speak

if TYPE_CHECKING:
    from dicom_node.web.auth.provider import Provider  # what it needs is loaded where there is one

log = structlog.get_logger(__name__)

STATIC_PATH = "/static/"
LONGEST_FORM_BYTES = 64 * 1024
_MOST_FIELDS = 200
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM_TYPE = "application/x-www-form-urlencoded"
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@dataclass(frozen=True, kw_only=True)
class MetricsRules:
    """Who reads /metrics without an account: this machine, or who has the token of which this is the sha256."""

    from_loopback: bool = True
    token_sha256: str = ""

    def admits(self, request: Request) -> bool:
        """Whether this request may. What a proxy on this machine passes on does not come from this machine."""
        if self.token_sha256 and hmac.compare_digest(sha256(_bearer(request).encode()).hexdigest(), self.token_sha256):
            return True
        address = request.client.host if request.client else ""
        is_passed_on = any(name in request.headers for name in _FORWARDED)
        return self.from_loopback and address in _LOOPBACK and not is_passed_on


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What the gate and the log-in pages work with. There may be no `provider`."""

    log_in: LogIn
    browser: BrowserRules = field(default_factory=BrowserRules)
    metrics: MetricsRules = field(default_factory=MetricsRules)
    provider: Provider | None = None


Show = Callable[[Request, int, str], Response]
"""A page for a person: the request, the status, the sentence."""


class Gate:
    """Lets a request through to `app`, or answers it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Iterable[tuple[APIRoute, Action]],
        keys: Keys,
        audit: AuditLog,
        clock: Clock,
        show: Show,
        ae_title: str = "",
    ) -> None:
        self._app = app
        self._show = show
        self._routes = tuple(routes)
        self._keys = keys
        self._audit = audit
        self._clock = clock
        self._ae_title = ae_title

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or passes on; what passes has `principal_of` and, where it is a form, `form_of`."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return  # there are no websockets here
        request = Request(scope, receive)
        if scope["path"].startswith(STATIC_PATH) and scope["method"] in _READING:
            await self._app(scope, receive, send)  # the log-in page has styles too; nothing there names anybody
            return
        known = self._known(scope)
        action = known[1] if known else Action.LOOK
        try:
            principal = None if action is Action.WATCH_HEALTH else await run_in_threadpool(self._who, request)
        except StorageUnavailable as error:
            log.warning("web_without_database", why=str(error))
            refused = self._told(request, 503, "The database does not answer. Nothing was changed.")
            await refused(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        speak(chosen_language(request, principal))
        refusal = self._refusal(request, action, principal)
        if refusal is None and known is None:
            refusal = self._told(request, 404, "There is nothing here.")
        if refusal is None and known and known[2] is Match.FULL and scope["method"] not in _READING:
            refusal, receive = await self._changing(request, principal, receive)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _told(self, request: Request, status: int, text: str) -> Response:
        """A page for a person, one line for everything else."""
        if _is_page(request):
            return self._show(request, status, text)
        if request.url.path.startswith("/api/"):
            return JSONResponse({"detail": text}, status_code=status)
        return PlainTextResponse(text + "\n", status_code=status)

    def _known(self, scope: Scope) -> tuple[APIRoute, Action, Match] | None:
        """The route that will answer; one that has the path but not the method where there is no better."""
        partial = None
        for route, action in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return route, action, match
            if match is Match.PARTIAL and partial is None:
                partial = route, action, match
        return partial

    def _who(self, request: Request) -> Principal | None:
        bearer = _bearer(request)
        if bearer:
            return self._keys.log_in.of_script(bearer)
        return self._keys.log_in.of_browser(self._keys.browser.session_secret(request))

    def _refusal(self, request: Request, action: Action, principal: Principal | None) -> Response | None:
        if may(principal.role if principal else None, action):
            return None
        if action is Action.READ_METRICS and self._keys.metrics.admits(request):
            return None
        if principal is None:
            return self._log_in_first(request)
        needed = NEEDED_ROLE[action]
        why = f"{principal.name} is {principal.role.value}; this needs {needed.value if needed else 'nobody'}"
        self._audit.record(
            access_refused(
                user_id=principal.name,
                address=address_of(request),
                ae_title=self._ae_title,
                route=request.url.path,
                why=why,
                at=self._clock.now(),
            )
        )
        return self._told(request, 403, f"This is not for you: {why}. Nothing was changed.")

    def _log_in_first(self, request: Request) -> Response:
        if not _is_page(request):
            refusal = self._told(request, 401, "Log in first, or show a token: Authorization: Bearer …")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        if request.method != "GET":
            return RedirectResponse("/login", 303)  # the session ended while the form was filled in
        path, query = request.url.path, request.url.query
        wanted = f"{path}?{query}" if query else path
        return RedirectResponse("/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}", 303)

    async def _changing(
        self, request: Request, principal: Principal | None, receive: Receive
    ) -> tuple[Response | None, Receive]:
        """A refusal where no page of ours made the request, or it is too long; else what it says can be read again."""
        is_script = principal is not None and not principal.secret
        if not is_script and self._keys.browser.is_from_elsewhere(request):
            return self._told(request, 403, "Another site made this request. Nothing was changed."), receive
        body = await _body(receive)
        if body is None:
            return self._told(request, 413, f"A form here has at most {LONGEST_FORM_BYTES} bytes."), receive
        receive = _again(body, receive)
        if is_script:
            return None, receive  # it shows its token itself: no other site can make it do so
        given = request.headers.get(CSRF_HEADER, "")
        if _is_form(request):
            form = _fields(body)
            if form is None:
                return self._told(request, 400, "This is no form of ours."), receive
            request.scope.setdefault("state", {})["form"] = form
            given = given or form.get(CSRF_FIELD, "")
        secret = principal.secret if principal else self._keys.browser.form_secret(request)
        if not is_csrf_token(given, secret):
            return self._told(
                request, 403, "The page is too old, or cookies are switched off. Load it again. Nothing was changed."
            ), receive
        return None, receive


def principal_of(request: Request) -> Principal | None:
    """Who makes the request; None before the log-in."""
    found = request.scope.get("state", {}).get("principal")
    return found if isinstance(found, Principal) else None


def form_of(request: Request) -> dict[str, str]:
    """The fields of the form; of one that is there twice the last."""
    found = request.scope.get("state", {}).get("form")
    return found if isinstance(found, dict) else {}


def address_of(request: Request) -> str:
    """Where the request came from."""
    return request.client.host if request.client else ""


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _is_page(request: Request) -> bool:
    """Whether a person's browser opens it, or sends a form of a page."""
    is_opened = request.method == "GET" or _is_form(request)
    return (
        is_opened
        and not request.url.path.startswith(("/api/", "/metrics"))
        and not any(name in request.headers for name in ("hx-request", "authorization"))
        and request.headers.get("sec-fetch-mode", "navigate") == "navigate"
    )


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM_TYPE


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None where it is longer than a form may be, or the browser went away."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > LONGEST_FORM_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _fields(body: bytes) -> dict[str, str] | None:
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return None


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` with the body before all else."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
