"""One study's files to one AnalysisResult: select, read, predict, in this process.

Headers are not believed: series are tried in the order of `core.selection`, and the model decides on the pixels
whether a cervical spine is there. "Not applicable" is a result; an exception means that something is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.analysis.facts import facts_of
from dicom_node.analysis.localiser import NamedLocaliser
from dicom_node.analysis.mask_file import save_mask
from dicom_node.analysis.viewer_volume import write_viewer_volume
from dicom_node.analysis.views import write_views
from dicom_node.core.errors import GeometryUnsupported
from dicom_node.core.finding import (
    AnalysisResult,
    BundleIdentity,
    Finding,
    LevelStatus,
    Outcome,
    PointLps,
    SelectionRecord,
    SeriesRejection,
    SourceSlice,
)
from dicom_node.core.selection import SelectionRules, rank_series, ranked_lower
from inference import headers as dicom_headers
from inference.bundle import Bundle
from inference.errors import ReadingError
from inference.evaluation.drift_record import input_facts
from inference.pipeline import LevelPrediction, Pipeline, Prediction
from inference.reading import SeriesVolume, read_series

Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class StudyFiles:
    """The headers of one study's readable files, by series, and what could not be read.

    `decoded` says for some files where their frames may lie decoded (`inference.decoded`).
    """

    study_instance_uid: str
    series: dict[str, tuple[dicom_headers.InstanceHeader, ...]]
    unreadable: tuple[tuple[Path, str], ...] = ()
    decoded: Mapping[Path, Path] = field(default_factory=dict)


def open_study(
    study_instance_uid: str, files: Sequence[Path], decoded: Mapping[Path, Path] | None = None
) -> StudyFiles:
    """Read the headers of a study's files. A file that cannot be read is listed, not fatal."""
    headers, unreadable = [], []
    for file in files:
        try:
            headers.append(dicom_headers.read_header(file))
        except ReadingError as error:
            unreadable.append((file, str(error)))
    study = group_by_series(study_instance_uid, headers, tuple(unreadable))
    return replace(study, decoded=decoded or {})


def group_by_series(
    study_instance_uid: str,
    headers: Sequence[dicom_headers.InstanceHeader],
    unreadable: tuple[tuple[Path, str], ...] = (),
) -> StudyFiles:
    """Sort headers into their series."""
    series: dict[str, list[dicom_headers.InstanceHeader]] = {}
    for header in headers:
        series.setdefault(header.series_instance_uid, []).append(header)
    return StudyFiles(
        study_instance_uid=study_instance_uid,
        series={uid: tuple(members) for uid, members in series.items()},
        unreadable=unreadable,
    )


def analyse_study(
    study: StudyFiles,
    *,
    pipeline: Pipeline,
    rules: SelectionRules,
    device: str,
    work_dir: Path,
    progress: Progress | None = None,
    localiser: NamedLocaliser | None = None,
) -> AnalysisResult:
    """Analyse the first candidate series that shows a cervical spine.

    Leaves `mask.npz`, `suspicion.npz`, `views/` and `viewer/` in `work_dir`. Raises GeometryUnsupported where
    candidates exist and none can be read, and what the pipeline's localiser raises. `progress` is called with a stage
    name and a fraction in [0, 1]. `localiser` is the one the pipeline was given in the place of the bundle's own, for
    the record.
    """
    started = time.perf_counter()
    report = progress or _silent
    facts = tuple(facts_of(members) for members in study.series.values())
    selection = rank_series(facts, rules)
    rejected = list(selection.rejected)
    read_errors: list[str] = []
    read_s = 0.0
    decoded_ahead = decoded_then = 0
    for position, uid in enumerate(selection.candidates):
        clock = time.perf_counter()
        try:
            volume = read_series(study.series[uid], progress=_fractions(report), decoded=study.decoded)
        except ReadingError as error:
            read_errors.append(str(error))
            rejected.append(SeriesRejection(series_instance_uid=uid, rule="unreadable", detail=str(error)))
            continue
        finally:
            read_s += time.perf_counter() - clock
        decoded_ahead += volume.decoded_before
        decoded_then += volume.decoded_now
        prediction = pipeline.predict(volume.volume, progress=report)
        if not prediction.cervical_spine_found:
            detail = prediction.reason or "the model found no cervical vertebra in the pixels"
            rejected.append(SeriesRejection(series_instance_uid=uid, rule="no_cervical_spine", detail=detail))
            continue
        by_uid = {known.series_instance_uid: known for known in facts}
        rejected += [ranked_lower(by_uid[other], by_uid[uid]) for other in selection.candidates[position + 1 :]]
        timings = {"read": read_s, **prediction.timings_s}
        bundle = bundle_identity(pipeline.bundle, localiser)
        result = _analysed(study, uid, rejected, volume, prediction, bundle, device, work_dir, timings)
        return replace(result, frames_decoded_ahead=decoded_ahead, frames_decoded_then=decoded_then)
    if read_errors and len(read_errors) == len(selection.candidates):
        raise GeometryUnsupported("; ".join(read_errors))
    return AnalysisResult(
        study_instance_uid=study.study_instance_uid,
        outcome=Outcome.NOT_APPLICABLE,
        reason=_why_not_applicable(rejected),
        selection=SelectionRecord(chosen=None, rejected=tuple(rejected)),
        bundle=bundle_identity(pipeline.bundle, localiser),
        device=device,
        overall_threshold=pipeline.bundle.overall_threshold,
        quality=_unreadable_notes(study),
        timings_s=(("read", read_s), ("total", time.perf_counter() - started)),
        frames_decoded_ahead=decoded_ahead,
        frames_decoded_then=decoded_then,
    )


def bundle_identity(bundle: Bundle, localiser: NamedLocaliser | None = None) -> BundleIdentity:
    """The weights' identity in the node's own words."""
    return BundleIdentity(
        name=bundle.name,
        version=bundle.version,
        sha256=bundle.sha256,
        levels_named_by="" if localiser is None else localiser.identity,
    )


def _analysed(
    study: StudyFiles,
    series_uid: str,
    rejected: list[SeriesRejection],
    volume: SeriesVolume,
    prediction: Prediction,
    bundle: BundleIdentity,
    device: str,
    work_dir: Path,
    timings_s: dict[str, float],
) -> AnalysisResult:
    findings = tuple(
        Finding(
            level=level.level,
            status=LevelStatus(level.status),
            threshold=level.threshold,
            probability=level.probability,
            location_mm_lps=level.centre_lps_mm,
            box_mm_lps=level.box_lps_mm,
            key_index_zyx=level.key_index_zyx,
        )
        for level in prediction.levels
    )
    mask_path = save_mask(prediction.mask, volume.volume.affine_lps, work_dir / "mask.npz")
    suspicion_path = _save_suspicion(prediction.levels, work_dir / "suspicion.npz")
    views_path = write_views(volume.volume, prediction.mask, findings, work_dir / "views")
    viewer_path = write_viewer_volume(volume.volume, prediction.mask, work_dir / "viewer")
    return AnalysisResult(
        study_instance_uid=study.study_instance_uid,
        outcome=Outcome.ANALYSED,
        reason=None,
        selection=SelectionRecord(chosen=series_uid, rejected=tuple(rejected)),
        bundle=bundle,
        device=device,
        findings=findings,
        overall_probability=prediction.overall_probability,
        overall_threshold=prediction.overall_threshold,
        mask_path=mask_path,
        slices=tuple(
            SourceSlice(
                sop_instance_uid=source.sop_instance_uid,
                sop_class_uid=source.sop_class_uid,
                file=source.file,
                frame_number=source.frame_number,
                position_mm_lps=_triple(source.position_mm_lps),
                instance_number=source.instance_number,
            )
            for source in volume.slices
        ),
        views_path=views_path,
        suspicion_path=suspicion_path,
        viewer_path=viewer_path,
        quality=(*_unreadable_notes(study), *_localiser_notes(bundle), *volume.notes, *prediction.notes),
        timings_s=tuple(timings_s.items()),
        inputs=tuple(vars(input_facts(volume.volume.hu, volume.volume.spacing_mm_zyx)).items()),
    )


def _save_suspicion(levels: Sequence[LevelPrediction], file: Path) -> Path | None:
    """The maps of the assessed levels as `AnalysisResult.suspicion_path` promises; None where there is no map."""
    arrays: dict[str, NDArray[Any]] = {}
    for level in levels:
        if level.suspicion is not None:
            arrays[f"{level.level}_values"] = level.suspicion.values.astype(np.float32)
            arrays[f"{level.level}_affine"] = level.suspicion.grid.affine_lps()
    if not arrays:
        return None
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file


def _why_not_applicable(rejected: Sequence[SeriesRejection]) -> str:
    if not rejected:
        return "the study holds no image series"
    if any(rejection.rule == "no_cervical_spine" for rejection in rejected):
        return "no cervical spine was found in the pixels of any eligible series"
    rules = sorted({rejection.rule for rejection in rejected})
    return f"none of the {len(rejected)} series is eligible ({', '.join(rules)})"


def _unreadable_notes(study: StudyFiles) -> tuple[str, ...]:
    count = len(study.unreadable)
    return (f"{count} of the study's files could not be read: {study.unreadable[0][1]}",) if count else ()


def _localiser_notes(bundle: BundleIdentity) -> tuple[str, ...]:
    return (f"Levels named by {bundle.levels_named_by}.",) if bundle.levels_named_by else ()


def _triple(position: tuple[float, ...] | None) -> PointLps | None:
    if position is None:
        return None
    x, y, z = position
    return x, y, z


def _fractions(report: Progress) -> Callable[[str, int, int], None]:
    def counted(stage: str, done: int, total: int) -> None:
        report(stage, done / max(total, 1))

    return counted


def _silent(_stage: str, _fraction: float) -> None:
    return None
