"""`cspine-node serve`, `check`, `migrate`, `doctor`, `conformance`: running a node and looking after it."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load
from dicom_node.cli.output import answer_json, note, say, table

RED = 1


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    for command in (serve, check, migrate, doctor, conformance):
        app.command()(command)


def serve(
    config: ConfigFile = None,
    port: Annotated[int | None, typer.Option(help="Instead of node.port.")] = None,
    web_port: Annotated[int | None, typer.Option(help="Instead of web.port.")] = None,
) -> None:
    """The node: receiver, scheduler, analysis, delivery, web page. Stops cleanly on SIGTERM."""
    from config.load import check_port_free

    loaded = load(config, {"node.port": port, "web.port": web_port})
    settings, origin = loaded.settings, loaded.provenance
    check_port_free(settings.node.host, settings.node.port, key="node.port", source=origin["node.port"])
    if settings.web.enabled:
        check_port_free(settings.web.host, settings.web.port, key="web.port", source=origin["web.port"])
    from dicom_node import bootstrap

    node = bootstrap.build_node(loaded)
    node.start()
    note(f"receiver: {settings.node.ae_title} at {settings.node.host}:{node.dicom_port}")
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


def doctor(
    config: ConfigFile = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every file and compare its digest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare files with rows: what is missing, damaged or known to no row. Changes nothing."""
    settings = load(config).settings
    from dicom_node import bootstrap
    from dicom_node.cli.doctor import examine

    store = bootstrap.open_store(settings)
    try:
        report = examine(store, deep=deep)
    finally:
        store.close()
    if as_json:
        answer_json({"studies": report.studies, "instances": report.instances, "complaints": report.complaints})
    else:
        say(f"{report.studies} studies, {report.instances} instances")
        rows = [(c.what, c.file, c.detail) for c in report.complaints]
        table(("what", "file", "detail"), rows, empty="files and rows agree")
    if report.complaints:
        raise typer.Exit(RED)


def conformance(config: ConfigFile = None) -> None:
    """The DICOM conformance statement of the running configuration, as Markdown."""
    settings = load(config).settings
    from dicom_node.cli.conformance import statement

    typer.echo(statement(settings), nl=False)
