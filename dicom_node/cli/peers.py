"""`cspine-node peers`: AE-title administration, through the one writer of the configuration file.

An edit is checked, tried at the peer, shown, written and kept, in that order. What the peer says to the test does not
decide: it may be switched off. A running node takes the change up by itself, and records it with who made it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load, operator
from dicom_node.cli.output import answer_json, note, say, table
from dicom_node.cli.peers_file import editor_of, given_words, peer_after, try_and_tell

if TYPE_CHECKING:
    from config.edits import Edit

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
More = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other key of docs/CONFIGURATION.md; lists with commas."),
]
Unset = Annotated[list[str] | None, typer.Option("--unset", metavar="KEY", help="A key that is to have its default.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
Test = Annotated[bool, typer.Option("--test/--no-test", help="Is the peer tried as well, by C-ECHO and an offer?")]


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
    more: More = None,
    dry_run: DryRun = False,
    test: Test = True,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One more peer; a running node takes it up by itself. AE title, host and port are needed for all but STOW-RS."""
    from config.edits import adding

    given = _given(locals())
    edit = adding({"name": name, **given, **given_words(more)})
    _carry_out(edit, name if test else "", dry_run, config, as_json)


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
    more: More = None,
    unset: Unset = None,
    dry_run: DryRun = False,
    test: Test = True,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a peer."""
    from config.edits import changing

    changes = _given(locals()) | ({"name": rename} if rename is not None else {})
    changes |= given_words(more) | dict.fromkeys(unset or ())
    if not changes:
        raise typer.BadParameter("nothing to change: give at least one of the options.")
    _carry_out(changing(name, changes), (rename or name) if test else "", dry_run, config, as_json)


@app.command()
def remove(name: Name, dry_run: DryRun = False, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Take a peer out of the configuration."""
    from config.edits import removing

    _carry_out(removing(name), "", dry_run, config, as_json)


@app.command("test")
def try_(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """C-ECHO to a peer, and an offer of our objects: which of them it accepts. Nothing is stored there."""
    from dicom_node.bootstrap.peers import named_peer

    settings = load(config).settings
    if not try_and_tell(named_peer(settings, name), settings.node.ae_title, answer=as_json):
        raise typer.Exit(1)


@app.command()
def history(
    version: Annotated[str, typer.Argument(help="A version, to see what the change behind it did.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The versions of the file that edits have replaced, newest first; or what one of the changes did."""
    editor = editor_of(config)
    if version:
        diff = editor.diff_of(version)
        answer_json({"id": version, "diff": diff}) if as_json else say(diff)
        return
    versions = editor.history()
    if as_json:
        answer_json(versions)
        return
    table(
        ("version before the change", "who", "the change", "what it did"),
        [(version.id, version.who, version.action, "; ".join(version.words)) for version in versions],
        empty="no edits yet",
    )


@app.command()
def rollback(
    version: Annotated[
        str, typer.Argument(help='A version from `peers history`: the file as it was before it; or "last-good".')
    ],
    dry_run: DryRun = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring back an earlier version of the whole file. The present one is kept in the history."""
    from config.edits import restoring

    _carry_out(restoring(version), "", dry_run, config, as_json)


def _carry_out(edit: Edit, tried: str, dry_run: bool, config: Any, as_json: bool) -> None:
    """Check, show, write; then the peer of the name `tried` is tried, where there is one."""
    editor = editor_of(config)
    peer = peer_after(editor, edit, tried, config) if tried else None
    change = editor.preview(edit) if dry_run else editor.apply(edit, who=operator())
    tell: Callable[[str], None] = note if as_json else say
    if as_json:
        answer_json(change)
    elif not change.diff:
        say("nothing changed")
    else:
        say(change.diff)
    if peer is not None and change.diff:
        try_and_tell(*peer, say=tell)
    if as_json or not change.diff:
        return
    undo = f"done; undo with: cspine-node peers rollback {change.version}"
    say("nothing was written: --dry-run" if dry_run else undo)


_NO_KEYS = frozenset({"name", "rename", "more", "unset", "dry_run", "test", "config", "as_json", "adding", "changing"})


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The keys of a peer among a command's options, those that were given."""
    return {key: value for key, value in values.items() if key not in _NO_KEYS and value not in (None, [])}
