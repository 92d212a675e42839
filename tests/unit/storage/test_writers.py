"""The queue of writers: fair, not reentrant, and patient only so long."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicom_node.core.errors import StorageUnavailable
from storage.writers import WriterQueue

TIMEOUT_S = 10


def test_writers_are_served_in_the_order_they_came() -> None:
    queue = WriterQueue(TIMEOUT_S)
    served: list[int] = []

    def write(number: int) -> None:
        queue.enter()
        served.append(number)
        queue.leave()

    queue.enter()
    with ThreadPoolExecutor(8) as threads:
        for number in range(8):
            threads.submit(write, number)
            _wait_for_queue(queue, number + 1)
        queue.leave()
    assert served == list(range(8))


def test_a_second_entry_of_the_same_thread_fails_at_once() -> None:
    queue = WriterQueue(TIMEOUT_S)
    queue.enter()
    with pytest.raises(RuntimeError, match="already"):
        queue.enter()
    queue.leave()
    queue.enter()


def test_a_writer_gives_up_after_the_timeout_and_leaves_the_queue() -> None:
    queue = WriterQueue(0.01)
    queue.enter()
    with ThreadPoolExecutor(1) as threads, pytest.raises(StorageUnavailable, match="another writer"):
        threads.submit(queue.enter).result(TIMEOUT_S)
    queue.leave()
    queue.enter()


def _wait_for_queue(queue: WriterQueue, length: int) -> None:
    turn = threading.Event()
    for _ in range(10_000):
        if len(queue._waiting) == length:
            return
        turn.wait(0.001)
    raise AssertionError("the writers did not come")
