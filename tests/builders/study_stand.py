"""A node's pages over real storage, with one study of a phantom that was analysed, encoded and delivered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.core.account import Role
from dicom_node.core.finding import AnalysisResult, SeriesRejection
from dicom_node.core.study import PatientSummary
from dicom_node.ports import AnalysisRequest
from dicom_node.results.encoder import DicomResultEncoder
from dicom_node.web.server import WebServer
from storage.database import open_database
from tests.builders.phantom_result import make_phantom_result
from tests.unit.app.node import Node, incoming
from tests.unit.web.builders import app, session

ENCODER = DicomResultEncoder(manufacturer="the project", software_version="0.1.0", device_serial="42")
PATIENT = PatientSummary(
    patient_id="PHANTOM-7", patient_name="Phantom^Neck", accession_number="ACC-7", study_description="CT phantom"
)


@dataclass(kw_only=True)
class StudyStand:
    """`result` is what the analysis said; `objects` the folder with the encoded objects; pages stand at `url`."""

    node: Node
    result: AnalysisResult
    server: WebServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def study_url(self) -> str:
        return f"{self.url}/studies/{self.result.study_instance_uid}"

    @property
    def objects(self) -> Path:
        return self.node.files.job_folder(self.node.job(self.result.study_instance_uid).id, "attempt-1", "objects")

    def cookie(self, role: Role = Role.OPERATOR) -> dict[str, str]:
        """Of a session of somebody, as a browser takes it."""
        return {"name": "cspine_session", "value": session(self.node, role), "url": self.url}

    def close(self) -> None:
        self.server.stop()
        self.node.database.close()


def make_study_stand(folder: Path, *, fractures: tuple[str, ...], slices: int, slice_mm: float) -> StudyStand:
    """The pages listen on a free port of this machine."""
    result = make_phantom_result(
        folder / "phantom", fractures=fractures, slices=slices, slice_mm=slice_mm, spacing_mm=0.8
    )
    rejected = SeriesRejection(series_instance_uid=f"{result.study_instance_uid}.9", rule="localizer", detail="1 image")
    result = replace(
        result,
        selection=replace(result.selection, rejected=(rejected,)),
        quality=("The series ends 12 mm below C7.",),
        timings_s=(("read", 1.2), ("localise", 3.4), ("classify", 2.1)),
    )
    node = Node(folder, database=open_database("sqlite", data_dir=folder))
    node.encoder = ENCODER  # type: ignore[assignment]
    node.analyzer = _Prepared(result)  # type: ignore[assignment]
    node.restart()
    image = incoming(study=result.study_instance_uid, calling_aet="CT_EMERGENCY")
    assert image.header is not None
    assert result.selection.chosen is not None
    header = replace(image.header, patient=PATIENT, series_instance_uid=result.selection.chosen)
    node.receive(replace(image, header=header))
    node.settle(turns=3)
    server = WebServer(app(node), host="127.0.0.1", port=0)
    server.start()
    return StudyStand(node=node, result=result, server=server)


class _Prepared:
    """An analyser that has the answer, and leaves what it left in the attempt's folder."""

    def __init__(self, result: AnalysisResult) -> None:
        self._result = result

    def analyse(self, request: AnalysisRequest, *, is_cancelled: Callable[[], bool]) -> AnalysisResult:
        assert self._result.viewer_path is not None
        shutil.copytree(self._result.viewer_path, request.work_dir / "viewer", dirs_exist_ok=True)
        return replace(self._result, viewer_path=request.work_dir / "viewer")
