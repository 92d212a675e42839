"""`cspine-node quarantine`: files that were set aside, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load, operator
from dicom_node.cli.output import answer_json, say, table, when
from dicom_node.cli.studies import opened_store
from dicom_node.core.quarantine import QuarantineState

if TYPE_CHECKING:
    from dicom_node.core.quarantine import QuarantinedFile

app = typer.Typer(help="Files that were set aside: conflicting, unreadable, damaged, replaced.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="ID", help="A file from `quarantine list`.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command("list")
def list_(
    state: Annotated[
        QuarantineState | None, typer.Option(case_sensitive=False, help="Only those; without it, those that wait.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Settled ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many, the newest first.")] = 50,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The files in quarantine that wait for a decision, newest first."""
    from dicom_node.app.queries import quarantine_json

    states = None if every else [state or QuarantineState.HELD]
    with opened_store(config) as store, store.reading() as uow:
        found = uow.quarantine.list(states=states, limit=limit)
    if as_json:
        answer_json([quarantine_json(entry) for entry in found])
        return
    table(
        ("id", "since", "state", "reason", "from", "study", "bytes", "why"),
        [
            (
                entry.id,
                when(entry.set_aside_at),
                entry.state.value,
                entry.reason.value,
                entry.calling_aet,
                entry.study_instance_uid,
                entry.size_bytes,
                entry.why,
            )
            for entry in found
        ],
        empty="nothing waits in quarantine",
    )


@app.command()
def show(entry: Number, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One file in full: where it lies, what it says of itself, what became of it."""
    from dicom_node.bootstrap.upkeep import quarantine_of

    with opened_store(config) as store:
        detail = quarantine_of(store).detail(entry)
    found, held = detail.entry, detail.held
    if as_json:
        answer_json({**detail.as_json(), "path": str(detail.path)})
        return
    facts = {
        "reason": f"{found.reason.value}: {found.why}",
        "file": f"{detail.path}" if detail.is_there else "gone",
        "SOP Instance UID": found.sop_instance_uid,
        "SOP Class UID": found.sop_class_uid,
        "study": found.study_instance_uid,
        "from": found.calling_aet,
        "set aside": when(found.set_aside_at),
        "digest": found.digest,
        "bytes": found.size_bytes,
        "held now": f"{held.size_bytes} bytes from {held.calling_aet}, digest {held.digest}" if held else "",
        "settled": f"{when(found.settled_at)} by {found.settled_by}: {found.settled_why}" if found.settled_at else "",
    }
    say(f"quarantine {found.id}: {found.state.value}")
    for name, value in facts.items():
        if value != "":
            say(f"  {name}: {value}")


@app.command()
def release(entry: Number, reason: Reason = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Take the file in as an instance, in the place of the one that is held, as a new revision of its study."""
    from dicom_node.app.quarantine import Quarantine

    _decide(Quarantine.release, entry, reason, config, as_json)


@app.command()
def discard(entry: Number, reason: Reason = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Remove the file; that it was there stays noted."""
    from dicom_node.app.quarantine import Quarantine

    _decide(Quarantine.discard, entry, reason, config, as_json)


def _decide(act: Callable[..., QuarantinedFile], entry: int, reason: str, config: Path | None, as_json: bool) -> None:
    """It is done, in the audit trail with who did it, and told."""
    from dicom_node.app.audited import record_decision
    from dicom_node.bootstrap.auditing import trail_of_a_command
    from dicom_node.bootstrap.upkeep import quarantine_of

    who = operator()
    with opened_store(config) as store, trail_of_a_command(load(config).settings) as audit:
        settled = act(quarantine_of(store), entry, actor=who, reason=reason)
        record_decision(audit, settled, who=who, address="", reading=store.reading, at=store.clock.now())
    _tell(settled, as_json)


def _tell(entry: QuarantinedFile, as_json: bool) -> None:
    from dicom_node.app.queries import quarantine_json

    if as_json:
        answer_json(quarantine_json(entry))
    else:
        say(f"quarantine {entry.id} is {entry.state.value}: {entry.settled_why}")
