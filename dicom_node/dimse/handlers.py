"""From a DIMSE request to a call of the application, and from its outcome to a status.

One of the five places where a broad `except` stands: whatever goes wrong below is answered with a failure status,
never with Success, and the node goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pynetdicom.dimse_primitives import C_STORE

from dicom_node.app import counting
from dicom_node.app.receive_instance import IncomingInstance, InstanceHeader
from dicom_node.core.errors import RejectedInput
from dicom_node.core.identifiers import is_uid
from dicom_node.core.study import PatientSummary
from dicom_node.dimse import data_set as ds
from dicom_node.dimse import statuses
from dicom_node.dimse.contexts import encoding_of
from dicom_node.dimse.file_meta import encode_file_meta
from dicom_node.ports import Counters, StoredFile

log = structlog.get_logger(__name__)

Receive = Callable[[IncomingInstance], object]
"""Returns once the instance is durable and indexed; raises RejectedInput with the status to answer."""


@dataclass(frozen=True, kw_only=True)
class StoreRequest:
    """One C-STORE-RQ (PS3.7 9.3.1) under an accepted presentation context; `digest` of its data set where known."""

    sop_class_uid: str
    sop_instance_uid: str
    data_set: bytes | memoryview
    abstract_syntax: str
    transfer_syntax_uid: str
    calling_aet: str
    called_aet: str
    association_id: str
    digest: bytes | None = None
    header: InstanceHeader | None = None
    stored: StoredFile | None = None
    """Where another process of ours has read the header, and made the file durable; then there is no `data_set`."""


class StoreHandler:
    """Answers C-STORE. Safe to call from many threads at once."""

    def __init__(
        self, *, receive: Receive, may_store: Callable[[str], bool], counters: Counters, maximum_inflated_bytes: int
    ) -> None:
        self._receive = receive
        self._may_store = may_store
        self._counters = counters
        self._maximum_inflated_bytes = maximum_inflated_bytes

    def __call__(self, request: StoreRequest) -> tuple[int, str]:
        """The status and the Error Comment. Never raises."""
        try:
            self._take(request)
        except RejectedInput as rejection:
            return self._rejected(request, rejection.status, rejection.reason, str(rejection))
        except Exception:
            self._counters.count(counting.INSTANCES_REJECTED, reason="internal_error")
            log.exception("store_failed", **_names(request))
            return statuses.PROCESSING_FAILURE, "internal error, see the log of this node"
        return statuses.SUCCESS, ""

    def _take(self, request: StoreRequest) -> None:
        if not self._may_store(request.calling_aet):
            self._refuse(RejectedInput(statuses.NOT_AUTHORISED, "not_authorised", "this AE title may no longer send"))
        if request.stored is not None and request.header is not None:
            incoming = _incoming(request, b"", request.header, "")
        else:
            try:
                check_command(request)
            except RejectedInput as rejection:
                self._refuse(rejection)
            incoming = incoming_of(request, self._maximum_inflated_bytes)
        self._receive(incoming)

    def _refuse(self, rejection: RejectedInput) -> None:
        self._counters.count(counting.INSTANCES_REJECTED, reason=rejection.reason)
        raise rejection

    def _rejected(self, request: StoreRequest, status: int, reason: str, message: str) -> tuple[int, str]:
        log.warning("instance_rejected", status=f"0x{status:04X}", reason=reason, why=message, **_names(request))
        return status, statuses.comment(message)


def check_command(request: StoreRequest) -> None:
    """What can be refused before the data set is looked at. Raises RejectedInput."""
    if request.sop_class_uid != request.abstract_syntax:
        raise RejectedInput(
            statuses.SOP_CLASS_NOT_SUPPORTED,
            "context_mismatch",
            f"SOP Class {request.sop_class_uid or 'missing'} in a context for {request.abstract_syntax}",
        )
    if not is_uid(request.sop_instance_uid):
        why = "Affected SOP Instance UID is missing or no UID"
        raise RejectedInput(statuses.INVALID_SOP_INSTANCE, "missing_uid", why)
    if not len(request.data_set):
        raise RejectedInput(statuses.CANNOT_UNDERSTAND, "empty", "the data set is empty")


def incoming_of(request: StoreRequest, maximum_inflated_bytes: int) -> IncomingInstance:
    """The request as the application takes it, with what the data set says of itself, or why it cannot be read: the
    application refuses it then and keeps a copy.
    """
    header, why_unreadable = _header(request, maximum_inflated_bytes)
    head = encode_file_meta(
        sop_class_uid=request.sop_class_uid,
        sop_instance_uid=request.sop_instance_uid,
        transfer_syntax_uid=request.transfer_syntax_uid,
        calling_aet=request.calling_aet,
        called_aet=request.called_aet,
        data_set_bytes=len(request.data_set),
    )
    return _incoming(request, head, header, why_unreadable)


def _incoming(
    request: StoreRequest, head: bytes, header: InstanceHeader | None, why_unreadable: str
) -> IncomingInstance:
    return IncomingInstance(
        head=head,
        data_set=request.data_set,
        header=header,
        why_unreadable=why_unreadable,
        sop_instance_uid=request.sop_instance_uid,
        sop_class_uid=request.sop_class_uid,
        transfer_syntax_uid=request.transfer_syntax_uid,
        calling_aet=request.calling_aet,
        called_aet=request.called_aet,
        association_id=request.association_id,
        digest=request.digest,
        stored=request.stored,
    )


def _header(request: StoreRequest, maximum_inflated_bytes: int) -> tuple[InstanceHeader | None, str]:
    try:
        head = ds.read_head(
            request.data_set,
            encoding_of(request.transfer_syntax_uid),
            maximum_inflated_bytes=maximum_inflated_bytes,
        )
    except ds.DataSetUnreadable as error:
        return None, str(error)
    return header_of(head), ""


def header_of(head: ds.Head) -> InstanceHeader:
    """The application's view of what the data set says."""
    return InstanceHeader(
        study_instance_uid=head[ds.STUDY_INSTANCE_UID],
        series_instance_uid=head[ds.SERIES_INSTANCE_UID],
        sop_instance_uid=head[ds.SOP_INSTANCE_UID],
        sop_class_uid=head[ds.SOP_CLASS_UID],
        modality=head[ds.MODALITY],
        body_part_examined=head[ds.BODY_PART_EXAMINED],
        station_name=head[ds.STATION_NAME],
        patient=PatientSummary(
            patient_id=head[ds.PATIENT_ID],
            patient_name=head[ds.PATIENT_NAME],
            accession_number=head[ds.ACCESSION_NUMBER],
            study_date=head[ds.STUDY_DATE],
            study_description=head[ds.STUDY_DESCRIPTION],
        ),
    )


def data_set_of(request: C_STORE) -> bytes | memoryview:
    """The data set's bytes as they came, without a copy; empty where the message has none."""
    return request.DataSet.getbuffer() if request.DataSet is not None else b""


def contained(action: Callable[[], object], on_failure: Callable[[Exception], None]) -> None:
    """Run a piece of the protocol machine; what it raises on a peer's bytes is handed to `on_failure`."""
    try:
        action()
    except Exception as error:
        on_failure(error)


def _names(request: StoreRequest) -> dict[str, str]:
    return {
        "calling_aet": request.calling_aet,
        "association": request.association_id,
        "sop_instance_uid": request.sop_instance_uid,
        "sop_class_uid": request.sop_class_uid,
    }
