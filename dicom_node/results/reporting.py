"""Objects, and beside them the pictures and the page that people look at."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog

from dicom_node.app.result_json import result_json
from dicom_node.core.finding import AnalysisResult, ResultObject
from dicom_node.core.identifiers import study_key
from dicom_node.ports import ResultEncoder
from dicom_node.results.pictures import write_pictures
from dicom_node.results.report import write_report

log = structlog.get_logger(__name__)

REPORT_NAME = "report.html"


class ReportingEncoder:
    """A ResultEncoder that also leaves `pictures/` and `report.html` in the objects' folder.

    A picture that cannot be drawn is logged and missed; it does not keep a finding from the PACS.
    """

    def __init__(self, inner: ResultEncoder) -> None:
        self._inner = inner

    def encode(
        self,
        result: AnalysisResult,
        *,
        revision: int,
        created_at: datetime,
        out_dir: Path,
        predecessor: tuple[ResultObject, ...] = (),
    ) -> tuple[ResultObject, ...]:
        """As the inner encoder."""
        objects = self._inner.encode(
            result, revision=revision, created_at=created_at, out_dir=out_dir, predecessor=predecessor
        )
        try:
            pictures = write_pictures(result.views_path, out_dir) if result.views_path is not None else ()
            write_report(result_json(result, objects), pictures, out_dir / REPORT_NAME)
        except (OSError, ValueError) as error:
            log.warning("report_not_written", study=study_key(result.study_instance_uid), why=str(error))
        return objects
