"""A disk that fills up: refused in time, nothing lost, and everything goes on by itself when there is space again."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dicom_node.app.index_instance import Indexed
from dicom_node.app.receive_instance import OUT_OF_RESOURCES, IncomingInstance, ReceiveInstance
from dicom_node.core.errors import NodeError, RejectedInput
from dicom_node.core.worklist import WorklistState
from dicom_node.data_set_hash import digest_of
from storage.database import Database, open_database
from storage.disk import Bytes, Disk
from storage.files import DiskFileStore
from tests.crash.life import SmallEncoder
from tests.unit.app.node import STUDY, Node, incoming, silenced

KIB = 1024
RESERVE = 1024 * KIB
IMAGE = 40 * KIB


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    with silenced():
        yield


class SmallDisk(Disk):
    """Has `capacity` bytes, counts what is written to it, and is full when they are used up."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.was_full = False
        self._guard = threading.Lock()

    def write(self, descriptor: int, parts: Sequence[Bytes]) -> None:
        size = sum(memoryview(part).nbytes for part in parts)
        with self._guard:
            if self.used + size > self.capacity:
                self.was_full = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.used += size
        super().write(descriptor, parts)

    def sync_file(self, descriptor: int) -> None:
        """Not waited for: no power is cut here."""

    def free_bytes(self, folder: Path) -> int:
        return self.capacity - self.used


def image(number: int) -> IncomingInstance:
    return incoming(number, content=number.to_bytes(4, "little") * (IMAGE // 4))


class Scanner:
    """Sends images until told to stop; knows which were acknowledged and with what the others were refused."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.acknowledged: dict[int, str] = {}
        self.refused: dict[int, RejectedInput] = {}

    def send(self, number: int) -> bool:
        sent = image(number)
        try:
            assert self._node.receive(sent) in (Indexed.NEW, Indexed.IDENTICAL)
        except RejectedInput as refused:
            self.refused[number] = refused
            return False
        self.refused.pop(number, None)
        self.acknowledged[number] = digest_of(sent.data_set)
        return True

    def assert_nothing_is_missing(self) -> None:
        with self._node.database.reading() as uow:
            records = {record.sop_instance_uid: record for record in uow.studies.instances(STUDY)}
        assert len(records) == len(self.acknowledged)
        for number, digest in self.acknowledged.items():
            record = records[f"{STUDY}.1.{number}"]
            content = self._node.files.absolute(record.file).read_bytes().removeprefix(b"head")
            assert digest_of(content) == digest == record.digest


def node_on(root: Path, disk: Disk, database: Database | None = None) -> Node:
    node = Node(root, database=database, files=lambda folder, clock: DiskFileStore(folder, clock=clock, disk=disk))
    node.encoder = SmallEncoder()  # type: ignore[assignment]
    node.restart()
    node.receive = ReceiveInstance(
        uow_factory=node.uow, files=node.files, clock=node.clock, counters=node.counters, min_free_bytes=RESERVE
    )
    return node


def test_many_senders_at_once_are_refused_before_the_reserve_is_touched(tmp_path: Path) -> None:
    disk = SmallDisk(RESERVE + 40 * IMAGE)
    node = node_on(tmp_path, disk)
    scanner = Scanner(node)
    with ThreadPoolExecutor(8) as senders:
        list(senders.map(scanner.send, range(1, 101)))
    assert {refusal.status for refusal in scanner.refused.values()} == {OUT_OF_RESOURCES}
    assert {refusal.reason for refusal in scanner.refused.values()} == {"low_space"}
    assert 0 < len(scanner.acknowledged) < 40
    assert disk.free_bytes(tmp_path) >= RESERVE
    assert not disk.was_full
    scanner.assert_nothing_is_missing()


def test_when_there_is_space_again_the_same_images_are_taken(tmp_path: Path) -> None:
    disk = SmallDisk(RESERVE + 5 * IMAGE)
    scanner = Scanner(node_on(tmp_path, disk))
    refused = [number for number in range(1, 11) if not scanner.send(number)]
    assert len(refused) == 6
    disk.capacity += 10 * IMAGE
    assert all(scanner.send(number) for number in refused)
    scanner.assert_nothing_is_missing()


@pytest.fixture
def small_file_system() -> Iterator[Path]:
    """8 MiB that are full when they are full."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("needs to be root, and allowed to mount a tmpfs")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def fill(file: Path) -> None:
    """Not a byte is left."""
    with file.open("wb", buffering=0) as stream:
        for size in (64 * KIB, 1):
            with suppress(OSError):
                while stream.write(b"x" * size):
                    pass


def tick(node: Node) -> None:
    for call in (node.closing.tick, node.requeue.tick, node.analysis.step, node.status.tick, node.delivery.step):
        with suppress(NodeError):
            call()


def test_on_a_really_full_file_system_everything_waits_and_goes_on_by_itself(small_file_system: Path) -> None:
    root = small_file_system / "var"
    database = open_database("sqlite", data_dir=root)
    node = node_on(root, Disk(), database)
    scanner = Scanner(node)
    sent = next(number for number in range(1, 200) if not scanner.send(number))
    assert scanner.refused[sent].reason == "low_space"
    assert node.files.free_bytes() >= RESERVE - 64 * KIB, "the database's log takes of the reserve, and no more"
    node.clock.advance(31)
    others = small_file_system / "of somebody else"
    fill(others)
    for _ in range(3):
        assert not scanner.send(sent)
        assert scanner.refused[sent].status == OUT_OF_RESOURCES
        tick(node)
        node.clock.advance(31)
    assert node.state() is WorklistState.RECEIVING
    assert database.failure == ""
    others.unlink()
    for _ in range(12):
        tick(node)
        node.clock.advance(61)
    assert node.state() is WorklistState.DELIVERED, node.detail().status.why
    assert set(node.pacs.held.values()) == {1}
    scanner.assert_nothing_is_missing()
    database.close()


def test_results_that_cannot_be_written_are_written_when_there_is_space_again(small_file_system: Path) -> None:
    """The disk is full for the objects and not for the rows: the analysis is tried as long as that lasts."""
    with tempfile.TemporaryDirectory() as elsewhere:
        database = open_database("sqlite", data_dir=Path(elsewhere))
        node = node_on(small_file_system / "var", Disk(), database)
        scanner = Scanner(node)
        assert scanner.send(1)
        node.clock.advance(31)
        others = small_file_system / "of somebody else"
        fill(others)
        for _ in range(12):
            tick(node)
            node.clock.advance(120)
        assert node.state() is WorklistState.WAITING, node.detail().status.why
        assert "cannot be" in node.job().failure
        others.unlink()
        for _ in range(6):
            node.clock.advance(301)
            tick(node)
        assert node.state() is WorklistState.DELIVERED, node.detail().status.why
        scanner.assert_nothing_is_missing()
        database.close()
