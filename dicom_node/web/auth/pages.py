"""Log-in, log-out, the first account, and somebody's own password."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from dicom_node.app.accounts import new_secret
from dicom_node.app.log_in import LoggedIn, Refused, TooMany
from dicom_node.catalogues import N_
from dicom_node.core.account import SHORTEST_PASSWORD, AccountRefused, Action
from dicom_node.core.errors import NodeError
from dicom_node.web.auth.browser import local_path
from dicom_node.web.auth.gate import Keys, address_of, form_of, principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.language import said, say
from dicom_node.web.rendering import page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=2000)]
Code = Annotated[str, Query(max_length=200)]


@router.get("/login")
@needs(Action.LOG_IN)
def log_in_page(request: Request, wanted: Next = "/") -> Response:
    """The form; who is logged in already goes on."""
    if principal_of(request):
        return RedirectResponse(local_path(wanted), 303)
    return _form(request, "login.html", _login_context(request, local_path(wanted)))


@router.post("/login")
@needs(Action.LOG_IN)
def log_in(request: Request) -> Response:
    """A session for who knows name and password; the same refusal for everybody else."""
    form, keys = form_of(request), _keys(request)
    name, wanted = form.get("name", ""), local_path(form.get("next", "/"))
    outcome = keys.log_in.by_password(
        name,
        form.get("password", ""),
        address=address_of(request),
        previous=keys.browser.session_secret(request),
    )
    if isinstance(outcome, LoggedIn):
        return _go(keys, outcome, wanted)
    return _form(request, "login.html", {**_login_context(request, wanted, name[:64]), **_why(outcome)}, outcome)


@router.get("/login/provider")
@needs(Action.LOG_IN)
def to_provider(request: Request, wanted: Next = "/") -> Response:
    """On to the log-in provider, where there is one."""
    keys = _keys(request)
    if keys.provider is None:
        return RedirectResponse("/login", 303)
    try:
        departure = keys.provider.depart(local_path(wanted))
    except NodeError as refused:
        return _not_by_provider(request, refused)
    answer = RedirectResponse(departure.url, 303)
    keys.browser.keep_journey(answer, departure.secret)
    return answer


@router.get("/login/provider/back")
@needs(Action.LOG_IN)
def from_provider(request: Request, state: Code = "", code: Annotated[str, Query(max_length=4096)] = "") -> Response:
    """A session for whom the provider vouches."""
    keys = _keys(request)
    if keys.provider is None:
        return RedirectResponse("/login", 303)
    try:
        arrival = keys.provider.arrive(state=state, code=code, secret=keys.browser.journey_secret(request))
    except NodeError as refused:
        return _not_by_provider(request, refused)
    outcome = keys.log_in.by_provider(arrival.name, arrival.role, address=address_of(request))
    if not isinstance(outcome, LoggedIn):
        return _not_by_provider(request, NodeError("the account is disabled, or has a password of its own"))
    # A redirect would still be the other site's: the browser would keep the session's Strict cookie to itself.
    answer = page(request, "logged_in.html", {"wanted": arrival.wanted})
    keys.browser.keep_session(answer, outcome.secret)
    keys.browser.drop_journey(answer)
    return answer


@router.post("/logout")
@needs(Action.OWN_ACCOUNT)
def log_out(request: Request) -> Response:
    """The session is over, here and in the database."""
    keys, principal = _keys(request), principal_of(request)
    if principal is not None:
        keys.log_in.log_out(principal, address=address_of(request))
    answer = RedirectResponse("/login", 303)
    keys.browser.drop_session(answer)
    return answer


@router.get("/setup")
@needs(Action.LOG_IN)
def set_up_page(request: Request, code: Code = "") -> Response:
    """The form for the first account, while there is none."""
    if not _keys(request).log_in.needs_set_up():
        return RedirectResponse("/login", 303)
    return _form(request, "setup.html", {"code": code, "name": "", "why": "", "shortest": SHORTEST_PASSWORD})


@router.post("/setup")
@needs(Action.LOG_IN)
def set_up(request: Request) -> Response:
    """The first account, an admin's, for who has the code that the node printed when it started."""
    form, keys = form_of(request), _keys(request)
    name, code = form.get("name", ""), form.get("code", "")
    shown: dict[str, Any] = {"code": code[:200], "name": name[:64], "shortest": SHORTEST_PASSWORD}
    if not form.get("password") or form.get("password") != form.get("again"):
        return _form(request, "setup.html", {**shown, "why": say("The two passwords are not the same.")}, Refused())
    try:
        outcome = keys.log_in.set_up(code, name, form["password"], address=address_of(request))
    except AccountRefused as refused:
        return _form(request, "setup.html", {**shown, "why": said(str(refused))}, Refused())
    if isinstance(outcome, LoggedIn):
        return _go(keys, outcome, "/")
    why = _why(outcome, N_("The code is not the one that the node printed when it was started last."))
    return _form(request, "setup.html", {**shown, **why}, outcome)


@router.get("/account")
@needs(Action.OWN_ACCOUNT)
def own_account(request: Request) -> Response:
    """Who one is, and a form for another password."""
    return page(request, "account.html", {"why": "", "shortest": SHORTEST_PASSWORD})


@router.post("/account")
@needs(Action.OWN_ACCOUNT)
def change_password(request: Request) -> Response:
    """Another password for who knows the old one; every other session of the account ends."""
    form, keys, principal = form_of(request), _keys(request), principal_of(request)
    context = {"shortest": SHORTEST_PASSWORD}
    if principal is None or not form.get("password") or form.get("password") != form.get("again"):
        return page(request, "account.html", {**context, "why": say("The two passwords are not the same.")}, 422)
    try:
        outcome = keys.log_in.change_password(
            principal, form.get("old", ""), form["password"], address=address_of(request)
        )
    except AccountRefused as refused:
        return page(request, "account.html", {**context, "why": said(str(refused))}, 422)
    if isinstance(outcome, LoggedIn):
        return _go(keys, outcome, "/")
    why = _why(outcome, N_("The old password is wrong."))
    return page(request, "account.html", {**context, **why}, _status(outcome))


def _login_context(request: Request, wanted: str, name: str = "") -> dict[str, Any]:
    keys = _keys(request)
    return {
        "wanted": wanted,
        "name": name,
        "why": "",
        "needs_set_up": keys.provider is None and keys.log_in.needs_set_up(),
        "has_provider": keys.provider is not None,
    }


def _why(outcome: Refused | TooMany, otherwise: str = N_("Name or password is wrong.")) -> dict[str, str]:
    if isinstance(outcome, TooMany):
        return {"why": say("Too many attempts. Try again in {count} min.", count=math.ceil(outcome.wait_s / 60))}
    return {"why": say(otherwise)}


def _not_by_provider(request: Request, refused: NodeError) -> Response:
    log.warning("provider_log_in_refused", why=str(refused))
    why = {"why": say("The log-in provider did not let you in here. The node's log says why.")}
    return _form(request, "login.html", {**_login_context(request, "/"), **why}, Refused())


def _status(outcome: Refused | TooMany) -> int:
    return 429 if isinstance(outcome, TooMany) else 403


def _form(
    request: Request, template: str, context: dict[str, Any], outcome: Refused | TooMany | None = None
) -> Response:
    """A page before the log-in, with the secret its form is signed with."""
    keys = _keys(request)
    secret = keys.browser.form_secret(request) or new_secret()
    answer = page(request, template, context, _status(outcome) if outcome else 200, form_secret=secret)
    keys.browser.keep_form(answer, secret)
    if isinstance(outcome, TooMany):
        answer.headers["Retry-After"] = str(math.ceil(outcome.wait_s))
    return answer


def _go(keys: Keys, outcome: LoggedIn, wanted: str) -> Response:
    answer = RedirectResponse(wanted, 303)
    keys.browser.keep_session(answer, outcome.secret)
    return answer


def _keys(request: Request) -> Keys:
    sources: WebSources = request.app.state.sources
    return sources.keys
