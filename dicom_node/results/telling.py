"""From an analysis and its images to its `Narrative`: what a reader sees of the series, looked up in the headers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.app.result_json import result_json
from dicom_node.core.finding import AnalysisResult, BundleIdentity, ResultObject
from dicom_node.results.earlier import changes
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import SourceSeries
from dicom_node.results.wording import Maker, Narrative, Place, SeriesShown, narrate
from dicom_node.results.words import Words


def tell(
    result: AnalysisResult,
    equipment: Equipment,
    sources: SourceSeries | None = None,
    predecessor: Sequence[ResultObject] = (),
) -> Narrative:
    """The report in sentences, in the equipment's language. Without `sources` nothing was analysed."""
    words = Words(language=equipment.language)
    said = result_json(result)
    return narrate(
        said,
        words,
        maker=maker(equipment, result.bundle),
        series=None if sources is None else series_shown(sources),
        places={} if sources is None else _places(result, sources),
        changes=changes(predecessor, said, words),
    )


def maker(equipment: Equipment, bundle: BundleIdentity) -> Maker:
    """The software and the model, as a reader is told of them."""
    return Maker(
        software=f"{equipment.model_name} {equipment.software_version}",
        bundle=f"{bundle.name} {bundle.version}".strip(),
        trained_on=bundle.trained_on,
        levels_named_by=bundle.levels_named_by,
    )


def series_shown(sources: SourceSeries) -> SeriesShown:
    """The analysed series as a reader's list of series shows it."""
    along = [float(np.dot(frame.position_mm_lps, sources.normal)) for frame in sources.frames]
    steps = np.abs(np.diff(along))
    return SeriesShown(
        images=len({frame.key for frame in sources.frames}),
        number=_number(sources.header, "SeriesNumber"),
        description=" ".join(str(sources.header.get("SeriesDescription") or "").split())[:64],
        thickness_mm=sources.slice_thickness_mm,
        spacing_mm=round(float(np.median(steps)), 2) if len(steps) else None,
    )


def _places(result: AnalysisResult, sources: SourceSeries) -> dict[str, Place]:
    """The key image of each suspicious level, where the headers number their images."""
    series = _number(sources.header, "SeriesNumber")
    found = {}
    for finding in result.findings:
        if finding.is_positive and finding.key_index_zyx is not None:
            frame = sources.frames[finding.key_index_zyx[0]]
            if frame.image_number is not None:
                found[finding.level] = Place(image=frame.image_number, series=series)
    return found


def _number(header: Dataset, keyword: str) -> int | None:
    try:
        return int(header.get(keyword))
    except (TypeError, ValueError):
        return None
