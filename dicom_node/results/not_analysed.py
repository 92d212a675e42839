"""A study that was not analysed speaks too: a status SR with the reason, for the peers that ask for one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult, ResultKind, ResultObject, SourceSlice
from dicom_node.core.identifiers import derived_uid
from dicom_node.results.finishing import Finishing
from dicom_node.results.identity import ObjectIdentity, identify
from dicom_node.results.provenance import Equipment
from dicom_node.results.telling import tell
from dicom_node.results.text_sr import build_status_report


def write_status_report(
    result: AnalysisResult,
    representative: SourceSlice,
    equipment: Equipment,
    *,
    revision: int,
    created_at: datetime,
    out_dir: Path,
) -> ResultObject:
    """The status SR lies in `out_dir`, durable. It names the study and the one instance it knows of it.

    Raises EncodingInvalid where that instance cannot be read, StorageUnavailable where the disk refuses.
    """
    try:
        header = dcmread(representative.file, stop_before_pixels=True, force=True)
        series_uid = str(header.SeriesInstanceUID)
    except (OSError, InvalidDicomError, EOFError, AttributeError, ValueError) as error:
        raise EncodingInvalid(f"the instance that stands for the study cannot be read: {error}") from error
    reference = (series_uid, representative.sop_class_uid, representative.sop_instance_uid)
    narrative = tell(result, equipment)
    report = build_status_report(narrative, result, reference, equipment, identify_status(result, revision))
    finishing = Finishing(
        header=header,
        study_instance_uid=result.study_instance_uid,
        equipment=equipment,
        bundle=result.bundle,
        created_at=created_at,
        out_dir=out_dir,
    )
    return finishing.finish(report, ResultKind.STATUS_SR)


def identify_status(result: AnalysisResult, revision: int) -> ObjectIdentity:
    """The identity of the status SR: another instance as soon as it says something else."""
    identity = identify(ResultKind.STATUS_SR, result, revision=revision)
    uid = derived_uid(identity.sop_instance_uid, result.outcome.value, result.reason or "")
    return replace(identity, sop_instance_uid=uid)
