"""From an analysis to what leaves the node: SEG and SR, the pictures and the report page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from pydicom.dataset import Dataset

from dicom_node.app.result_json import result_json
from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult, Outcome, ResultKind, ResultObject
from dicom_node.core.identifiers import study_key
from dicom_node.results.identity import ObjectIdentity, identify
from dicom_node.results.pictures import write_pictures
from dicom_node.results.provenance import (
    Equipment,
    stamp_equipment,
    stamp_times,
    study_facts,
    take_over_study,
    write,
)
from dicom_node.results.report import write_report
from dicom_node.results.seg import build_segmentation, read_mask
from dicom_node.results.sources import SourceSeries, read_sources
from dicom_node.results.sr import SegmentReference, build_report

log = structlog.get_logger(__name__)

REPORT_NAME = "report.html"

# Kinds that few peers take: made only where one asks.
ON_REQUEST = frozenset({ResultKind.SEG_LABELMAP, ResultKind.STATUS_SR})


@dataclass(frozen=True, kw_only=True)
class DicomResultEncoder:
    """Implements `dicom_node.ports.ResultEncoder`. `language` is the SR's (RFC 5646), one of `codes.LANGUAGES`.

    `kinds_on_request` are the kinds of `ON_REQUEST` that a peer asks for today; a callable is asked at each encoding.
    """

    manufacturer: str
    software_version: str
    device_serial: str
    model_name: str = "cspine-node"
    language: str = "en"
    kinds_on_request: frozenset[ResultKind] | Callable[[], frozenset[ResultKind]] = frozenset()

    def encode(
        self,
        result: AnalysisResult,
        *,
        revision: int,
        created_at: datetime,
        out_dir: Path,
        predecessor: tuple[ResultObject, ...] = (),
    ) -> tuple[ResultObject, ...]:
        """Every kind for which the result has content lies in `out_dir`, durable, in the order of `ResultKind`.

        Those of `ON_REQUEST` are made only where asked for. `report.html` and `pictures/` lie beside them. An analysis
        with another outcome than ANALYSED gives only the report, which says why. Raises EncodingInvalid, or
        StorageUnavailable where the disk refuses.
        """
        out_dir.mkdir(parents=True, exist_ok=True)
        if result.outcome is not Outcome.ANALYSED:
            _illustrate(result, (), (), out_dir)
            return ()
        making = _Making(
            result=result,
            revision=revision,
            created_at=created_at,
            out_dir=out_dir,
            sources=read_sources(result.slices, study_instance_uid=result.study_instance_uid),
            equipment=self._equipment,
            predecessor=predecessor,
            requested=self.kinds_on_request() if callable(self.kinds_on_request) else self.kinds_on_request,
        )
        objects = making.objects()
        _illustrate(result, objects, study_facts(making.sources.header), out_dir)
        return objects

    @property
    def _equipment(self) -> Equipment:
        return Equipment(
            manufacturer=self.manufacturer,
            model_name=self.model_name,
            software_version=self.software_version,
            device_serial=self.device_serial,
            language=self.language,
        )


@dataclass(frozen=True, kw_only=True)
class _Making:
    """One encoding under way. Each method builds one kind; `_finish` gives it the study, the maker, a time, a file."""

    result: AnalysisResult
    revision: int
    created_at: datetime
    out_dir: Path
    sources: SourceSeries
    equipment: Equipment
    predecessor: tuple[ResultObject, ...]
    requested: frozenset[ResultKind]

    def objects(self) -> tuple[ResultObject, ...]:
        made: list[ResultObject] = []
        segmentation = self._segmentation()
        if segmentation is not None:
            made.append(self._finish(segmentation, ResultKind.SEG))
        reference = None if segmentation is None else _reference(segmentation)
        made.append(self._finish(self._report(reference), ResultKind.SR))
        return tuple(made)

    def _identity(self, kind: ResultKind, instance: int = 1) -> ObjectIdentity:
        return identify(kind, self.result, revision=self.revision, instance=instance)

    def _segmentation(self) -> Dataset | None:
        if self.result.mask_path is None:
            return None
        mask = read_mask(self.result.mask_path)
        identity = self._identity(ResultKind.SEG)
        return build_segmentation(mask, self.sources, self.result.bundle, self.equipment, identity)

    def _report(self, reference: SegmentReference | None) -> Dataset:
        identity = self._identity(ResultKind.SR)
        return build_report(self.result, self.sources, reference, self.equipment, identity, self.predecessor)

    def _finish(self, data_set: Dataset, kind: ResultKind, suffix: str = "") -> ResultObject:
        """The data set lies in the file named for its kind (and `suffix`, where a kind has several)."""
        take_over_study(data_set, self.sources.header, study_instance_uid=self.sources.study_instance_uid)
        stamp_equipment(data_set, self.equipment, self.result.bundle)
        stamp_times(data_set, self.created_at)
        file = self.out_dir / f"{kind.lower()}{suffix}.dcm"
        write(data_set, file)
        return ResultObject(
            kind=kind,
            sop_class_uid=str(data_set.SOPClassUID),
            sop_instance_uid=str(data_set.SOPInstanceUID),
            series_instance_uid=str(data_set.SeriesInstanceUID),
            file=file,
        )


def _illustrate(
    result: AnalysisResult,
    objects: tuple[ResultObject, ...],
    facts: tuple[tuple[str, str], ...],
    out_dir: Path,
) -> None:
    """Pictures and page are a courtesy: what cannot be drawn or written is reported and holds no finding back."""
    pictures: tuple[Path, ...] = ()
    trained_on = result.bundle.trained_on
    study = study_key(result.study_instance_uid)
    try:
        if result.views_path is not None:
            pictures = write_pictures(result.views_path, out_dir, trained_on=trained_on)
    except (EncodingInvalid, OSError) as error:
        log.warning("pictures_not_drawn", study=study, reason=str(error))
    try:
        write_report(
            result_json(result, objects), pictures, out_dir / REPORT_NAME, study_facts=facts, trained_on=trained_on
        )
    except OSError as error:
        log.warning("report_not_written", study=study, reason=str(error))


def _reference(segmentation: Dataset) -> SegmentReference:
    return SegmentReference(
        sop_class_uid=str(segmentation.SOPClassUID),
        sop_instance_uid=str(segmentation.SOPInstanceUID),
        series_instance_uid=str(segmentation.SeriesInstanceUID),
        segment_numbers={str(item.SegmentLabel): int(item.SegmentNumber) for item in segmentation.SegmentSequence},
    )
