"""The file of an instance, kept by a process that has no rows; and what the node makes of it then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.app.index_instance import Indexed
from dicom_node.app.keep_instance import KeepInstance
from dicom_node.app.receive_instance import DUPLICATE_SOP_INSTANCE, IncomingInstance
from dicom_node.core.errors import RejectedInput, StorageUnavailable
from dicom_node.core.study import StudyState
from tests.unit.app.node import Node, incoming


def keep(node: Node, instance: IncomingInstance, needed_bytes: int = 0) -> IncomingInstance:
    """As it comes to the node, where it was kept."""
    stored = KeepInstance(files=node.files, needed_bytes=needed_bytes)(instance)
    return replace(instance, stored=stored, head=b"", data_set=b"") if stored else instance


def test_what_was_kept_is_taken_in_without_being_written_again(node: Node) -> None:
    kept = keep(node, incoming(1))
    assert kept.stored is not None
    node.files.failure = StorageUnavailable("nothing more is written")
    assert node.receive(kept) is Indexed.NEW
    assert node.study().state is StudyState.RECEIVING
    (series,) = node.detail().series
    assert series.instances[0].file == kept.stored.path


def test_a_copy_that_was_kept_goes_and_another_content_is_kept_aside(node: Node) -> None:
    node.receive(incoming(1))
    (held,) = node.files.contents
    assert node.receive(keep(node, incoming(1))) is Indexed.IDENTICAL
    assert list(node.files.contents) == [held]
    with pytest.raises(RejectedInput) as rejection:
        node.receive(keep(node, incoming(1, content=b"other")))
    assert rejection.value.status == DUPLICATE_SOP_INSTANCE
    assert len(node.files.quarantined()) == 1


def test_a_late_image_that_was_kept_opens_the_next_revision(node: Node) -> None:
    node.receive(incoming(1))
    node.clock.advance(31)
    assert node.closing.tick() == 1
    assert node.receive(keep(node, incoming(2))) is Indexed.NEW
    assert node.study().state is StudyState.RECEIVING
    assert node.study().instance_count == 2


@pytest.mark.parametrize("fault", ["header", "room", "disk"])
def test_what_there_is_anything_to_say_against_is_not_kept(node: Node, fault: str) -> None:
    instance = incoming(header=None) if fault == "header" else incoming(1)
    if fault == "disk":
        node.files.failure = StorageUnavailable("full")
    kept = keep(node, instance, needed_bytes=(1 << 40) + 1 if fault == "room" else 0)
    assert kept.stored is None
    assert not node.files.contents
