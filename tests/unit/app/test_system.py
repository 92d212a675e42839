"""How long it takes until somebody is told, and what else the node says of itself."""

from __future__ import annotations

import pytest

from dicom_node.app.system import Surroundings, notification_times, quantile, system_report
from tests.unit.app.node import Node, incoming


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([7.0], 0.95, 7.0), ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0), (list(range(1, 101)), 0.95, 95)],
)
def test_a_quantile_is_a_value_that_was_measured(values: list[float], share: float, expected: float | None) -> None:
    assert quantile(values, share) == expected


def test_the_time_is_from_the_last_image_to_the_first_peer_that_holds_the_result(node: Node) -> None:
    node.receive_study()
    node.clock.advance(31)
    node.turn()
    with node.database.reading() as uow:
        found = notification_times(uow)
    assert (found.count, found.p50_s, found.p95_s) == (1, 31.0, 31.0)


def test_a_study_that_got_an_image_since_and_a_second_sending_say_nothing_of_the_time(node: Node) -> None:
    node.operator = type(node.operator)(
        uow_factory=node.uow, clock=node.clock, counters=node.counters, has_file=lambda file: True
    )
    node.receive_study(study="1.2.1")
    node.receive_study(study="1.2.2")
    node.settle(turns=4)
    node.clock.advance(1000)
    node.operator.send_again(1, actor="ann")
    node.receive(incoming(9, study="1.2.2"))
    node.turn()
    with node.database.reading() as uow:
        found = notification_times(uow)
    assert found.count == 1
    assert found.p95_s is not None
    assert found.p95_s < 200


def test_what_cannot_be_said_is_null_in_the_report(node: Node) -> None:
    with node.database.reading() as uow:
        shown = system_report(uow, Surroundings(), at=node.clock.now()).as_json()
    assert (shown["disk"], shown["drift"], shown["last_backup"], shown["audit_messages_waiting"]) == (None,) * 4
    assert shown["seconds_from_last_image_to_stored_result"] == {"count": 0, "p50_s": None, "p95_s": None}
