"""`cspine-node deliveries`: results on their way to peers."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, operator
from dicom_node.cli.output import answer_json, say, table, when
from dicom_node.cli.studies import opened_store, operator_actions
from dicom_node.core.delivery import DeliveryState

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
        ("delivery", "peer", "state", "attempts", "study", "next attempt", "failure"),
        [
            (d.id, d.peer, d.state.value, d.attempt, d.study_instance_uid, when(d.next_attempt_at), d.failure)
            for d in found
        ],
        empty="no deliveries",
    )


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
