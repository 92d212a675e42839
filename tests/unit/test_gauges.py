"""What the metrics page looks up when it is read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dicom_node.app.figures import node_figures
from dicom_node.app.ticks import TickReport
from dicom_node.core.tally import Tally
from dicom_node.gauges import GAUGES, GaugeCollector, Sample, figure_samples, tick_samples
from tests.unit.app.node import Node, silenced

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def page(*samples: Sample) -> str:
    collector, registry = GaugeCollector(), CollectorRegistry()
    collector.watch(lambda: samples)
    registry.register(collector)
    return generate_latest(registry).decode()


def by_name(samples: Iterable[Sample]) -> dict[tuple[str, ...], float]:
    return {(name, *labels): value for name, labels, value in samples}


def of(node: Node) -> dict[tuple[str, ...], float]:
    with node.database.reading() as uow:
        return by_name(figure_samples(node_figures(uow), node.clock.now()))


@pytest.fixture
def node(tmp_path: Path) -> Iterable[Node]:
    with silenced():
        yield Node(tmp_path)


def test_every_declared_name_is_on_the_page_with_its_help_even_where_nothing_can_be_said() -> None:
    text = page()
    for name in GAUGES:
        assert f"# HELP cspine_{name} " in text
        assert f"# TYPE cspine_{name} gauge" in text


def test_a_sample_with_labels_that_were_not_declared_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="tick_healthy"):
        page(("tick_healthy", (), 1.0))
    with pytest.raises(KeyError):
        page(("not_declared", (), 1.0))


def test_the_ticks_are_shown_as_they_are() -> None:
    found = by_name(
        tick_samples(
            (
                TickReport(name="close_studies", is_healthy=True, last_success_at=NOW, failure=""),
                TickReport(name="deliver_1", is_healthy=False, last_success_at=None, failure="OSError"),
            )
        )
    )
    assert found == {
        ("tick_healthy", "close_studies"): 1.0,
        ("tick_last_success_timestamp_seconds", "close_studies"): NOW.timestamp(),
        ("tick_healthy", "deliver_1"): 0.0,
    }


def test_a_node_that_has_nothing_to_do_shows_zeros_not_gaps(node: Node) -> None:
    found = of(node)
    assert found["database_up",] == 1.0
    assert found["studies", "RECEIVING"] == found["jobs", "QUEUED"] == found["job_oldest_age_seconds", "QUEUED"] == 0.0
    assert found["quarantine_files",] == found["commitment_duties_unfinished",] == 0.0


def test_the_queue_shows_how_long_it_is_and_how_old(node: Node) -> None:
    node.receive_study()
    node.close_now()
    node.clock.advance(90)
    found = of(node)
    assert (found["jobs", "QUEUED"], found["job_oldest_age_seconds", "QUEUED"]) == (1.0, 90.0)
    assert (found["studies", "CLOSED"], found["studies", "RECEIVING"]) == (1.0, 0.0)


def test_a_dead_pacs_shows_with_what_waits_for_it_and_since_when(node: Node) -> None:
    node.pacs.away = {"pacs"}
    node.receive_study()
    node.settle(turns=4)
    found = of(node)
    assert found["circuit_open", "pacs", "objects"] == 1.0
    assert found["deliveries", "pacs", "objects", "PENDING"] == 1.0
    assert found["delivery_oldest_age_seconds", "pacs", "objects", "PENDING"] > 0.0
    assert found["circuit_failing_since_timestamp_seconds", "pacs", "objects"] <= node.clock.now().timestamp()


def test_a_database_that_does_not_answer_is_all_that_is_said() -> None:
    assert by_name(figure_samples(None, NOW)) == {("database_up",): 0.0}


def test_no_age_is_negative_where_the_clock_was_put_back() -> None:
    assert Tally(count=1, oldest=NOW).age_s(NOW - timedelta(hours=1)) == 0.0


def test_stage_times_and_scores_are_observed_once_the_result_is_kept(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    assert len(node.counters.values["stage_seconds"]) == 5
    assert node.counters.values["score"] == [0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1], "the patient's first, C7 not assessed"
