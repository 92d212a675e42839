"""A real head and neck CT from DCMTK's storescu through the node to a PACS.

What a person sees in the series: C1 to C5 whole, the upper part of C6, no C7. The extents below were read off the
images by eye (LPS mm, to about 3 mm) and serve as truth here; nothing was trained or tuned on the series.
"""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from inference.evaluation.drift_record import read_records
from tests.builders.commands import cspine_node
from tests.peers import DcmtkStorescp, NodeProcess, Orthanc, receiver, require, sender, storescu, wait_for

pytestmark = pytest.mark.xdist_group("real-ct")

SEG_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
TOLERANCE_MM = 10.0
# Level: lower and upper end of body (and dens) or arch, front of it, tip of its posterior elements.
SEEN_Z_AND_Y_MM = {
    "C1": (8.0, 19.0, 10.0, 58.0),
    "C2": (-18.0, 13.0, 16.0, 66.0),
    "C3": (-31.0, -15.0, 20.0, 67.0),
    "C4": (-46.0, -30.0, 23.0, 70.0),
    "C5": (-60.0, -45.0, 26.0, 70.0),
}
NEXT_TO_THE_BODY_MM = 3.0


def _send_and_wait(node: NodeProcess, real_ct: Path, peer: str) -> dict:
    sent = storescu(node.port, [real_ct], called=node.ae_title)
    assert sent.returncode == 0, sent.stderr
    uid = str(pydicom.dcmread(next(real_ct.glob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)

    def delivered() -> dict | None:
        study = node.study(uid)
        states = {delivery["peer"]: delivery["state"] for delivery in study.get("deliveries", [])}
        return study if states.get(peer) == "STORED" else None

    return wait_for("the delivery", delivered, timeout_s=120, every_s=1.0)


def _held(study: dict) -> dict[str, list[str]]:
    """The SOP Instance UIDs of each kind that the PACS is said to hold."""
    (delivery,) = study["deliveries"]
    held: dict[str, list[str]] = {}
    for entry in delivery["objects"]:
        if entry["held"]:
            held.setdefault(entry["kind"], []).append(entry["sop_instance_uid"])
    assert held.keys() >= {"SEG", "SR", "TEXT_SR", "SC"}
    return held


def _check_levels(study: dict) -> None:
    levels = {level["level"]: level for level in study["result"]["levels"]}
    assert levels["C7"]["status"] == "not_assessed"
    assert levels["C7"]["probability"] is None
    for name, (bottom_mm, top_mm, front_mm, back_mm) in SEEN_Z_AND_Y_MM.items():
        x, y, z = levels[name]["location_mm_lps"]
        # Ten millimetres up or down would be half a level: the height is held more tightly.
        assert bottom_mm - NEXT_TO_THE_BODY_MM <= z <= top_mm + NEXT_TO_THE_BODY_MM, name
        assert front_mm - TOLERANCE_MM <= y <= back_mm + TOLERANCE_MM, name
        assert abs(x) <= 30.0, name
    heights = [levels[name]["location_mm_lps"][2] for name in SEEN_Z_AND_Y_MM]
    assert heights == sorted(heights, reverse=True)


def _check_objects(sr: pydicom.Dataset, seg: pydicom.Dataset) -> None:
    assert sr.SOPClassUID == COMPREHENSIVE_3D_SR
    assert seg.SOPClassUID == SEG_STORAGE
    assert [segment.SegmentLabel for segment in seg.SegmentSequence][:5] == ["C1", "C2", "C3", "C4", "C5"]
    mask = highdicom.seg.Segmentation.from_dataset(seg)
    assert np.count_nonzero(mask.pixel_array) > 1000


def _check_drift_record(node: NodeProcess, out: Path) -> None:
    assert cspine_node("studies", "records", "--out", out, "--config", node.config).status == 0
    (record,) = read_records(out)
    assert (record["slices"], record["slice_spacing_mm"]) == (94, 1.5)
    assert record["p_C3"] is not None
    assert record["p_C7"] is None
    assert "2.25" not in str(record["study"])


def test_storescu_sends_and_storescp_gets_sr_and_seg(real_ct: Path, dcmtk_pacs: DcmtkStorescp, tmp_path: Path):
    peers = [sender(), receiver(dcmtk_pacs.ae_title, dcmtk_pacs.port)]
    node = NodeProcess(folder=tmp_path / "node", peers=peers).start()
    try:
        study = _send_and_wait(node, real_ct, "pacs")
    finally:
        assert node.stop() == 0
    _check_levels(study)
    _check_drift_record(node, tmp_path / "records.csv")
    arrived = {str(pydicom.dcmread(file).SOPInstanceUID): file for file in dcmtk_pacs.files()}
    held = _held(study)
    assert arrived.keys() == {uid for uids in held.values() for uid in uids}
    sr, seg = arrived[held["SR"][0]], arrived[held["SEG"][0]]
    _check_objects(pydicom.dcmread(sr), pydicom.dcmread(seg))
    dump = subprocess.run([require("dsrdump", "dcmtk"), str(sr)], capture_output=True, text=True, timeout=60)
    assert dump.returncode == 0
    assert "C1 vertebra" in dump.stdout


def test_orthanc_as_the_pacs_holds_sr_and_seg(real_ct: Path, orthanc: Orthanc, tmp_path: Path):
    peers = [sender(), receiver(orthanc.ae_title, orthanc.port)]
    node = NodeProcess(folder=tmp_path / "node", peers=peers).start()
    try:
        study = _send_and_wait(node, real_ct, "pacs")
    finally:
        assert node.stop() == 0
    _check_levels(study)
    datasets = [pydicom.dcmread(io.BytesIO(orthanc.file(held["ID"]))) for held in orthanc.instances()]
    of_study = {
        str(data.SOPInstanceUID): data for data in datasets if data.StudyInstanceUID == study["study_instance_uid"]
    }
    held = _held(study)
    assert of_study.keys() == {uid for uids in held.values() for uid in uids}
    _check_objects(of_study[held["SR"][0]], of_study[held["SEG"][0]])
