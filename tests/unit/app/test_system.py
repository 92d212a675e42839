"""How long it takes until somebody is told, and what else the node says of itself."""

from __future__ import annotations

import pytest

from dicom_node.app.counting import RESULT_LATENCY_SECONDS
from dicom_node.app.queries import worklist_page
from dicom_node.app.system import Surroundings, notification_times, quantile, system_report
from dicom_node.core.standing import WorklistFilter
from tests.unit.app.node import STUDY, Node, incoming


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


def test_a_repeated_analysis_took_as_long_as_it_was_waited_for(node: Node) -> None:
    node.receive_study()
    node.settle(3)
    node.clock.advance(3600)
    node.operator.analyse_again(STUDY, actor="ana")
    asked = node.clock.now()
    node.settle(3)
    with node.database.reading() as uow:
        (row,) = worklist_page(uow, WorklistFilter(), limit=10)
        slowest = notification_times(uow).p95_s
    assert row.awaited_since == asked
    assert row.delivered_after_s is not None
    assert slowest is not None
    assert max(row.delivered_after_s, slowest, *node.counters.values[RESULT_LATENCY_SECONDS]) < 3600


def test_the_result_of_late_images_is_awaited_since_the_last_of_them(node: Node) -> None:
    node.receive_study()
    node.settle(3)
    node.clock.advance(3600)
    node.receive(incoming(99))
    late = node.clock.now()
    node.settle(3)
    assert node.study().revision == 2
    with node.database.reading() as uow:
        (row,) = worklist_page(uow, WorklistFilter(), limit=10)
    assert row.awaited_since == late
