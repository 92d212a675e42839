import json

import pytest

from dicom_node.core.errors import PeerBusy, PeerRefused
from dicom_node.stow.answers import read_answer

UID = "1.2.3"


def failed(reason: object, uid: str | None = UID) -> bytes:
    item: dict[str, object] = {"00081197": {"vr": "US", "Value": [reason]}}
    if uid is not None:
        item["00081155"] = {"vr": "UI", "Value": [uid]}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


def warned(reason: int) -> bytes:
    item = {"00081155": {"vr": "UI", "Value": [UID]}, "00081196": {"vr": "US", "Value": [reason]}}
    return json.dumps([{"00081199": {"vr": "SQ", "Value": [item]}}]).encode()


@pytest.mark.parametrize(
    ("http", "body", "status"),
    [
        (200, b"", 0x0000),
        (200, b"<xml/>", 0x0000),
        (200, warned(0xB007), 0xB007),
        (200, failed(0xA700), 0xA700),
        (202, failed(0x0122), 0x0122),
        (202, failed(0x0122, uid="9.9.9"), 0x0000),
        (202, failed(0xA900, uid=None), 0xA900),
        (202, failed(0x0111), 0x0111),
        (202, b"not readable", 0xC000),
        (202, failed(0x0000), 0xC000),
        (202, failed("no number"), 0xC000),
        (409, failed(0x0110), 0x0110),
        (409, failed(0x0124), 0x0124),
        (413, b"", 0x0122),
        (415, b"", 0x0122),
    ],
)
def test_an_answer_about_the_instance_has_the_status_that_c_store_would_have(http, body, status):
    assert read_answer("peer 'x'", http, body, UID).status == status


@pytest.mark.parametrize(
    ("http", "error"),
    [
        (408, PeerBusy),
        (429, PeerBusy),
        (500, PeerBusy),
        (502, PeerBusy),
        (503, PeerBusy),
        (504, PeerBusy),
        (507, PeerBusy),
        (302, PeerRefused),
        (400, PeerRefused),
        (401, PeerRefused),
        (403, PeerRefused),
        (404, PeerRefused),
        (409, PeerRefused),
        (501, PeerRefused),
    ],
)
def test_a_request_that_failed_as_a_whole_is_tried_again_or_not_by_its_status(http, error):
    with pytest.raises(error, match=f"peer 'x' answered {http}"):
        read_answer("peer 'x'", http, b"", UID)


@pytest.mark.parametrize("body", [b"[]", b"[1]", b"null", b'{"00081198": 1}', b'{"00081198": {"Value": [1]}}', b"\xff"])
def test_a_body_of_any_shape_is_read_without_a_crash(body):
    assert read_answer("peer 'x'", 200, body, UID).status == 0x0000
    with pytest.raises(PeerRefused):
        read_answer("peer 'x'", 409, body, UID)
