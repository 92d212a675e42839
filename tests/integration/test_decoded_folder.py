"""What a node and its doctor make of the folder of decoded frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from config.settings import InferenceSettings, NodeSettings, Settings
from dicom_node.app.counting import NoCounters
from dicom_node.bootstrap.decoding import DecodingAhead, stale_frames
from dicom_node.bootstrap.store import Store, open_store
from dicom_node.core.study import InstanceRecord
from storage.decoded_files import DecodedFiles
from tests.unit.app.node import STUDY, Node, incoming, silenced

J2K, STALE = "1.2.840.10008.1.2.4.90", "ef" * 32


def settings(data_dir: Path, limit_mb: int = 100) -> Settings:
    return Settings(
        node=NodeSettings(data_dir=data_dir, min_free_bytes=0), inference=InferenceSettings(decode_ahead_mb=limit_mb)
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(settings(tmp_path))) as opened:
        yield opened


@pytest.fixture
def wanted(tmp_path: Path, store: Store) -> InstanceRecord:
    """The image of a study that is being received; its frames lie decoded, and so do some of nobody."""
    with silenced():
        node = Node(tmp_path, database=store.database, files=lambda root, clock: store.files)
        node.receive(incoming(1, transfer_syntax_uid=J2K))
    with store.reading() as uow:
        (record,) = uow.studies.instances(STUDY)
    files = DecodedFiles(tmp_path)
    files.begin()
    for digest in (record.digest, STALE):
        files.file(digest).write_bytes(b"frames")
    return record


def held(data_dir: Path) -> set[str]:
    return set(DecodedFiles(data_dir).held())


def test_the_doctor_finds_frames_that_no_analysis_waits_for_and_removes_them(
    tmp_path: Path, store: Store, wanted: InstanceRecord
) -> None:
    (finding,) = stale_frames(settings(tmp_path), store)
    assert (finding.detail, finding.means) == (
        "1 of 2 are of no study whose analysis is to come",
        "they take 6 bytes",
    )
    assert finding.mend is not None
    assert finding.mend() == "1 were removed"
    assert held(tmp_path) == {wanted.digest}
    assert not list(stale_frames(settings(tmp_path), store))


def test_where_decoding_ahead_is_off_none_are_waited_for(tmp_path: Path, store: Store, wanted: InstanceRecord) -> None:
    (finding,) = stale_frames(settings(tmp_path, limit_mb=0), store)
    assert finding.detail.startswith("2 of 2")


def test_a_node_that_decodes_nothing_ahead_removes_what_was(
    tmp_path: Path, store: Store, wanted: InstanceRecord
) -> None:
    ahead = DecodingAhead(settings(tmp_path, limit_mb=0), store, NoCounters())
    ahead.start()
    assert held(tmp_path) == set()
    assert (ahead.use_case, ahead.files, ahead.ticks(lambda: False)) == (None, None, ())
    assert {name: value for name, _, value in ahead.samples()} == {
        "decoded_ahead_bytes": 0.0,
        "decode_ahead_waiting": 0.0,
    }
    ahead.close()


def test_the_first_tick_removes_what_no_analysis_waits_for(
    tmp_path: Path, store: Store, wanted: InstanceRecord
) -> None:
    ahead = DecodingAhead(settings(tmp_path), store, NoCounters())
    ahead.start()
    (tick,) = ahead.ticks(lambda: False)
    assert tick.call() == 0
    assert held(tmp_path) == {wanted.digest}
    assert ("decoded_ahead_bytes", (), 6.0) in list(ahead.samples())
    assert ahead.files is not None
    assert ahead.files.file(wanted.digest).read_bytes() == b"frames"
    ahead.close()


def test_the_content_of_a_row_that_was_replaced_is_another_image(
    tmp_path: Path, store: Store, wanted: InstanceRecord
) -> None:
    with store.unit_of_work() as uow:
        uow.studies.replace_instance(replace(wanted, digest="12" * 32))
        uow.commit()
    (finding,) = stale_frames(settings(tmp_path), store)
    assert finding.detail.startswith("2 of 2")
