"""What a report states of a place: a probability, a judgement and the point to look at."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.coding import Code

from dicom_node.app.result_json import result_json
from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult
from dicom_node.results import codes
from dicom_node.results.calls import OVERALL, Call, calls
from dicom_node.results.identity import PATIENT_OVERALL, ObjectIdentity, tracking_id
from dicom_node.results.sources import SourceSeries


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One measurement group: a probability about a site, with a point to look at (z, row, column)."""

    name: str
    tracking: str
    site: Code
    probability: float
    threshold: float
    point_zyx: tuple[int, int, int]
    call: Call


def located_statements(result: AnalysisResult, sources: SourceSeries, identity: ObjectIdentity) -> list[Statement]:
    """The spine as a whole, where it has a probability, and each level with a probability and a point, from C1 down.

    Raises EncodingInvalid for a point outside the series.
    """
    made = calls(result_json(result))
    located = [
        Statement(
            name=tracking_id(finding.level),
            tracking=identity.tracking[finding.level],
            site=codes.VERTEBRA[finding.level],
            probability=finding.probability,
            threshold=finding.threshold,
            point_zyx=finding.key_index_zyx,
            call=made[finding.level] or Call.UNDETERMINED,
        )
        for finding in result.findings
        if finding.probability is not None and finding.key_index_zyx is not None
    ]
    for statement in located:
        _check_point(statement, sources)
    if result.overall_probability is None or not located:
        return located
    overall = Statement(
        name="Cervical spine, patient overall",
        tracking=identity.tracking[PATIENT_OVERALL],
        site=codes.CERVICAL_SPINE,
        probability=result.overall_probability,
        threshold=result.overall_threshold,
        point_zyx=_overall_point(located, len(sources.frames)),
        call=made[OVERALL] or Call.UNDETERMINED,
    )
    return [overall, *located]


def _check_point(statement: Statement, sources: SourceSeries) -> None:
    limits = (len(sources.frames), sources.rows, sources.columns)
    if not all(0 <= index < limit for index, limit in zip(statement.point_zyx, limits, strict=True)):
        raise EncodingInvalid(f"the point of {statement.name} {statement.point_zyx} lies outside the series {limits}")


def _overall_point(located: list[Statement], depth: int) -> tuple[int, int, int]:
    """The most suspicious level's point, moved to the nearest slice that shows no other point.

    Viewers draw a label at each point; two on one pixel are unreadable.
    """
    z, row, column = max(located, key=lambda statement: statement.probability).point_zyx
    taken = {statement.point_zyx[0] for statement in located}
    free = [other for other in range(depth) if other not in taken]
    return min(free, key=lambda other: (abs(other - z), other), default=z), row, column
