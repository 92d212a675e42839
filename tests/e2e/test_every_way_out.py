"""One positive study through a whole node to everybody who may want it: a PACS that refuses Comprehensive 3D SR, a
DICOMweb service, the emergency list by a route, an HL7 listener and a webhook."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hl7apy.parser import parse_message

from dicom_node.demo.stand_in_pacs import Faults, StandInPacs
from tests.e2e.conftest import make_phantom
from tests.integration.test_notifications import SECRET, Heard, Posted, is_genuine, listener, webhook
from tests.peers import NodeProcess, Orthanc, receiver, sender, storescu, wait_for

COMPREHENSIVE_3D = "1.2.840.10008.5.1.4.1.1.88.34"
FRACTURES = ("--fracture", "C2:odontoid-2:0.95", "--fracture", "C6:burst:0.95")


@pytest.mark.slow
@pytest.mark.peer("orthanc")
@pytest.mark.xdist_group("every_way_out")
def test_a_positive_study_reaches_everybody_in_the_form_they_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study = make_phantom(tmp_path / "study", "--seed", "3", "--slices", "200", *FRACTURES)
    monkeypatch.setitem(os.environ, "WEBHOOK_TEST_SECRET", SECRET)
    heard, posted = Heard(), Posted()
    faults = Faults(refused_sop_classes=frozenset({COMPREHENSIVE_3D}))
    orthanc = Orthanc(tmp_path / "orthanc", dicomweb=True)
    with (
        StandInPacs(tmp_path / "pacs", faults=faults) as pacs,
        StandInPacs(tmp_path / "er", ae_title="ER") as er,
        listener(heard) as hl7_port,
        webhook(posted) as url,
    ):
        emergency = receiver("ER", er.port, name="er-list") | {"receives_results": False, "objects": ["TEXT_SR", "SC"]}
        cloud = {"name": "cloud", "stow_url": orthanc.dicomweb_url, "receives_results": True}
        node = NodeProcess(
            folder=tmp_path / "node",
            peers=[sender(), receiver("PACS", pacs.port), emergency, cloud],
            settings={
                "notify.hl7": {"enabled": True, "port": hl7_port},
                "notify.webhook": {"enabled": True, "url": url, "secret_env": "WEBHOOK_TEST_SECRET"},
            },
        )
        route = '\n[[routes]]\nname = "emergency"\nresults = ["positive"]\nadd = ["er-list"]\n'
        node.config.write_text(node.config.read_text() + route)
        node.start()
        try:
            sent = storescu(node.port, [study.dicom], called=node.ae_title)
            assert sent.returncode == 0, sent.stderr
            deliveries = _settled(node, study.truth["study_instance_uid"])
        finally:
            node.stop()
            orthanc_holds = {entry["SOPInstanceUID"] for entry in orthanc.instances()}
            orthanc.close()
    assert {name: entry["state"] for name, entry in deliveries.items()} == dict.fromkeys(
        ("pacs", "er-list", "cloud", "hl7", "webhook"), "STORED"
    )
    assert _held(deliveries["pacs"]) == {"SEG", "SUSPICION_SEG", "SR_COMPREHENSIVE", "TEXT_SR", "SC"}
    assert [(s["wanted"], s["sent"]) for s in deliveries["pacs"]["substitutions"]] == [("SR", "SR_COMPREHENSIVE")]
    assert (_held(deliveries["er-list"]), deliveries["er-list"]["route"]) == ({"TEXT_SR", "SC"}, "emergency")
    assert _held(deliveries["cloud"]) == {"SEG", "SUSPICION_SEG", "SR", "TEXT_SR", "SC"}
    assert {o["sop_instance_uid"] for o in deliveries["cloud"]["objects"] if o["held"]} == orthanc_holds
    (message,) = heard.messages
    assert parse_message(message).msh.msh_9.to_er7() == "ORU^R01^ORU_R01"
    ((headers, body),) = posted.requests
    assert is_genuine(headers, body)


def _settled(node: NodeProcess, uid: str) -> dict[str, dict]:
    def done() -> dict[str, dict] | None:
        deliveries = node.study(uid).get("deliveries", [])
        is_over = deliveries and all(entry["state"] in ("STORED", "FAILED") for entry in deliveries)
        return {entry["peer"]: entry for entry in deliveries} if is_over else None

    return wait_for("every delivery", done, timeout_s=420, every_s=1.0)


def _held(delivery: dict) -> set[str]:
    return {entry["kind"] for entry in delivery["objects"] if entry["held"]}
