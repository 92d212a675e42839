"""What travels in storage commitment: the data sets of N-ACTION and N-EVENT-REPORT (PS3.4 J.3.2 and J.3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from dicom_node.core.commitment import CommitmentReport, NotCommitted, Reference
from dicom_node.core.errors import RejectedInput
from dicom_node.core.identifiers import is_uid
from dicom_node.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicom_node.dimse.handlers import contained

PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # the well-known one
COMMITMENT_SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
REQUEST_COMMITMENT = 1  # Action Type ID
ALL_COMMITTED, SOME_FAILED = 1, 2  # Event Type ID
INVALID_ARGUMENT = 0x0115


def encode_request(transaction_uid: str, references: tuple[Reference, ...], syntax: str) -> bytes:
    """The Action Information of a request to commit."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(ref.sop_class_uid, ref.sop_instance_uid) for ref in references]
    return _encoded(information, syntax)


def decode_request(information: BytesIO | None, syntax: str) -> tuple[str, tuple[Reference, ...]]:
    """Transaction UID and what is asked about. Raises RejectedInput where it is no request."""
    data_set = _decoded(information, syntax)
    references = tuple(_reference(item) for item in data_set.get("ReferencedSOPSequence") or ())
    if not references:
        raise RejectedInput(INVALID_ARGUMENT, "no_references", "the request to commit names no instance")
    return _transaction_uid(data_set), references


def encode_report(report: CommitmentReport, classes: Mapping[str, str], syntax: str) -> tuple[int, bytes]:
    """Event Type ID and Event Information."""
    information = Dataset()
    information.TransactionUID = report.transaction_uid
    if report.committed:
        information.ReferencedSOPSequence = [_item(classes[uid], uid) for uid in report.committed]
    if report.failed:
        information.FailedSOPSequence = [_failed(classes[uid], uid, reason) for uid, reason in report.failed]
    return SOME_FAILED if report.failed else ALL_COMMITTED, _encoded(information, syntax)


def decode_report(information: BytesIO | None, syntax: str) -> CommitmentReport:
    """The report. Raises RejectedInput where it is none."""
    data_set = _decoded(information, syntax)
    failed = {
        _reference(item).sop_instance_uid: int(item.get("FailureReason") or NotCommitted.PROCESSING_FAILURE)
        for item in data_set.get("FailedSOPSequence") or ()
    }
    named = (_reference(item).sop_instance_uid for item in data_set.get("ReferencedSOPSequence") or ())
    # One that is named as kept and as failed is not kept.
    committed = tuple(dict.fromkeys(uid for uid in named if uid not in failed))
    return CommitmentReport(
        transaction_uid=_transaction_uid(data_set), committed=committed, failed=tuple(failed.items())
    )


def _item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _failed(sop_class_uid: str, sop_instance_uid: str, reason: int) -> Dataset:
    item = _item(sop_class_uid, sop_instance_uid)
    item.FailureReason = int(reason)
    return item


def _reference(item: Any) -> Reference:
    sop_class_uid = str(item.get("ReferencedSOPClassUID") or "")
    sop_instance_uid = str(item.get("ReferencedSOPInstanceUID") or "")
    if not is_uid(sop_instance_uid):
        raise RejectedInput(INVALID_ARGUMENT, "no_instance_uid", "a reference names no SOP Instance UID")
    return Reference(sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)


def _transaction_uid(data_set: Dataset) -> str:
    uid = str(data_set.get("TransactionUID") or "")
    if not is_uid(uid):
        raise RejectedInput(INVALID_ARGUMENT, "no_transaction_uid", "there is no valid Transaction UID")
    return uid


def _encoded(data_set: Dataset, syntax: str) -> bytes:
    data = encode(data_set, syntax == IMPLICIT_LITTLE, True)
    assert data is not None, "a data set of our own can be encoded"
    return data


def _decoded(information: BytesIO | None, syntax: str) -> Dataset:
    """The data set, read whole. What cannot be read becomes a RejectedInput, whatever the parser says."""
    found: list[Dataset] = []

    def read() -> None:
        data_set = decode(information or BytesIO(), syntax == IMPLICIT_LITTLE, True)
        for _element in data_set.iterall():
            pass
        found.append(data_set)

    failures: list[Exception] = []
    contained(read, failures.append)
    if not found:
        why = f"the data set cannot be read ({type(failures[0]).__name__})"
        raise RejectedInput(INVALID_ARGUMENT, "undecodable", why)
    return found[0]
