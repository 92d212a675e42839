"""`cspine-node peers`: AE-title administration, through the one writer of the configuration file."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load, operator
from dicom_node.cli.output import answer_json, say, table

if TYPE_CHECKING:
    from config.editing import Change, PeerEditor

_HISTORY = "config-history"

app = typer.Typer(help="The remote AEs: who may send to us, who gets results.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The peer's name in our configuration.")]
AeTitle = Annotated[str | None, typer.Option("--ae-title", help="Its AE title, at most 16 characters.")]
Host = Annotated[str | None, typer.Option("--host", help="Its address or host name.")]
Port = Annotated[int | None, typer.Option("--port", help="Its TCP port.")]
MaySend = Annotated[bool | None, typer.Option("--may-send/--may-not-send", help="Are its associations accepted?")]
Receives = Annotated[bool | None, typer.Option("--receives-results/--no-results", help="Are results delivered to it?")]
Objects = Annotated[
    list[str] | None,
    typer.Option("--object", help="A kind of object it gets, or auto; give it again for each. See docs/RESULTS.md."),
]
StatusReports = Annotated[
    bool | None, typer.Option("--status-reports/--no-status-reports", help="Is it told of studies not analysed?")
]
StowUrl = Annotated[str | None, typer.Option("--stow-url", help="Results go by STOW-RS there; empty: by C-STORE.")]
StowToken = Annotated[
    str | None, typer.Option("--stow-token-env", help="The environment variable that holds its bearer token.")
]
Addresses = Annotated[
    list[str] | None,
    typer.Option("--address", help="An address or network its associations come from; give it again for each."),
]
Tls = Annotated[bool | None, typer.Option("--tls/--no-tls", help="DICOM over TLS, both ways?")]
Pinned = Annotated[
    str | None, typer.Option("--tls-certificate-sha256", help="The fingerprint of the one certificate it may show.")
]
User = Annotated[str | None, typer.Option("--user-name", help="The user that its association requests must name.")]
Passcode = Annotated[
    str | None, typer.Option("--user-passcode-env", help="The environment variable that holds that user's passcode.")
]
Commits = Annotated[
    bool | None, typer.Option("--storage-commitment/--no-storage-commitment", help="Is it asked to commit to results?")
]
Hours = Annotated[
    str | None, typer.Option("--delivery-hours", help='When it takes results, as in "22:00-06:00"; empty: always.')
]
Enabled = Annotated[bool | None, typer.Option("--enable/--disable", help="Is the entry in use?")]


@app.command("list")
def list_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The configured peers."""
    peers = load(config).settings.peers
    if as_json:
        answer_json([peer.model_dump() for peer in peers])
        return
    table(
        ("name", "AE title", "host", "port", "may send", "receives results", "objects", "STOW-RS", "enabled"),
        [
            (
                p.name,
                p.ae_title,
                p.host,
                p.port,
                p.may_send,
                p.receives_results,
                ", ".join(p.objects),
                p.stow_url,
                p.enabled,
            )
            for p in peers
        ],
        empty="no peers yet; `cspine-node peers add` makes one",
    )


@app.command()
def add(
    name: Name,
    ae_title: AeTitle = None,
    host: Host = None,
    port: Port = None,
    may_send: MaySend = None,
    receives_results: Receives = None,
    objects: Objects = None,
    status_reports: StatusReports = None,
    stow_url: StowUrl = None,
    addresses: Addresses = None,
    tls: Tls = None,
    tls_certificate_sha256: Pinned = None,
    user_name: User = None,
    user_passcode_env: Passcode = None,
    stow_token_env: StowToken = None,
    storage_commitment: Commits = None,
    delivery_hours: Hours = None,
    enabled: Enabled = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One more peer; a running node takes it up by itself. AE title, host and port are needed for all but STOW-RS."""
    given = {
        "ae_title": ae_title,
        "host": host,
        "port": port,
        "may_send": may_send,
        "receives_results": receives_results,
        "objects": objects or None,
        "status_reports": status_reports,
        "stow_url": stow_url,
        "addresses": addresses or None,
        "tls": tls,
        "tls_certificate_sha256": tls_certificate_sha256,
        "user_name": user_name,
        "user_passcode_env": user_passcode_env,
        "stow_token_env": stow_token_env,
        "storage_commitment": storage_commitment,
        "delivery_hours": delivery_hours,
        "enabled": enabled,
    }
    change = _editor(config).add({"name": name, **_given(given)}, who=operator())
    _report(change, as_json)


@app.command()
def edit(
    name: Name,
    rename: Annotated[str | None, typer.Option("--rename", help="A new name for it.")] = None,
    ae_title: AeTitle = None,
    host: Host = None,
    port: Port = None,
    may_send: MaySend = None,
    receives_results: Receives = None,
    objects: Objects = None,
    status_reports: StatusReports = None,
    stow_url: StowUrl = None,
    addresses: Addresses = None,
    tls: Tls = None,
    tls_certificate_sha256: Pinned = None,
    user_name: User = None,
    user_passcode_env: Passcode = None,
    stow_token_env: StowToken = None,
    storage_commitment: Commits = None,
    delivery_hours: Hours = None,
    enabled: Enabled = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a peer."""
    changes = _given(
        {
            "name": rename,
            "ae_title": ae_title,
            "host": host,
            "port": port,
            "may_send": may_send,
            "receives_results": receives_results,
            "objects": objects or None,
            "status_reports": status_reports,
            "stow_url": stow_url,
            "addresses": addresses or None,
            "tls": tls,
            "tls_certificate_sha256": tls_certificate_sha256,
            "user_name": user_name,
            "user_passcode_env": user_passcode_env,
            "stow_token_env": stow_token_env,
            "storage_commitment": storage_commitment,
            "delivery_hours": delivery_hours,
            "enabled": enabled,
        }
    )
    if not changes:
        raise typer.BadParameter("nothing to change: give at least one of the options.")
    _report(_editor(config).edit(name, changes, who=operator()), as_json)


@app.command()
def remove(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Take a peer out of the configuration."""
    _report(_editor(config).remove(name, who=operator()), as_json)


@app.command("test")
def c_echo(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """C-ECHO to a peer, as `cspine-node echo`."""
    from dicom_node.cli.network import echo

    echo(name, config=config, as_json=as_json)


@app.command()
def history(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The versions of the file that edits have replaced, newest first."""
    versions = _editor(config).history()
    if as_json:
        answer_json(versions)
        return
    table(
        ("version before the change", "who", "the change"),
        [(version.id, version.who, version.action) for version in versions],
        empty="no edits yet",
    )


@app.command()
def rollback(
    version: Annotated[str, typer.Argument(help="A version from `peers history`: the file as it was before it.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring back an earlier version of the whole file. The present one is kept in the history."""
    _report(_editor(config).rollback(version, who=operator()), as_json)


def _editor(config: Path | None) -> PeerEditor:
    from config.editing import PeerEditor
    from config.load import DEFAULT_FILE

    file = config or DEFAULT_FILE
    return PeerEditor(file=file, history_dir=_history_dir(file), now=lambda: datetime.now(UTC))


def _history_dir(file: Path) -> Path:
    from config.errors import ConfigError
    from config.load import load_settings

    try:
        data_dir = load_settings(file).settings.node.data_dir
    except ConfigError:
        # A file broken by hand must still be one that can be rolled back.
        data_dir = _data_dir_of_broken(file)
        if not (data_dir / _HISTORY).is_dir():
            raise
    return data_dir / _HISTORY


def _data_dir_of_broken(file: Path) -> Path:
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    found = re.search(r"""^\s*data_dir\s*=\s*["']([^"']+)["']""", text, re.MULTILINE)
    return file.resolve().parent / (found[1] if found else "var")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _report(change: Change, as_json: bool) -> None:
    if as_json:
        answer_json(change)
    elif not change.diff:
        say("nothing changed")
    else:
        say(change.diff)
        say(f"done; undo with: cspine-node peers rollback {change.version}")
