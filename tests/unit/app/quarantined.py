"""Files in quarantine as they come there: by instances that the node refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.app.found_instance import FoundInstance
from dicom_node.app.receive_instance import IncomingInstance, InstanceHeader
from dicom_node.core.errors import RejectedInput
from dicom_node.core.quarantine import QuarantinedFile
from tests.unit.app.node import CT, EXPLICIT, STUDY, Node

OTHER = b"other pixels"


def entries(node: Node) -> tuple[QuarantinedFile, ...]:
    with node.database.reading() as uow:
        return uow.quarantine.list()


def set_aside(node: Node, instance: IncomingInstance, *, readable: bool = True, **header: str) -> QuarantinedFile:
    """What became of an instance that is refused; `header` is what the file turns out to say."""
    with pytest.raises(RejectedInput):
        node.receive(instance)
    entry = entries(node)[0]
    known = instance.header or InstanceHeader(
        study_instance_uid=STUDY, series_instance_uid=f"{STUDY}.1", sop_instance_uid=instance.sop_instance_uid
    )
    if readable:
        node.found[node.files.absolute(entry.file)] = FoundInstance(
            header=replace(known, **header),
            transfer_syntax_uid=EXPLICIT,
            digest=entry.digest,
            size_bytes=entry.size_bytes,
            sop_class_uid=CT,
            calling_aet="SCANNER",
        )
    return entry
