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
    from dicom_node.core.commitment import CommitmentRequest
    from dicom_node.core.delivery import Delivery, ObjectStatus
    from dicom_node.core.history import HistoryEntry

app = typer.Typer(help="Results on their way to the peers.", no_args_is_help=True)

ADelivery = Annotated[int, typer.Argument(metavar="ID", help="A delivery from `deliveries list`.")]


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
        found = uow.deliveries.list(states=None if state is None else [state], limit=limit)
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
    delivery: ADelivery,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One delivery in full: the answer to each object, what was sent instead of what and why, its history."""
    from dicom_node.app.operator_actions import UnknownDelivery
    from dicom_node.app.queries import delivery_json, history_json
    from dicom_node.app.receivers import request_json

    with opened_store(config) as store, store.reading() as uow:
        found = uow.deliveries.get(delivery)
        if found is None:
            raise UnknownDelivery(f"there is no delivery {delivery}; `deliveries list` shows those there are")
        subject = f"delivery:{delivery}"
        history = [entry for entry in uow.history.of_study(found.study_instance_uid) if entry.subject == subject]
        requests = uow.commitments.requests_of(delivery)
    if as_json:
        asked = [request_json(request) for request in requests]
        answer_json(
            {**delivery_json(found), "commitments": asked, "history": [history_json(entry) for entry in history]}
        )
        return
    _show(found, requests, history)


@app.command()
def retry(
    delivery: Annotated[int | None, typer.Argument(metavar="[ID]", help="A delivery from `deliveries list`.")] = None,
    peer: Annotated[
        str | None, typer.Option("--peer", help="Instead: everything that failed at this receiver.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send a failed delivery again, or all that failed at one receiver; what it holds already is not sent twice."""
    from dicom_node.app.queries import delivery_json

    if (delivery is None) == (peer is None):
        raise typer.BadParameter("give the number of a delivery, or --peer with a receiver's name.")
    with opened_store(config) as store:
        actions = operator_actions(store)
        if peer is not None:
            retried = actions.retry_peer(peer, actor=operator())
        else:
            assert delivery is not None
            retried = (actions.retry_delivery(delivery, actor=operator()),)
    if as_json:
        found = [delivery_json(each) for each in retried]
        answer_json(found if peer is not None else found[0])
        return
    for each in retried:
        say(f"delivery {each.id} to {each.peer} is {each.state.value}")


@app.command()
def cancel(delivery: ADelivery, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Give up a delivery that waits or has failed; one that is being sent goes on."""
    with opened_store(config) as store:
        _told(operator_actions(store).cancel_delivery(delivery, actor=operator()), as_json)


@app.command("send-again")
def send_again(delivery: ADelivery, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Send all of a stored or cancelled delivery once more, as a new one: its receiver may have lost it."""
    with opened_store(config) as store:
        _told(operator_actions(store).send_again(delivery, actor=operator()), as_json)


@app.command()
def receivers(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """What waits for each receiver, and which ones could not be reached when they were last tried."""
    from dicom_node.app.receivers import list_receivers

    with opened_store(config) as store, store.reading() as uow:
        found = list_receivers(uow)
    if as_json:
        answer_json([receiver.as_json() for receiver in found])
        return
    table(
        ("receiver", "channel", "state", "waiting", "failures", "since", "next probe", "why"),
        [
            (
                receiver.peer,
                receiver.channel.value,
                receiver.state,
                receiver.waiting,
                receiver.circuit.failures if receiver.circuit else 0,
                when(receiver.circuit.failing_since if receiver.circuit else None),
                when(receiver.circuit.probe_at if receiver.circuit else None),
                receiver.circuit.why if receiver.circuit else "",
            )
            for receiver in found
        ],
        empty="nothing waits, and every receiver was reached when it was last tried",
    )


@app.command()
def reset(
    receiver: Annotated[str, typer.Argument(help="A receiver from `deliveries receivers`.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Try a receiver again at once that could not be reached; a running node does so at its next tick."""
    with opened_store(config) as store:
        operator_actions(store).reset_circuit(receiver, actor=operator())
    if as_json:
        answer_json({"receiver": receiver})
    else:
        say(f"{receiver} is tried again at once")


@app.command()
def commitments(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many, the newest first.")] = 50,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What scanners asked this node to commit to, and what they were told."""
    from dicom_node.app.receivers import duty_json

    with opened_store(config) as store, store.reading() as uow:
        found = uow.commitments.duties(limit=limit)
    if as_json:
        answer_json([duty_json(duty) for duty in found])
        return
    table(
        ("asked at", "by", "instances", "attempts", "next attempt", "finished", "outcome"),
        [
            (
                when(duty.asked_at),
                duty.peer,
                len(duty.references),
                duty.attempt,
                when(duty.next_attempt_at),
                when(duty.finished_at),
                duty.outcome,
            )
            for duty in found
        ],
        empty="nobody has asked",
    )


def _told(delivery: Delivery, as_json: bool) -> None:
    from dicom_node.app.queries import delivery_json

    if as_json:
        answer_json(delivery_json(delivery))
    else:
        say(f"delivery {delivery.id} to {delivery.peer} is {delivery.state.value}")


def _show(delivery: Delivery, requests: Sequence[CommitmentRequest], history: Sequence[HistoryEntry]) -> None:
    by_route = f", by route {delivery.route}" if delivery.route else ""
    say(f"delivery {delivery.id} ({delivery.channel.value}) to {delivery.peer}{by_route}: {delivery.state.value}")
    urgent = "; urgent" if delivery.is_urgent else ""
    say(f"  study {delivery.study_instance_uid}, revision {delivery.revision}; attempt {delivery.attempt}{urgent}")
    if delivery.failure:
        say(f"  {delivery.failure}")
    for entry in delivery.substitutions:
        say(f"  {entry}")
    for request in requests:
        said = f"{len(request.committed)} kept, {len(request.failed)} not" if request.reported_at else "no report yet"
        say(f"  asked to commit at {when(request.asked_at)}: {said}")
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
