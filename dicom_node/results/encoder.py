"""From an analysis to what leaves the node: every kind of object, the pictures and the report page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import structlog
from pydicom.dataset import Dataset

from dicom_node.app.result_json import result_json
from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult, Outcome, ResultKind, ResultObject
from dicom_node.core.identifiers import study_key
from dicom_node.results import illustrations
from dicom_node.results.captures import build_capture, captures_of
from dicom_node.results.encapsulated_pdf import encapsulate
from dicom_node.results.evidence import of_key_images
from dicom_node.results.finishing import Finishing
from dicom_node.results.identity import ObjectIdentity, identify
from dicom_node.results.key_objects import build_key_objects, key_frames
from dicom_node.results.not_analysed import write_status_report
from dicom_node.results.overlays import write_overlays
from dicom_node.results.pdf import Sheet, write_pdf
from dicom_node.results.pictures import Picture
from dicom_node.results.provenance import Equipment, study_facts, study_time
from dicom_node.results.report import write_report
from dicom_node.results.seg import Mask, build_labelmap, build_segmentation, read_mask, vertebrae
from dicom_node.results.sources import SourceSeries, read_sources
from dicom_node.results.sr import SOP_CLASSES, SegmentReference, build_reports
from dicom_node.results.summary_page import draw_summary
from dicom_node.results.suspicion import SuspectedRegions, SuspicionMap, suspected_regions
from dicom_node.results.suspicion_seg import build_suspicion
from dicom_node.results.telling import tell
from dicom_node.results.text_sr import build_text_report
from dicom_node.results.wording import Narrative

log = structlog.get_logger(__name__)

REPORT_NAME = "report.html"

# Kinds that few peers take: made only where one asks.
ON_REQUEST = frozenset({ResultKind.SEG_LABELMAP, ResultKind.STATUS_SR})


@dataclass(frozen=True, kw_only=True)
class DicomResultEncoder:
    """Implements `dicom_node.ports.ResultEncoder`. `language` is that of all sentences, one of `words.LANGUAGES`.

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
        with another outcome than ANALYSED gives only the report and, where asked for, the STATUS_SR, which say why.
        Raises EncodingInvalid, or StorageUnavailable where the disk refuses.
        """
        out_dir.mkdir(parents=True, exist_ok=True)
        if result.outcome is not Outcome.ANALYSED:
            objects = self._status(result, revision, created_at, out_dir)
            _write_page(result, objects, tell(result, self._equipment), (), (), out_dir)
            return objects
        sources = read_sources(result.slices, study_instance_uid=result.study_instance_uid)
        maps = illustrations.maps_of(result)
        pictures = illustrations.draw(result, maps, sources, self.language)
        files = illustrations.save(pictures, result, out_dir)
        making = _Making(
            result=result,
            revision=revision,
            created_at=created_at,
            out_dir=out_dir,
            sources=sources,
            equipment=self._equipment,
            predecessor=predecessor,
            requested=self._requested,
            narrative=tell(result, self._equipment, sources, predecessor),
            maps=maps,
            pictures=pictures,
            picture_files=files,
        )
        objects = making.objects()
        making.show()
        _write_page(result, objects, making.narrative, study_facts(sources.header), files, out_dir)
        return objects

    def _status(
        self, result: AnalysisResult, revision: int, created_at: datetime, out_dir: Path
    ) -> tuple[ResultObject, ...]:
        if ResultKind.STATUS_SR not in self._requested or result.representative is None:
            return ()
        made = write_status_report(
            result,
            result.representative,
            self._equipment,
            revision=revision,
            created_at=created_at,
            out_dir=out_dir,
        )
        return (made,)

    @property
    def _requested(self) -> frozenset[ResultKind]:
        return self.kinds_on_request() if callable(self.kinds_on_request) else self.kinds_on_request

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
    narrative: Narrative
    maps: Mapping[str, SuspicionMap]
    pictures: tuple[Picture, ...]
    picture_files: tuple[Path, ...]

    def objects(self) -> tuple[ResultObject, ...]:
        made: list[ResultObject] = []
        references: list[SegmentReference] = []
        for kind, segmentation in self._segmentations():
            made.append(self._finish(segmentation, kind))
            if kind not in ON_REQUEST:
                references.append(_reference(segmentation))
        made += [self._finish(report, kind) for kind, report in self._reports(tuple(references)).items()]
        made.append(self._finish(self._text_report(), ResultKind.TEXT_SR))
        made += self._key_images()
        made += self._key_objects()
        paper = self._paper()
        if paper is not None:
            made.append(self._finish(paper, ResultKind.PDF))
        return tuple(made)

    def show(self) -> None:
        """The overlays for the study page: a courtesy as the pictures are."""
        folder = self.result.viewer_path
        if folder is None or self.mask is None:
            return
        try:
            write_overlays(folder, self.result, self.mask, self.regions, self.maps, self.sources)
        except (OSError, ValueError, KeyError, TypeError) as error:
            key = study_key(self.result.study_instance_uid)
            log.warning("overlays_not_written", study=key, reason=f"{type(error).__name__}: {error}")

    @cached_property
    def mask(self) -> Mask | None:
        return None if self.result.mask_path is None else read_mask(self.result.mask_path)

    @cached_property
    def regions(self) -> SuspectedRegions | None:
        return None if self.mask is None else suspected_regions(self.maps, self.result.findings, self.mask)

    def _identity(self, kind: ResultKind, instance: int = 1) -> ObjectIdentity:
        return identify(kind, self.result, revision=self.revision, instance=instance)

    def _segmentations(self) -> Iterator[tuple[ResultKind, Dataset]]:
        if self.mask is None:
            return
        bones = vertebrae(self.mask, self.sources)
        about = self.sources, self.result.bundle, self.equipment
        if bones is not None:
            yield ResultKind.SEG, build_segmentation(bones, *about, self._identity(ResultKind.SEG))
            if ResultKind.SEG_LABELMAP in self.requested:
                identity = self._identity(ResultKind.SEG_LABELMAP)
                yield ResultKind.SEG_LABELMAP, build_labelmap(bones, *about, identity)
        if self.regions is not None:
            identity = self._identity(ResultKind.SUSPICION_SEG)
            yield ResultKind.SUSPICION_SEG, build_suspicion(self.regions, *about, identity)

    def _reports(self, references: tuple[SegmentReference, ...]) -> dict[ResultKind, Dataset]:
        identities = {kind: self._identity(kind) for kind in SOP_CLASSES}
        return build_reports(self.result, self.sources, references, self.equipment, identities, self.predecessor)

    def _text_report(self) -> Dataset:
        identity = self._identity(ResultKind.TEXT_SR)
        about = self.narrative, self.result, self.sources, self.equipment
        return build_text_report(*about, identity, self.predecessor)

    def _key_images(self) -> list[ResultObject]:
        captures = captures_of(draw_summary(self.narrative), self.pictures, self.result, self.sources)
        made = []
        for number, capture in enumerate(captures, 1):
            identity = self._identity(ResultKind.SC, number)
            image = build_capture(capture, self.result.bundle.trained_on, self.sources, self.equipment, identity)
            made.append(self._finish(image, ResultKind.SC, f"_{number}"))
        return made

    def _key_objects(self) -> list[ResultObject]:
        frames = key_frames(self.result, self.sources)
        if not frames:
            return []
        description = f"{self.narrative.verdict.text} {self.narrative.limits[0]}"
        identity = self._identity(ResultKind.KOS)
        document = build_key_objects(frames, description, self.sources, self.equipment, identity)
        return [self._finish(document, ResultKind.KOS)]

    def _paper(self) -> Dataset | None:
        """The report as a PDF. What cannot be put on paper is reported and holds no finding back."""
        made_on = study_time(self.sources.header, self.created_at).strftime("%Y%m%d")
        facts = study_facts(self.sources.header)
        sheet = Sheet(narrative=self.narrative, facts=facts, pictures=self.picture_files, made_on=made_on)
        try:
            pdf = write_pdf(sheet)
        except (EncodingInvalid, OSError) as error:
            log.warning("pdf_not_made", study=study_key(self.result.study_instance_uid), reason=str(error))
            return None
        key_images = of_key_images(self.result, self.sources)
        return encapsulate(pdf, self.narrative.title, key_images, self._identity(ResultKind.PDF))

    def _finish(self, data_set: Dataset, kind: ResultKind, suffix: str = "") -> ResultObject:
        finishing = Finishing(
            header=self.sources.header,
            study_instance_uid=self.sources.study_instance_uid,
            equipment=self.equipment,
            bundle=self.result.bundle,
            created_at=self.created_at,
            out_dir=self.out_dir,
        )
        return finishing.finish(data_set, kind, suffix)


def _write_page(
    result: AnalysisResult,
    objects: tuple[ResultObject, ...],
    narrative: Narrative,
    facts: tuple[tuple[str, str], ...],
    pictures: tuple[Path, ...],
    out_dir: Path,
) -> None:
    """The page is a courtesy as the pictures are."""
    try:
        page = result_json(result, objects)
        write_report(page, pictures, out_dir / REPORT_NAME, study_facts=facts, narrative=narrative)
    except OSError as error:
        log.warning("report_not_written", study=study_key(result.study_instance_uid), reason=str(error))


def _reference(segmentation: Dataset) -> SegmentReference:
    return SegmentReference(
        sop_class_uid=str(segmentation.SOPClassUID),
        sop_instance_uid=str(segmentation.SOPInstanceUID),
        series_instance_uid=str(segmentation.SeriesInstanceUID),
        segment_numbers={str(item.SegmentLabel): int(item.SegmentNumber) for item in segmentation.SegmentSequence},
    )
