import pytest

from dicom_node.app.ticks import Tick, TickHealth, node_ticks
from tests.unit.app.node import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def tick(call, name: str = "close_studies") -> Tick:
    return Tick(name=name, call=call, period_s=1.0, stale_after_s=30.0)


def fails():
    raise OSError("the disk is gone")


def test_a_failed_tick_does_not_leave_the_runner_and_is_remembered(clock):
    failing = tick(fails)
    health = TickHealth([failing], clock=clock)
    health.run(failing)
    (report,) = health.reports()
    assert (report.failure, report.last_success_at, report.is_healthy) == ("OSError", None, True)


def test_a_tick_without_a_success_for_too_long_turns_the_node_unhealthy(clock):
    failing, fine = tick(fails), tick(lambda: None, "requeue")
    health = TickHealth([failing, fine], clock=clock)
    for _ in range(31):
        clock.advance(1)
        health.run(failing)
        health.run(fine)
    assert not health.is_healthy
    assert [report.is_healthy for report in health.reports()] == [False, True]


def test_a_success_makes_a_tick_healthy_again(clock):
    outcomes = [fails, lambda: None]
    flaky = tick(lambda: outcomes.pop(0)())
    health = TickHealth([flaky], clock=clock)
    clock.advance(100)
    health.run(flaky)
    assert not health.is_healthy
    health.run(flaky)
    assert health.is_healthy
    assert health.reports()[0].failure == ""


def test_a_tick_that_is_never_called_is_noticed(clock):
    health = TickHealth([tick(lambda: None)], clock=clock)
    assert health.is_healthy
    clock.advance(31)
    assert not health.is_healthy


def test_the_ticks_of_a_node_carry_a_study_to_its_peer(node):
    ticks = node_ticks(
        close_studies=node.closing,
        requeue=node.requeue,
        run_analysis=node.analysis,
        deliver_results=node.delivery,
        report_status=node.status,
        notices={"hl7": node.delivery},
        commitment_duties=node.duties,
        is_stopping=lambda: False,
        analysis_workers=2,
        delivery_workers=2,
    )
    assert [tick.name for tick in ticks] == [
        "close_studies",
        "requeue",
        "report_status",
        "report_commitments",
        "notify_hl7",
        "analyse_1",
        "analyse_2",
        "deliver_1",
        "deliver_2",
    ]
    node.receive_study(2)
    node.clock.advance(31)
    health = TickHealth(ticks, clock=node.clock)
    for each in ticks:
        health.run(each)
    assert list(node.pacs.held.values()) == [1, 1]
    assert all(report.last_success_at for report in health.reports())
