"""`cspine-node deliveries`: results on their way to peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, operator
from dicom_node.cli.output import answer_json, say, table, when
from dicom_node.cli.studies import opened_store, operator_actions
from dicom_node.core.delivery import DeliveryState

if TYPE_CHECKING:
    from dicom_node.core.delivery import Delivery, ObjectStatus
    from dicom_node.core.history import HistoryEntry

app = typer.Typer(help="Results on their way to the peers.", no_args_is_help=True)


@app.command("list")
def list_(
    state: Annotated[DeliveryState | None, typer.Option(case_sensitive=False, help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many, the newest first.")] = 50,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The deliveries, newest first."""
    from dicom_node.app.queries import delivery_json

    with opened_store(config) as store, store.reading() as uow:
        found = [d for d in uow.deliveries.list(limit=limit) if state is None or d.state is state]
    if as_json:
        answer_json([delivery_json(delivery) for delivery in found])
        return
    table(
        ("delivery", "receiver", "state", "attempts", "study", "holds", "next attempt", "failure"),
        [
            (d.id, d.peer, d.state.value, d.attempt, d.study_instance_uid, d.held, when(d.next_attempt_at), d.failure)
            for d in found
        ],
        empty="no deliveries",
    )


@app.command()
def show(
    delivery: Annotated[int, typer.Argument(metavar="ID", help="A delivery from `deliveries list`.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One delivery in full: the answer to each object, what was sent instead of what and why, its history."""
    from dicom_node.app.operator_actions import UnknownDelivery
    from dicom_node.app.queries import delivery_json, history_json

    with opened_store(config) as store, store.reading() as uow:
        found = uow.deliveries.get(delivery)
        if found is None:
            raise UnknownDelivery(f"there is no delivery {delivery}; `deliveries list` shows those there are")
        subject = f"delivery:{delivery}"
        history = [entry for entry in uow.history.of_study(found.study_instance_uid) if entry.subject == subject]
    if as_json:
        answer_json({**delivery_json(found), "history": [history_json(entry) for entry in history]})
        return
    _show(found, history)


@app.command()
def retry(
    delivery: Annotated[int, typer.Argument(metavar="ID", help="A delivery from `deliveries list`.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send a failed delivery again; what the peer holds already is not sent twice."""
    from dicom_node.app.queries import delivery_json

    with opened_store(config) as store:
        retried = operator_actions(store).retry_delivery(delivery, actor=operator())
    if as_json:
        answer_json(delivery_json(retried))
    else:
        say(f"delivery {retried.id} to {retried.peer} is {retried.state.value}")


def _show(delivery: Delivery, history: Sequence[HistoryEntry]) -> None:
    by_route = f", by route {delivery.route}" if delivery.route else ""
    say(f"delivery {delivery.id} ({delivery.channel.value}) to {delivery.peer}{by_route}: {delivery.state.value}")
    say(f"  study {delivery.study_instance_uid}, revision {delivery.revision}; attempt {delivery.attempt}")
    if delivery.failure:
        say(f"  {delivery.failure}")
    for entry in delivery.substitutions:
        say(f"  {entry}")
    answers = {status.sop_instance_uid: status for status in delivery.statuses}
    table(
        ("kind", "SOP Instance UID", "answer", "answered at"),
        [
            (entry.kind.value, entry.sop_instance_uid, *_answer(answers.get(entry.sop_instance_uid)))
            for entry in delivery.objects
        ],
        empty="no objects: a notification" if delivery.channel.is_notification else "no objects",
    )
    table(
        ("at", "event", "to", "who", "reason"),
        [(when(entry.at), entry.event, entry.to_state, entry.actor, entry.reason) for entry in history],
        empty="no history",
    )


def _answer(status: ObjectStatus | None) -> tuple[str, str]:
    if status is None or status.status is None:
        return "not sent", ""
    return f"0x{status.status:04X}{'' if status.is_stored else ' refused'}", when(status.answered_at)
