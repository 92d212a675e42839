"""A node that is killed at any commit, or whose database is away now and then, loses nothing and sends nothing twice.

"Once" is a matter of UIDs: where the power goes between a peer's answer and our row, the object goes out again, as
the same SOP Instance. That anything may happen in any order is for `test_node_machine`; here are the commits alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.app.index_instance import Indexed
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.errors import StorageUnavailable
from dicom_node.core.job import JobState
from dicom_node.core.worklist import WorklistState
from dicom_node.ports import UnitOfWork
from tests.unit.app.node import Node, incoming, silenced


@pytest.fixture(autouse=True, scope="module")
def silence():
    with silenced():
        yield


class Killed(BaseException):
    """The power goes: nothing catches it."""


def _receive(node: Node, acknowledged: set[int]) -> None:
    number = len(acknowledged) + 1
    assert node.receive(incoming(number)) in (Indexed.NEW, Indexed.IDENTICAL)
    acknowledged.add(number)


def _assert_settled(node: Node, acknowledged: set[int]) -> None:
    """Nothing lost, the last revision at the peer, no delivery twice, no row left half way."""
    detail = node.detail()
    stored = {instance.sop_instance_uid for series in detail.series for instance in series.instances}
    assert {f"1.2.3.1.{number}" for number in acknowledged} <= stored
    assert detail.status.state is WorklistState.DELIVERED, detail.status.why
    assert {job.state for job in detail.jobs} <= {JobState.DONE, JobState.SUPERSEDED}
    assert {d.state for d in detail.deliveries} <= {DeliveryState.STORED, DeliveryState.CANCELLED}
    assert len({(d.job_id, d.peer) for d in detail.deliveries}) == len(detail.deliveries)
    newest = [d for d in detail.deliveries if d.revision == detail.study.revision]
    assert {("pacs", entry.sop_instance_uid) for d in newest for entry in d.objects} <= node.pacs.held.keys()


class _KillingCommits:
    """Counts commits and dies at one of them, just before or just after it is done."""

    def __init__(self, node: Node, at: int, *, after: bool) -> None:
        self.left = at
        self.after = after
        healthy = node.database.unit_of_work

        def unit_of_work() -> UnitOfWork:
            uow = healthy()
            commit = uow.commit

            def dying_commit() -> None:
                self.left -= 1
                if self.left == 0 and not self.after:
                    raise Killed
                commit()
                if self.left == 0:
                    raise Killed

            uow.commit = uow.commit_unsynced = dying_commit
            return uow

        node.database.unit_of_work = unit_of_work
        self.heal = lambda: setattr(node.database, "unit_of_work", healthy)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=4))
def test_a_kill_at_any_commit_loses_nothing_and_sends_nothing_twice(kills):
    with tempfile.TemporaryDirectory() as folder:
        node, acknowledged = Node(Path(folder)), set[int]()
        for at, after in kills:
            killer = _KillingCommits(node, at, after=after)
            try:
                _receive(node, acknowledged)
                node.clock.advance(31)
                for _ in range(3):
                    node.turn()
                    node.clock.advance(10)
            except Killed:
                pass
            killer.heal()
            node.restart()
        if not acknowledged:
            _receive(node, acknowledged)
        node.settle(turns=12, seconds=61)
        _assert_settled(node, acknowledged)


@settings(max_examples=25)
@given(st.sets(st.integers(1, 30), max_size=12))
def test_a_database_that_is_away_now_and_then_delays_and_loses_nothing(outages):
    with tempfile.TemporaryDirectory() as folder:
        node, acknowledged = Node(Path(folder)), set[int]()
        healthy, openings = node.database.unit_of_work, [0]

        def sometimes_away() -> UnitOfWork:
            openings[0] += 1
            if openings[0] in outages:
                raise StorageUnavailable("the database is away")
            return healthy()

        node.receive_study(1)
        acknowledged.add(1)
        node.database.unit_of_work = sometimes_away
        for _ in range(12):
            for tick in (node.closing.tick, node.requeue.tick, node.analysis.step, node.delivery.step):
                try:
                    tick()
                except StorageUnavailable:
                    continue
            node.clock.advance(61)
        node.database.unit_of_work = healthy
        node.settle(turns=12, seconds=61)
        _assert_settled(node, acknowledged)
