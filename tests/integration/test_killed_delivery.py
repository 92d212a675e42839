"""`kill -9` while results are on their way: nothing is lost, and the same findings do not arrive twice."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.app.requeue import Requeue
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.finding import ResultKind as K
from dicom_node.demo.stand_in_pacs import Faults, StandInPacs
from storage.database import open_database
from tests.builders.delivering_process import worker
from tests.builders.every_object import CLASSES, result_objects
from tests.contract.rows import STUDY, intake
from tests.unit.app.node import silenced

ROOT = Path(__file__).parents[2]
AUTO = {K.SEG, K.SUSPICION_SEG, K.TEXT_SR, K.SC}


class Now:
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.mark.parametrize("killed_at", [1, 3, 6])
def test_a_kill_at_any_object_sends_again_only_what_was_not_answered(tmp_path: Path, killed_at: int) -> None:
    objects = result_objects(tmp_path / "objects")
    database = open_database("sqlite", data_dir=tmp_path)
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        job = uow.jobs.add(study_instance_uid=STUDY, revision=1, created_at=Now().now())
        queued = {"job_id": job.id, "study_instance_uid": STUDY, "revision": 1, "objects": objects}
        delivery = uow.deliveries.add(**queued, peer="pacs", created_at=Now().now())
        uow.commit()
    faults = Faults(refused_sop_classes=frozenset({CLASSES[K.SR]}), delay_s=0.3)
    with silenced(), StandInPacs(tmp_path / "pacs", faults=faults) as pacs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.builders.delivering_process", str(tmp_path), str(pacs.port)],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert pacs.wait_for_requests(killed_at, 60)
        finally:
            process.kill()
            process.wait(30)
        pacs.faults.refused_sop_classes = frozenset()
        pacs.faults.delay_s = 0.0
        requeue = Requeue(uow_factory=database.unit_of_work, clock=Now())
        assert requeue.take_back("node/2", owner_prefix="node/") == 1
        requeue.tick()
        assert worker(database, pacs.port, life=2).step()
        held = {file.stem for file in pacs.files()}
    with database.reading() as uow:
        ended = uow.deliveries.get(delivery.id)
    database.close()
    assert ended is not None
    assert (ended.state, ended.failure) == (DeliveryState.STORED, "")
    kinds = {entry.kind for entry in objects if entry.sop_instance_uid in held}
    assert kinds == AUTO | {K.SR_COMPREHENSIVE}, "the choice made before the kill is kept"
    assert held == {entry.sop_instance_uid for entry in ended.stored}
    again = [count for count in pacs.requests.values() if count > 1]
    assert again in ([], [2]), "at most the one whose answer was lost"
