import threading
from datetime import UTC, datetime

import pytest

from dicom_node.app.ticks import Tick, TickHealth
from dicom_node.scheduling import TickScheduler


class SystemClock:
    def now(self):
        return datetime.now(UTC)


@pytest.fixture
def started():
    schedulers = []

    def start(*calls) -> TickScheduler:
        ticks = [
            Tick(name=f"tick_{number}", call=call, period_s=0.02, stale_after_s=10.0)
            for number, call in enumerate(calls)
        ]
        scheduler = TickScheduler(ticks, health=TickHealth(ticks, clock=SystemClock()))
        scheduler.start()
        schedulers.append(scheduler)
        return scheduler

    yield start
    for scheduler in schedulers:
        scheduler.stop(timeout_s=5)


def test_a_tick_is_called_again_and_again_though_it_fails(started):
    calls = threading.Semaphore(0)

    def fails():
        calls.release()
        raise ValueError("every time")

    started(fails)
    assert all(calls.acquire(timeout=5) for _ in range(3))


def test_a_long_tick_runs_once_at_a_time_and_holds_up_no_other(started):
    release, other = threading.Event(), threading.Semaphore(0)
    inside, most = [], []

    def takes_long():
        inside.append(1)
        most.append(len(inside))
        release.wait(5)
        inside.pop()

    started(takes_long, other.release)
    assert all(other.acquire(timeout=5) for _ in range(5))
    assert most == [1]
    release.set()


def test_a_stop_waits_for_the_tick_under_way_and_starts_no_other(started):
    entered, calls = threading.Event(), []

    def worker():
        calls.append(1)
        entered.set()
        while not scheduler.is_stopping():
            threading.Event().wait(0.005)

    scheduler = started(worker)
    assert entered.wait(5)
    assert scheduler.stop(timeout_s=5) is True
    assert calls == [1]


def test_a_stop_does_not_wait_for_ever(started):
    entered, release = threading.Event(), threading.Event()

    def hangs():
        entered.set()
        release.wait(10)

    scheduler = started(hangs)
    assert entered.wait(5)
    assert scheduler.stop(timeout_s=0.05) is False
    release.set()
