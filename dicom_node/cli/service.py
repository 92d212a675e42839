"""`cspine-node serve`, `check`, `migrate`, `conformance`: running a node and looking after it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load
from dicom_node.cli.output import answer_json, note, say, table

if TYPE_CHECKING:
    from config.web import WebSettings

RED = 1
SWITCH_INTERVAL_S = 0.0005
"""A thread that receives waits for bytes or the disk a dozen times an image, and after each for the interpreter, which
another gives up when it waits itself or after this long; Python's own 5 ms are longer than an image takes."""


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    for command in (serve, check, migrate, conformance):
        app.command()(command)


def serve(
    config: ConfigFile = None,
    port: Annotated[int | None, typer.Option(help="Instead of node.port.")] = None,
    web_port: Annotated[int | None, typer.Option(help="Instead of web.port.")] = None,
) -> None:
    """The node: receiver, scheduler, analysis, delivery, web page. Stops cleanly on SIGTERM."""
    from config.load import check_port_free
    from dicom_node.bootstrap.allocator import give_memory_back
    from dicom_node.bootstrap.receiver_tls import ports

    give_memory_back()
    loaded = load(config, {"node.port": port, "web.port": web_port})
    settings, origin = loaded.settings, loaded.provenance
    for key, port in ports(settings.node).items():
        check_port_free(settings.node.host, port, key=key, source=origin[key])
    if settings.web.enabled:
        check_port_free(settings.web.host, settings.web.port, key="web.port", source=origin["web.port"])
    from dicom_node import bootstrap

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    node = bootstrap.build_node(loaded)
    node.start()
    if node.dicom_port != node.dicom_tls_port:
        note(f"receiver: {settings.node.ae_title} at {settings.node.host}:{node.dicom_port}")
    if node.dicom_tls_port:
        note(f"receiver with TLS: {settings.node.ae_title} at {settings.node.host}:{node.dicom_tls_port}")
    if settings.web.enabled:
        note(f"worklist: {node.web_url}/")
        _tell_about_the_door(settings.web, node.set_up_url)
    node.run_until_signal()


def _tell_about_the_door(web: WebSettings, set_up_url: str) -> None:
    if set_up_url:
        note(f"nobody has an account yet: make the first one at {set_up_url}")
        note("  or with: cspine-node users add NAME --role admin")
    if not web.is_local and not web.tls.certificate:
        note(
            f"WARNING: the pages are at {web.host} without TLS (web.allow_plain_http = true): passwords and patients' "
            "data cross the network readable"
        )


def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Would this node work? Configuration, ports, storage, database, bundle, localiser, C-ECHO of every peer."""
    loaded = load(config)
    from dicom_node import bootstrap

    checks = bootstrap.run_checks(loaded)
    all_ok = all(check.ok for check in checks)
    if as_json:
        answer_json({"ok": all_ok, "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks]})
    else:
        rows = [("ok" if check.ok else "RED", check.name, check.detail) for check in checks]
        table(("", "check", "detail"), rows, empty="nothing to check")
    if not all_ok:
        raise typer.Exit(RED)


def migrate(config: ConfigFile = None) -> None:
    """Bring the database to the schema of this version. Twice is once."""
    settings = load(config).settings
    from dicom_node import bootstrap

    bootstrap.open_store(settings).close()
    say("the database has the schema of this version")


def conformance(config: ConfigFile = None) -> None:
    """The DICOM conformance statement of the running configuration, as Markdown."""
    settings = load(config).settings
    from dicom_node.cli.conformance import statement

    typer.echo(statement(settings), nl=False)
