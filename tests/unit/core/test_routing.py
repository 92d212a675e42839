from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer
from dicom_node.core.routing import route, why_not_deliverable


def peer(name: str, **changes: bool) -> Peer:
    return Peer(name=name, ae_title=AETitle(name.upper()), host="127.0.0.1", port=104, **changes)


def test_results_go_to_every_enabled_peer_that_receives_them():
    peers = (
        peer("scanner", may_send=True),
        peer("pacs", receives_results=True),
        peer("viewer", receives_results=True),
    )
    found = route(peers)
    assert found.peers == ("pacs", "viewer")
    assert found.why == "results go to pacs, viewer"


def test_a_disabled_peer_gets_nothing_and_is_named():
    found = route((peer("pacs", receives_results=True, enabled=False),))
    assert found.peers == ()
    assert found.why == "no peer is set to receive results; disabled: pacs"


def test_a_delivery_to_a_peer_that_is_gone_or_was_changed_is_refused_with_the_reason():
    assert why_not_deliverable(None, "pacs") == "peer pacs is no longer configured"
    assert "no longer set to receive" in why_not_deliverable(peer("pacs"), "pacs")
    assert why_not_deliverable(peer("pacs", receives_results=True, enabled=False), "pacs") == ""
