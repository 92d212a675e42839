"""The use cases on the real database and the real file store, with many associations at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_node.app.index_instance import Indexed
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.errors import PeerUnreachable, RejectedInput
from dicom_node.core.job import JobState
from dicom_node.core.worklist import WorklistState
from storage.database import open_database
from storage.files import DiskFileStore
from tests.unit.app.node import FakeClock, Node, incoming, silenced


def disk(root: Path, clock: FakeClock) -> DiskFileStore:
    return DiskFileStore(root / "files", clock=clock)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    database = open_database("sqlite", data_dir=tmp_path)
    with silenced():
        yield Node(tmp_path, database=database, files=disk)
    database.close()


def stored_files(node: Node) -> set[bytes]:
    return {file.read_bytes() for file in node.files.absolute(Path("received")).rglob("*.dcm")}


def test_a_study_goes_from_its_first_image_to_the_peer(node):
    node.open_association("a")
    for number in range(1, 6):
        assert node.receive(incoming(number, association_id="a")) is Indexed.NEW
    node.clock.advance(31)
    assert node.closing.tick() == 0
    node.close_association("a")
    node.turn()
    assert node.job().state is JobState.DONE
    assert node.deliveries()[0].state is DeliveryState.STORED
    assert node.state() is WorklistState.DELIVERED
    assert [status.status for status in node.deliveries()[0].statuses] == [0, 0]
    assert node.detail().result["patient_overall"]["fracture"] is True


def test_a_late_image_a_failing_peer_and_a_restart_end_with_both_revisions_explained(node):
    node.receive_study(2)
    node.close_now()
    node.pacs.failures = [PeerUnreachable("no answer")]
    node.turn()
    node.receive(incoming(3))
    node.restart()
    node.settle(turns=6)
    detail = node.detail()
    assert [job.revision for job in detail.jobs] == [1, 2]
    assert detail.status.state is WorklistState.DELIVERED
    assert set(node.pacs.held.values()) == {1}


def test_a_conflict_is_kept_aside_on_disk_and_shown(node):
    node.receive(incoming())
    with pytest.raises(RejectedInput):
        node.receive(incoming(content=b"other pixels"))
    (kept,) = node.files.absolute(Path("quarantine")).rglob("*.dcm")
    assert kept.read_bytes() == b"headother pixels"
    assert node.detail().history[-1].event == "conflicting_instance"
    assert len(stored_files(node)) == 1


def test_many_associations_at_once_store_every_image_once(node):
    """Eight senders, each with the same forty images and ten of its own, in different orders."""
    senders, shared, own = 8, 40, 10
    start = threading.Barrier(senders)

    def send(sender: int) -> list[Indexed]:
        name = f"association-{sender}"
        node.open_association(name)
        numbers = [*range(1, shared + 1), *(1000 * (sender + 1) + n for n in range(own))]
        turned = numbers[sender * 5 :] + numbers[: sender * 5]
        start.wait(10)
        answers = [node.receive(incoming(number, association_id=name)) for number in turned]
        node.close_association(name)
        return answers

    with ThreadPoolExecutor(senders) as pool:
        answers = [answer for answers in pool.map(send, range(senders)) for answer in answers]
    assert answers.count(Indexed.NEW) == shared + senders * own
    assert answers.count(Indexed.IDENTICAL) == (senders - 1) * shared
    assert node.study().instance_count == shared + senders * own
    assert len(stored_files(node)) == shared + senders * own
    assert node.study().open_associations == ()


def test_several_workers_take_each_job_and_delivery_once(node):
    studies = [f"1.{number}" for number in range(6)]
    for study in studies:
        node.receive_study(1, study=study)
    node.clock.advance(31)
    node.closing.tick()

    def work(step) -> int:
        done = 0
        while step():
            done += 1
        return done

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(work, [node.analysis.step] * 3)) == 6
        assert sum(pool.map(work, [node.delivery.step] * 3)) == 6
    assert sorted(request.study_instance_uid for request in node.analyzer.requests) == studies
    assert set(node.pacs.held.values()) == {1}


def test_a_heartbeat_runs_beside_the_analysis(node):
    beaten = threading.Event()
    node.receive_study(1)
    node.close_now()
    node.analysis._policy = type(node.analysis._policy)(lease_s=0.3)
    extend = node.analysis._heartbeat

    def watched(job):
        heart = extend(job)
        beat = heart.beat
        heart.beat = lambda: (beat(), beaten.set())
        return heart

    node.analysis._heartbeat = watched
    node.analyzer.script = [lambda is_cancelled: beaten.wait(5)]
    node.analysis.step()
    assert beaten.is_set()
    assert node.job().state is JobState.DONE
