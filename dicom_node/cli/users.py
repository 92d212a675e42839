"""`cspine-node users`: accounts for the pages and tokens for scripts. It needs no account itself: whoever may write
the node's data folder is its master.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load, operator
from dicom_node.cli.output import answer_json, say, table, when
from dicom_node.cli.studies import opened_store
from dicom_node.core.account import LONGEST_PASSWORD, Role

if TYPE_CHECKING:
    from dicom_node.app.accounts import Accounts
    from dicom_node.core.account import Account, ApiToken

app = typer.Typer(help="Who may log in on the pages, as what, and tokens for scripts.", no_args_is_help=True)
token_app = typer.Typer(help="Tokens for scripts: Authorization: Bearer …", no_args_is_help=True)
app.add_typer(token_app, name="token")

Name = Annotated[str, typer.Argument(help="The account's name; upper and lower case are the same.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", metavar="FILE", help="Its first line is the password; - is standard input. Else it is asked."
    ),
]
ARole = Annotated[Role, typer.Option("--role", case_sensitive=False, help="What it may do.")]


@app.command("list")
def list_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The accounts."""
    with _accounts(config) as accounts:
        found = accounts.list()
    if as_json:
        answer_json([_account_json(account) for account in found])
        return
    table(
        ("name", "role", "disabled", "since", "changed"),
        [(a.name, a.role.value, a.is_disabled, when(a.created_at), when(a.changed_at)) for a in found],
        empty="nobody has an account yet; `cspine-node users add NAME --role admin` makes one",
    )


@app.command()
def add(
    name: Name,
    role: ARole = Role.VIEWER,
    password_file: PasswordFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One more account. A running node lets it in at once."""
    with _changing(config) as (accounts, audited):
        account = accounts.add(name, role, _password(password_file), actor=operator())
        audited(f"account added, {account.role.value}", account.name)
    _tell(account, "may log in", as_json)


@app.command("role")
def set_role(
    name: Name, role: Annotated[Role, typer.Argument(case_sensitive=False)], config: ConfigFile = None
) -> None:
    """Another role; who is logged in with the account has to log in again."""
    with _changing(config) as (accounts, audited):
        account = accounts.set_role(name, role, actor=operator())
        audited(f"role changed to {account.role.value}", account.name)
    _tell(account, "has to log in again", as_json=False)


@app.command()
def passwd(name: Name, password_file: PasswordFile = None, config: ConfigFile = None) -> None:
    """Another password; who is logged in with the account has to log in again."""
    with _changing(config) as (accounts, audited):
        account = accounts.set_password(name, _password(password_file), actor=operator())
        audited("password changed by an admin", account.name)
    _tell(account, "has a new password and has to log in again", as_json=False)


@app.command()
def disable(name: Name, config: ConfigFile = None) -> None:
    """Nobody logs in with it, sessions end, its tokens do nothing, until `users enable`."""
    with _changing(config) as (accounts, audited):
        account = accounts.disable(name, actor=operator())
        audited("account disabled", account.name)
    _tell(account, "is disabled and logged out", as_json=False)


@app.command()
def enable(name: Name, config: ConfigFile = None) -> None:
    """May log in again."""
    with _changing(config) as (accounts, audited):
        account = accounts.enable(name, actor=operator())
        audited("account enabled", account.name)
    _tell(account, "may log in", as_json=False)


@app.command("log-out")
def log_out(name: Name, config: ConfigFile = None) -> None:
    """Who is logged in with it has to log in again; its tokens stay."""
    with _changing(config) as (accounts, audited):
        ended = accounts.end_sessions(name, actor=operator())
        audited("sessions ended", name.strip().lower())
    say(f"{name.strip().lower()} is logged out; sessions: {ended}")


@app.command()
def remove(name: Name, config: ConfigFile = None) -> None:
    """Gone with its sessions and tokens. What it did stays in the history."""
    with _changing(config) as (accounts, audited):
        account = accounts.remove(name, actor=operator())
        audited("account removed", account.name)
    _tell(account, "is removed", as_json=False)


@token_app.command("add")
def add_token(
    name: Name,
    role: ARole = Role.VIEWER,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[float, typer.Option(help="How long it lasts.")] = 365.0,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """A token of an account, which may do what --role may and never more than the account. It is shown once."""
    with _changing(config) as (accounts, audited):
        token, secret = accounts.add_token(name, role=role, label=label, days=days, actor=operator())
        audited(f"token {token.id} added, {token.role.value}", name.strip().lower())
    if as_json:
        answer_json({"id": token.id, "role": token.role.value, "expires_at": token.expires_at, "token": secret})
    else:
        say(secret)
        typer.echo(f"token {token.id}, until {when(token.expires_at)}; it is not shown again", err=True)


@token_app.command("list")
def list_tokens(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The tokens, without their secrets."""
    with _accounts(config) as accounts:
        found = accounts.tokens()
    if as_json:
        answer_json([_token_json(token, account) for token, account in found])
        return
    table(
        ("id", "account", "role", "for", "since", "until"),
        [(t.id, a.name, t.role.value, t.label, when(t.created_at), when(t.expires_at)) for t, a in found],
        empty="no tokens",
    )


@token_app.command("remove")
def remove_token(
    token: Annotated[int, typer.Argument(metavar="ID", help="From `users token list`.")], config: ConfigFile = None
) -> None:
    """It opens nothing any more."""
    with _changing(config) as (accounts, audited):
        accounts.remove_token(token, actor=operator())
        audited(f"token {token} removed", f"token {token}")
    say(f"token {token} is taken back")


@contextmanager
def _changing(config: Path | None) -> Iterator[tuple[Accounts, Callable[[str, str], None]]]:
    """The accounts, and where to say what was done to which of them: in the audit trail."""
    from dicom_node.app.audit_events import security_changed
    from dicom_node.bootstrap.accounts import accounts_of
    from dicom_node.bootstrap.auditing import trail_of_a_command

    settings = load(config).settings
    with opened_store(config) as store, trail_of_a_command(settings) as audit:

        def audited(what: str, name: str) -> None:
            title, at = settings.node.ae_title, store.clock.now()
            audit.record(security_changed(what=what, name=name, by=operator(), address="", ae_title=title, at=at))

        yield accounts_of(store), audited


@contextmanager
def _accounts(config: Path | None) -> Iterator[Accounts]:
    from dicom_node.bootstrap.accounts import accounts_of

    with opened_store(config) as store:
        yield accounts_of(store)


def _password(file: Path | None) -> str:
    """From a file, standard input or the keyboard; never an argument, which every user of the machine could read."""
    if file is None and not sys.stdin.isatty():
        raise typer.BadParameter(
            "there is nobody to ask for the password: give --password-file FILE, or - for standard input."
        )
    if file is None:
        given: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    elif str(file) == "-":
        given = sys.stdin.readline(4 * LONGEST_PASSWORD)
    else:
        with file.open(encoding="utf-8") as lines:
            given = lines.readline(4 * LONGEST_PASSWORD)
    given = given.rstrip("\r\n")
    if not given:
        raise typer.BadParameter("the password is empty.")
    return given


def _tell(account: Account, what: str, as_json: bool) -> None:
    if as_json:
        answer_json(_account_json(account))
    else:
        say(f"{account.name} ({account.role.value}) {what}")


def _account_json(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "role": account.role.value,
        "is_disabled": account.is_disabled,
        "created_at": account.created_at,
        "changed_at": account.changed_at,
    }


def _token_json(token: ApiToken, account: Account) -> dict[str, Any]:
    return {
        "id": token.id,
        "account": account.name,
        "role": token.role.value,
        "label": token.label,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }
