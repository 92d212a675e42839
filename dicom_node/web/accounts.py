"""Accounts for admins: what `cspine-node users` does, with the same rules, on the page and for scripts.

Each change is told to the audit trail. A token's secret is on the page that made it and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from dicom_node.app.accounts import LONGEST_TOKEN_DAYS, Accounts
from dicom_node.app.queries import iso
from dicom_node.catalogues import N_
from dicom_node.core.account import LONGEST_PASSWORD, SHORTEST_PASSWORD, Account, AccountRefused, Action, ApiToken, Role
from dicom_node.core.languages import LANGUAGES
from dicom_node.web.accesses import note_security
from dicom_node.web.api_parts import CHANGES, api_router, refusals_as_answers
from dicom_node.web.auth.browser import local_path
from dicom_node.web.auth.gate import form_of, principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.language import COOKIE, say
from dicom_node.web.rendering import page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)
api = api_router()

_A_YEAR_S = 365 * 86_400

Name = Annotated[str, InPath(max_length=80)]
TokenId = Annotated[int, InPath(ge=1, le=2**62)]
Password = Annotated[str, Field(max_length=LONGEST_PASSWORD)]


class NewAccount(BaseModel):
    """Without a password it can log in by the provider alone, or be given tokens."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    role: Role = Role.VIEWER
    password: Password = ""


class AccountChange(BaseModel):
    """What is to be other; what is not given stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    disabled: bool | None = None
    password: Password | None = None


class NewToken(BaseModel):
    """A token may never do more than its account."""

    model_config = ConfigDict(extra="forbid")

    role: Role = Role.VIEWER
    label: str = Field(default="", max_length=200)
    days: float = Field(default=365.0, gt=0, le=LONGEST_TOKEN_DAYS, allow_inf_nan=False)


@router.get("/accounts")
@needs(Action.MANAGE_ACCOUNTS)
def accounts_page(request: Request) -> Response:
    """Who may log in as what, and the tokens."""
    return _shown(request)


@router.post("/accounts")
@needs(Action.MANAGE_ACCOUNTS)
def add_by_form(request: Request) -> Response:
    """One more account."""
    form = form_of(request)
    if form.get("password", "") != form.get("again", ""):
        return _shown(request, why=say("The two passwords are not the same."), status_code=422)
    try:
        added = _accounts(request).add(
            form.get("name", ""), _role(form.get("role", "")), form.get("password", ""), actor=_actor(request)
        )
    except AccountRefused as refused:
        return _shown(request, why=str(refused), status_code=409)
    note_security(request, what=f"account added, {added.role.value}", name=added.name)
    return RedirectResponse("/accounts", 303)


@router.post("/accounts/{name}/{change}")
@needs(Action.MANAGE_ACCOUNTS)
def change_by_form(request: Request, name: Name, change: str) -> Response:
    """role, password, disable, enable, log-out, remove or token; then the list, or why not."""
    form = form_of(request)
    try:
        if change == "token":
            return _shown(request, made=_token_by_form(request, name, form))
        if change == "remove" and form.get("sure") != "yes":
            return _shown(
                request, why=say("Say that you are sure: what is removed does not come back."), status_code=422
            )
        what = _changed(_accounts(request), name, change, form, actor=_actor(request))
    except AccountRefused as refused:
        return _shown(request, why=str(refused), status_code=409)
    if not what:
        raise HTTPException(404, "there is no such change")
    note_security(request, what=what, name=name)
    return RedirectResponse("/accounts", 303)


@router.post("/tokens/{token_id}/remove")
@needs(Action.MANAGE_ACCOUNTS)
def remove_token_by_form(request: Request, token_id: TokenId) -> Response:
    """It opens nothing any more."""
    try:
        _accounts(request).remove_token(token_id, actor=_actor(request))
    except AccountRefused as refused:
        return _shown(request, why=str(refused), status_code=409)
    note_security(request, what=f"token {token_id} removed", name=f"token {token_id}")
    return RedirectResponse("/accounts", 303)


@router.get("/language/{language}")
@needs(Action.LOG_IN)
def speak_before_log_in(request: Request, language: str) -> Response:
    """The browser keeps the language, also of a page before the log-in."""
    return _remembered(request, language, "/login")


@router.post("/account/language")
@needs(Action.OWN_ACCOUNT)
def speak_for_account(request: Request) -> Response:
    """The account keeps the language, and so does the browser, for the log-in."""
    form = form_of(request)
    language = form.get("language", "")
    try:
        _accounts(request).set_language(_actor(request), language, actor=_actor(request))
    except AccountRefused as refused:
        raise HTTPException(422, str(refused)) from None
    return _remembered(request, language, local_path(form.get("back", "/")))


@api.get("/accounts", summary="Who may log in, as what")
@needs(Action.MANAGE_ACCOUNTS)
def accounts(request: Request) -> list[dict[str, Any]]:
    """By name."""
    return [_account_json(account) for account in _accounts(request).list()]


@api.post("/accounts", status_code=201, summary="Add an account", responses=CHANGES)
@needs(Action.MANAGE_ACCOUNTS)
def add(request: Request, new: NewAccount) -> dict[str, Any]:
    """Names are kept in lower case."""
    with refusals_as_answers():
        added = _accounts(request).add(new.name, new.role, new.password, actor=_actor(request))
    note_security(request, what=f"account added, {added.role.value}", name=added.name)
    return _account_json(added)


@api.patch("/accounts/{name}", summary="Change role or password, disable, enable", responses=CHANGES)
@needs(Action.MANAGE_ACCOUNTS)
def change(request: Request, name: Name, wanted: AccountChange) -> dict[str, Any]:
    """Whoever is logged in with it has to log in again. One after the other: what comes before a refusal is done."""
    _known(request, name)
    given = wanted.model_dump(exclude_none=True)
    for what, value in given.items():
        named = {"disabled": "disable" if value else "enable"}.get(what, what)
        with refusals_as_answers():
            done = _changed(_accounts(request), name, named, {what: str(value)}, actor=_actor(request))
        note_security(request, what=done, name=name)
    return _account_json(_known(request, name))


@api.delete("/accounts/{name}", status_code=204, summary="Remove an account for good", responses=CHANGES)
@needs(Action.MANAGE_ACCOUNTS)
def remove(request: Request, name: Name) -> None:
    """With its sessions and tokens; what it did stays in the history."""
    _known(request, name)
    with refusals_as_answers():
        _accounts(request).remove(name, actor=_actor(request))
    note_security(request, what="account removed", name=name)


@api.delete("/accounts/{name}/sessions", summary="Log an account out everywhere", responses=CHANGES)
@needs(Action.MANAGE_ACCOUNTS)
def end_sessions(request: Request, name: Name) -> dict[str, int]:
    """Answers with how many sessions ended. Tokens stay."""
    _known(request, name)
    with refusals_as_answers():
        ended = _accounts(request).end_sessions(name, actor=_actor(request))
    note_security(request, what="sessions ended", name=name)
    return {"ended": ended}


@api.get("/tokens", summary="The tokens, without their secrets")
@needs(Action.MANAGE_ACCOUNTS)
def tokens(request: Request) -> list[dict[str, Any]]:
    """Oldest first."""
    return [_token_json(token, account) for token, account in _accounts(request).tokens()]


@api.post("/accounts/{name}/tokens", status_code=201, summary="Make a token for scripts", responses=CHANGES)
@needs(Action.MANAGE_ACCOUNTS)
def add_token(request: Request, name: Name, new: NewToken) -> dict[str, Any]:
    """`token` is the secret; it is in this answer and nowhere else."""
    account = _known(request, name)
    with refusals_as_answers():
        token, secret = _accounts(request).add_token(
            name, role=new.role, label=new.label, days=new.days, actor=_actor(request)
        )
    note_security(request, what=f"token {token.id} added, {token.role.value}", name=account.name)
    return {**_token_json(token, account), "token": secret}


@api.delete("/tokens/{token_id}", status_code=204, summary="Take a token back", responses=CHANGES)
@needs(Action.MANAGE_ACCOUNTS)
def remove_token(request: Request, token_id: TokenId) -> None:
    """It opens nothing any more."""
    with refusals_as_answers():
        _accounts(request).remove_token(token_id, actor=_actor(request))
    note_security(request, what=f"token {token_id} removed", name=f"token {token_id}")


def _changed(accounts: Accounts, name: str, change: str, form: dict[str, str], *, actor: str) -> str:
    """What was changed, for the audit trail; empty where there is no such change."""
    match change:
        case "role":
            return f"role changed to {accounts.set_role(name, _role(form.get('role', '')), actor=actor).role.value}"
        case "password":
            if form.get("again", form.get("password")) != form.get("password"):
                raise AccountRefused(N_("The two passwords are not the same."))
            accounts.set_password(name, form.get("password", ""), actor=actor)
            return "password changed by an admin"
        case "disable":
            accounts.disable(name, actor=actor)
            return "account disabled"
        case "enable":
            accounts.enable(name, actor=actor)
            return "account enabled"
        case "log-out":
            accounts.end_sessions(name, actor=actor)
            return "sessions ended"
        case "remove":
            accounts.remove(name, actor=actor)
            return "account removed"
    return ""


def _token_by_form(request: Request, name: str, form: dict[str, str]) -> tuple[ApiToken, str]:
    try:
        days = float(form.get("days", ""))
    except ValueError:
        raise AccountRefused(N_("Say for how many days the token is to last.")) from None
    token, secret = _accounts(request).add_token(
        name, role=_role(form.get("role", "")), label=form.get("label", ""), days=days, actor=_actor(request)
    )
    note_security(request, what=f"token {token.id} added, {token.role.value}", name=name)
    return token, secret


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise AccountRefused(N_("Choose a role.")) from None


def _shown(
    request: Request, *, why: str = "", made: tuple[ApiToken, str] | None = None, status_code: int = 200
) -> Response:
    found = _accounts(request)
    context = {
        "accounts": found.list(),
        "tokens": found.tokens(),
        "roles": tuple(Role),
        "shortest": SHORTEST_PASSWORD,
        "longest_days": int(LONGEST_TOKEN_DAYS),
        "made": made,
        "why": why,
    }
    return page(request, "accounts.html", context, status_code)


def _remembered(request: Request, language: str, back: str) -> Response:
    sources: WebSources = request.app.state.sources
    answer = RedirectResponse(back, 303)
    if language in LANGUAGES:
        answer.set_cookie(
            COOKIE,
            language,
            max_age=_A_YEAR_S,
            path="/",
            secure=sources.keys.browser.is_secure,
            httponly=True,
            samesite="lax",
        )
    else:
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return answer


def _known(request: Request, name: str) -> Account:
    wanted = name.strip().lower()
    for account in _accounts(request).list():
        if account.name == wanted:
            return account
    raise HTTPException(404, f"there is no account {name!r}")


def _account_json(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "role": account.role.value,
        "is_disabled": account.is_disabled,
        "has_password": bool(account.password_hash),
        "language": account.language,
        "created_at": iso(account.created_at),
        "changed_at": iso(account.changed_at),
    }


def _token_json(token: ApiToken, account: Account) -> dict[str, Any]:
    return {
        "id": token.id,
        "account": account.name,
        "role": token.role.value,
        "label": token.label,
        "created_at": iso(token.created_at),
        "expires_at": iso(token.expires_at),
    }


def _actor(request: Request) -> str:
    principal = principal_of(request)
    assert principal is not None  # the gate lets nobody else through
    return principal.name


def _accounts(request: Request) -> Accounts:
    sources: WebSources = request.app.state.sources
    return sources.accounts
