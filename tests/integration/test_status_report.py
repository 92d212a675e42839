"""A node as a process: a study that was not analysed speaks to the PACS that asks; a missing secret is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pydicom import dcmread

from dicom_node.demo.stand_in_pacs import StandInPacs
from dicom_node.dimse.sender import send_files
from tests.builders.ct import make_ct_series
from tests.integration.dimse_support import peer
from tests.peers import CSPINE_NODE, NodeProcess, receiver, sender, wait_for


def test_a_study_that_is_not_applicable_is_told_to_the_pacs_that_asks_and_to_nobody_else(tmp_path: Path) -> None:
    asking, silent = StandInPacs(tmp_path / "asking"), StandInPacs(tmp_path / "silent", ae_title="SILENT")
    peers = [
        sender(),
        receiver("PACS", asking.port) | {"status_reports": True},
        receiver("SILENT", silent.port, name="silent"),
    ]
    files = make_ct_series(tmp_path / "ct", n=3)
    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    with asking, silent:
        node = NodeProcess(folder=tmp_path / "node", peers=peers).start()
        try:
            sent = send_files(peer("CSPINE_AI", port=node.port), files, own_aet="SCANNER")
            assert sent.is_complete
            # Waiting for the file alone would race with the row.
            wait_for(
                "the delivery",
                lambda: [d for d in node.study(uid).get("deliveries", ()) if d["state"] == "STORED"],
                timeout_s=120,
                every_s=0.5,
            )
            study = node.study(uid)
        finally:
            node.stop()
    (delivery,) = study["deliveries"]
    assert (study["status"], delivery["peer"]) == ("NOT_APPLICABLE", "pacs")
    assert [entry["kind"] for entry in delivery["objects"]] == ["STATUS_SR"]
    (held,) = asking.files()
    assert silent.files() == ()
    report = dcmread(held)
    assert (report.Modality, report.StudyInstanceUID) == ("SR", uid)
    said = " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")
    assert "not applicable" in said.lower()
    assert "No series of the study is suitable" in said
    assert "to be read as one that no AI has seen" in said


def test_a_node_that_could_not_sign_its_webhook_does_not_start(tmp_path: Path) -> None:
    node = NodeProcess(
        folder=tmp_path,
        peers=[sender()],
        settings={"notify.webhook": {"enabled": True, "url": "https://er.example/positives", "secret_env": "NO_SUCH"}},
    )
    environ = {key: value for key, value in os.environ.items() if key != "NO_SUCH"}
    ran = subprocess.run(
        [CSPINE_NODE, "serve", "--config", str(node.config)], capture_output=True, text=True, timeout=60, env=environ
    )
    assert ran.returncode == 2
    assert "NO_SUCH holds no secret" in ran.stderr.splitlines()[-1]
