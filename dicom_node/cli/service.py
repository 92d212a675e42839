"""`cspine-node serve`, `check`, `migrate`, `conformance`: running a node and looking after it."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load
from dicom_node.cli.output import answer_json, note, say, table

RED = 1


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
    from dicom_node.bootstrap.receiver_tls import ports

    loaded = load(config, {"node.port": port, "web.port": web_port})
    settings, origin = loaded.settings, loaded.provenance
    for key, port in ports(settings.node).items():
        check_port_free(settings.node.host, port, key=key, source=origin[key])
    if settings.web.enabled:
        check_port_free(settings.web.host, settings.web.port, key="web.port", source=origin["web.port"])
    from dicom_node import bootstrap

    node = bootstrap.build_node(loaded)
    node.start()
    if node.dicom_port != node.dicom_tls_port:
        note(f"receiver: {settings.node.ae_title} at {settings.node.host}:{node.dicom_port}")
    if node.dicom_tls_port:
        note(f"receiver with TLS: {settings.node.ae_title} at {settings.node.host}:{node.dicom_tls_port}")
    if settings.web.enabled:
        note(f"worklist: http://{settings.web.host}:{node.web_port}/")
    node.run_until_signal()


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
