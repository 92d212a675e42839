"""The pictures of a study. They are a courtesy: what cannot be drawn or saved is reported and holds no finding back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult
from dicom_node.core.identifiers import study_key
from dicom_node.results.pictures import Captions, Picture, draw_pictures, save_pictures
from dicom_node.results.sources import SourceSeries
from dicom_node.results.suspicion import SuspicionMap, read_maps
from dicom_node.results.views import read_views
from dicom_node.results.wording import notice
from dicom_node.results.words import Words

log = structlog.get_logger(__name__)


def maps_of(result: AnalysisResult) -> dict[str, SuspicionMap]:
    """Where levels look suspicious; empty where that cannot be read: key voxels and rings then show the places."""
    if result.suspicion_path is None:
        return {}
    try:
        return read_maps(result.suspicion_path)
    except EncodingInvalid as error:
        log.warning("suspicion_not_read", study=study_key(result.study_instance_uid), reason=str(error))
        return {}


def draw(
    result: AnalysisResult, maps: Mapping[str, SuspicionMap], sources: SourceSeries, language: str
) -> tuple[Picture, ...]:
    """The pictures of the analysis' views; none where they cannot be drawn."""
    if result.views_path is None:
        return ()
    words = Words(language=language)
    captions = Captions(
        words=words,
        notice=notice(words, result.bundle.trained_on),
        positive=frozenset(finding.level for finding in result.findings if finding.is_positive),
        images={z: frame.image_number for z, frame in enumerate(sources.frames) if frame.image_number is not None},
    )
    try:
        return draw_pictures(read_views(result.views_path), maps, captions)
    except EncodingInvalid as error:
        log.warning("pictures_not_drawn", study=study_key(result.study_instance_uid), reason=str(error))
        return ()


def save(pictures: tuple[Picture, ...], result: AnalysisResult, out_dir: Path) -> tuple[Path, ...]:
    """Their files, for page and paper; none where the disk refuses."""
    if not pictures:
        return ()
    try:
        return save_pictures(pictures, out_dir)
    except OSError as error:
        log.warning("pictures_not_saved", study=study_key(result.study_instance_uid), reason=str(error))
        return ()
