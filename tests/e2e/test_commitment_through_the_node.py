"""A scanner asks the node to commit, the node is killed, and the scanner has its answer from the node's next life."""

from pathlib import Path

from dicom_node.dimse.sender import send_files
from tests.builders.commitment_peers import Peers, ask_as_a_scanner, node_at
from tests.integration.dimse_support import instance, write
from tests.peers import NodeProcess, wait_for


def test_what_a_scanner_asked_before_a_kill_is_answered_after_it(tmp_path: Path) -> None:
    with Peers("SCANNER", 0) as scanner:
        sends = {"name": "scanner", "ae_title": "SCANNER", "host": "127.0.0.1", "port": scanner.port, "may_send": True}
        node = NodeProcess(folder=tmp_path / "node", peers=[sends], settings={"study": {"quiet_period_s": 600.0}})
        node.start()
        try:
            images = [instance(number) for number in (1, 2)]
            files = [write(tmp_path / "images", image) for image in images]
            assert send_files(node_at(node.port), files, own_aet="SCANNER").is_complete
            held = [str(image.SOPInstanceUID) for image in images]
            # Should it be told before it has left, it does not take it.
            answer = ask_as_a_scanner(node.port, *held, stays=False, handler=lambda event: (0x0110, None))
            assert answer == 0x0000
            node.kill()
            node.start()
            wait_for("the report", lambda: scanner.told)
            wait_for("its end", lambda: "reported 2 kept" in node.run("deliveries", "commitments").stdout)
        finally:
            node.stop()
    ((event_type, information),) = scanner.told
    assert event_type == 1
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == held
