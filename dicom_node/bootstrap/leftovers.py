"""Reads a file that has no row: what the sweep at start-up asks about."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread

from dicom_node.app.found_instance import FoundInstance
from dicom_node.data_set_hash import digest_of
from dicom_node.dimse.contexts import encoding_of
from dicom_node.dimse.data_set import DataSetUnreadable, read_head
from dicom_node.dimse.handlers import header_of
from dicom_node.dimse.part10 import NotDicom, data_set_in, read_part10


def read_found_instance(file: Path) -> FoundInstance | None:
    """What a Part 10 file says of itself; None where it is cut or no DICOM."""
    try:
        part10 = read_part10(file)
        data_set = data_set_in(part10, part10.transfer_syntax_uid)
        head = read_head(data_set, encoding_of(part10.transfer_syntax_uid))
    except (OSError, NotDicom, DataSetUnreadable):
        return None
    meta = dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta
    return FoundInstance(
        header=header_of(head),
        transfer_syntax_uid=part10.transfer_syntax_uid,
        digest=digest_of(data_set),
        size_bytes=file.stat().st_size,
        sop_class_uid=part10.sop_class_uid,
        calling_aet=str(meta.get("SendingApplicationEntityTitle", meta.get("SourceApplicationEntityTitle", ""))),
        called_aet=str(meta.get("ReceivingApplicationEntityTitle", "")),
    )
