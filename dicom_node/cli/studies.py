"""`cspine-node studies`: the node's work, and why it stands where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load, operator
from dicom_node.cli.output import answer_json, say, table, when
from dicom_node.core.identifiers import study_key
from dicom_node.core.worklist import WorklistState

if TYPE_CHECKING:
    from dicom_node.app.operator_actions import OperatorActions
    from dicom_node.app.queries import StudyDetail
    from dicom_node.core.job import AnalysisJob

app = typer.Typer(help="The node's work and why it stands where it does.", no_args_is_help=True)

_NEVER = datetime.min.replace(tzinfo=UTC)

Study = Annotated[str, typer.Argument(metavar="UID", help="The Study Instance UID.")]


@app.command("list")
def list_(
    status: Annotated[
        WorklistState | None,
        typer.Option(case_sensitive=False, help="Only studies that stand here, in the order of the worklist page."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The node's studies, the one that received an image last first."""
    from dicom_node.app.queries import list_worklist, worklist_page
    from dicom_node.core.standing import WorklistFilter

    with opened_store(config) as store, store.reading() as uow:
        if status is None:
            rows = list_worklist(uow, limit=limit)
        else:
            rows = worklist_page(uow, WorklistFilter(state=status), limit=limit)
    if as_json:
        answer_json([row.as_json() for row in rows])
        return
    table(
        ("status", "study", "last image", "images", "from", "fracture", "why"),
        [
            (
                row.status.state.value,
                row.study.study_instance_uid,
                when(row.study.last_received_at),
                row.study.instance_count,
                row.study.calling_aet,
                _verdict(row.is_positive, row.probability, row.positive_levels),
                row.status.why,
            )
            for row in rows
        ],
        empty="no studies",
    )


@app.command()
def show(uid: Study, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One study in full: series, analysis, deliveries, history."""
    from dicom_node.app.operator_actions import UnknownStudy
    from dicom_node.app.queries import study_detail

    with opened_store(config) as store, store.reading() as uow:
        detail = study_detail(uow, uid)
    if detail is None:
        raise UnknownStudy(f"study {uid} is not known here; `cspine-node studies list` shows those that are")
    if as_json:
        answer_json(detail.as_json())
    else:
        _show(detail)


@app.command()
def close(
    uid: Study,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Close a study that is still being received; its analysis is queued."""
    with _actions(config) as actions:
        job = actions.close_study(uid, actor=operator(), reason=reason)
    _report(as_json, f"closed as revision {job.revision}; job {job.id} is {job.state.value}", job=job.id)


@app.command()
def retry(uid: Study, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Start again what stands still: the analysis, or failed deliveries."""
    with _actions(config) as actions:
        job, deliveries = actions.retry_study(uid, actor=operator())
    ids = [delivery.id for delivery in deliveries]
    text = f"deliveries {', '.join(map(str, ids))} wait to be sent" if ids else f"job {job.id} is {job.state.value}"
    _report(as_json, text, job=job.id, deliveries=ids)


@app.command("analyse-again")
def analyse_again(uid: Study, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Analyse a study again that has a result, as a new revision; its receivers get the new result."""
    with _actions(config) as actions:
        job = actions.analyse_again(uid, actor=operator())
    _report(as_json, f"revision {job.revision}; job {job.id} is {job.state.value}", job=job.id)


@app.command()
def cancel(uid: Study, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Stop the analysis that waits or runs. `studies retry` takes it up again."""
    with _actions(config) as actions:
        job = actions.cancel_study(uid, actor=operator())
    _report(as_json, f"job {job.id} is {job.state.value}", job=job.id)


@app.command()
def records(
    out: Annotated[Path, typer.Option(help="A new CSV file, for `evaluate drift`.")],
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only studies analysed on this day (UTC) or later.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """A row of numbers for each analysed study: scores and what its images are like, no patient."""
    from dicom_node.app.queries import analysed_results
    from inference.evaluation.drift_record import append_record

    if out.exists():
        raise typer.BadParameter(f"{out} exists; name a new file", param_hint="--out")
    count = 0
    with opened_store(config) as store, store.reading() as uow:
        for job, result in analysed_results(uow):
            if result.get("inputs") and (since is None or (job.finished_at or _NEVER) >= since.replace(tzinfo=UTC)):
                append_record(out, _record(job, result))
                count += 1
    _report(as_json, f"{out}: {count} records", records=count)


def _record(job: AnalysisJob, result: dict[str, Any]) -> dict[str, Any]:
    from inference.evaluation.drift_record import InputFacts, record_of

    said = {level["level"]: level["probability"] for level in result["levels"]}
    return record_of(
        study=study_key(job.study_instance_uid),
        analysed_at=job.finished_at or job.created_at,
        bundle=f"{result['bundle']['name']} {result['bundle']['version']}",
        probabilities={"patient_overall": result["patient_overall"]["probability"], **said},
        inputs=InputFacts(**result["inputs"]),
    )


@contextmanager
def opened_store(config: Path | None) -> Iterator[Any]:
    """The node's store, beside a running node or without one."""
    settings = load(config).settings
    from dicom_node import bootstrap

    store = bootstrap.open_store(settings)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _actions(config: Path | None) -> Iterator[OperatorActions]:
    with opened_store(config) as store:
        yield operator_actions(store)


def operator_actions(store: Any) -> OperatorActions:
    """What an operator may do, on this store."""
    from dicom_node.app.counting import NoCounters
    from dicom_node.app.operator_actions import OperatorActions

    return OperatorActions(uow_factory=store.unit_of_work, clock=store.clock, counters=NoCounters())


def _report(as_json: bool, text: str, **facts: Any) -> None:
    if as_json:
        answer_json(facts)
    else:
        say(text)


def _verdict(is_positive: bool | None, probability: float | None, levels: tuple[str, ...]) -> str:
    if is_positive is None or probability is None:
        return ""
    return f"{'YES' if is_positive else 'no'} {probability:.2f} {' '.join(levels)}".rstrip()


def _show(detail: StudyDetail) -> None:
    study = detail.study
    say(f"{study.study_instance_uid}: {detail.status.state.value}, {detail.status.why}")
    say(
        f"  {study.instance_count} images from {study.calling_aet}, {when(study.first_received_at)} to "
        f"{when(study.last_received_at)}; revision {study.revision}; {study.close_reason or 'not closed'}"
    )
    result = detail.result or {}
    reasons = {entry["series_instance_uid"]: entry for entry in result.get("series", {}).get("rejected", ())}
    chosen = result.get("series", {}).get("chosen")
    table(
        ("series", "modality", "images", "part in the analysis"),
        [
            (s.series_instance_uid, s.modality, len(s.instances), _part(s.series_instance_uid, chosen, reasons))
            for s in detail.series
        ],
        empty="no series",
    )
    if result.get("outcome") == "analysed":
        table(
            ("level", "status", "probability", "fracture"),
            [
                (level["level"], level["status"].replace("_", " "), level["probability"], level["fracture"])
                for level in result["levels"]
            ],
            empty="no levels",
        )
    for remark in result.get("quality", ()):
        say(f"  quality: {remark}")
    table(
        ("delivery", "receiver", "state", "attempts", "holds", "next attempt", "failure"),
        [
            (d.id, d.peer, d.state.value, d.attempt, d.held, when(d.next_attempt_at), d.failure)
            for d in detail.deliveries
        ],
        empty="no deliveries",
    )
    for delivery in detail.deliveries:
        for entry in delivery.substitutions:
            say(f"  to {delivery.peer}: {entry}")
    table(
        ("at", "what", "event", "to", "who", "reason"),
        [(when(e.at), e.subject.partition(":")[0], e.event, e.to_state, e.actor, e.reason) for e in detail.history],
        empty="no history",
    )


def _part(uid: str, chosen: str | None, reasons: dict[str, Any]) -> str:
    if uid == chosen:
        return "analysed"
    return f"left out, {reasons[uid]['rule']}: {reasons[uid]['detail']}" if uid in reasons else ""
