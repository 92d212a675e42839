"""Who reads at the same time is on one core; who reads alone is not."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection

import pytest

from dicom_node.dimse.one_core import Readers, cores_of_this_process, set_own_cores


class Cores:
    """Where each call sent its thread, in order."""

    def __init__(self, *, is_forbidden: bool = False) -> None:
        self.asked: list[frozenset[int]] = []
        self._is_forbidden = is_forbidden

    def __call__(self, cores: Collection[int]) -> None:
        self.asked.append(frozenset(cores))
        if self._is_forbidden:
            raise PermissionError("no")


ALL, ONE = frozenset({0, 1, 2, 3}), frozenset({3})


def test_who_reads_alone_goes_where_it_likes() -> None:
    cores = Cores()
    seat = Readers(ALL, cores).seat()
    for _ in range(3):
        seat.served()
    seat.leave()
    assert cores.asked == []


def test_who_reads_beside_another_is_on_its_core_from_its_next_image_on() -> None:
    cores = Cores()
    readers = Readers(ALL, cores)
    first, second = readers.seat(), readers.seat()
    first.served()
    second.served()
    assert cores.asked == [ONE]
    first.served()
    first.served()
    assert cores.asked == [ONE, ONE]


def test_who_is_left_alone_is_free_again_and_so_is_who_left() -> None:
    cores = Cores()
    readers = Readers(ALL, cores)
    first, second = readers.seat(), readers.seat()
    for seat in (first, second, first):
        seat.served()
    second.leave()
    second.leave()
    assert cores.asked == [ONE, ONE, ALL]
    first.served()
    assert cores.asked == [ONE, ONE, ALL, ALL]
    second.served()
    first.served()
    assert cores.asked[-2:] == [ONE, ONE]


def test_where_it_is_forbidden_nobody_is_moved_and_nobody_asks_again() -> None:
    cores = Cores(is_forbidden=True)
    readers = Readers(ALL, cores)
    first, second = readers.seat(), readers.seat()
    for _ in range(3):
        first.served()
        second.served()
    first.leave()
    assert cores.asked == [ONE]


@pytest.mark.parametrize("cores", [(), (0,)])
def test_where_there_is_no_choice_nothing_is_asked(cores: tuple[int, ...]) -> None:
    asked = Cores()
    readers = Readers(cores, asked)
    for seat in (readers.seat(), readers.seat()):
        seat.served()
    assert asked.asked == []


@pytest.mark.skipif(len(cores_of_this_process()) < 2, reason="this machine leaves no choice")
def test_only_the_thread_that_asks_is_moved() -> None:
    before = cores_of_this_process()
    seen: list[set[int]] = []

    def work() -> None:
        set_own_cores({max(before)})
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{max(before)}]
    assert cores_of_this_process() == before
