"""AE-title administration for scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from config.editing import list_peers
from dicom_node.core.account import Role
from tests.unit.config.builders import TWO_PEERS
from tests.unit.web.peer_file import PeerFile

NEW = {"name": "view", "ae_title": "VIEWER", "host": "10.0.0.3", "port": 104, "receives_results": True}
PEERS = "/api/v1/peers"


@pytest.fixture
def file(tmp_path: Path) -> PeerFile:
    return PeerFile(tmp_path)


@pytest.fixture
def script(file: PeerFile) -> TestClient:
    return file.script()


def etag(script: TestClient) -> dict[str, str]:
    return {"If-Match": script.get(PEERS).headers["etag"]}


def test_a_peer_is_added_changed_replaced_removed_and_all_of_it_undone(file: PeerFile, script: TestClient) -> None:
    added = script.post(PEERS, json=NEW)
    assert (added.status_code, added.json()["words"]) == (201, ["view: added (VIEWER at 10.0.0.3:104)"])
    changed = script.patch(f"{PEERS}/view", json={"port": 105}, headers={"If-Match": added.headers["etag"]})
    assert "+port = 105" in changed.json()["diff"]
    whole = {"ae_title": "VIEWER", "host": "10.0.0.3", "port": 106}
    assert script.put(f"{PEERS}/view", json=whole, headers=etag(script)).status_code == 200
    view = list_peers(file.file)[2]
    assert (view.port, view.receives_results) == (106, False)
    assert script.delete(f"{PEERS}/view", headers=etag(script)).status_code == 200
    versions = script.get(f"{PEERS}/history").json()
    assert [(entry["action"], entry["who"]) for entry in versions] == [
        (action, "robot-admin") for action in ("remove view", "edit view", "edit view", "add view")
    ]
    assert "+port = 106" in script.get(f"{PEERS}/history/{versions[1]['id']}").json()["diff"]
    for version, names in ((versions[0], ["pacs", "ct1", "view"]), (versions[-1], ["pacs", "ct1"])):
        back = script.post(f"{PEERS}/rollback", json={"version": version["id"]}, headers=etag(script))
        assert back.status_code == 200
        assert [peer.name for peer in list_peers(file.file)] == names
    assert file.file.read_text() == TWO_PEERS
    assert len(file.events) == 6


def test_an_edit_for_another_text_is_412_and_shows_what_changed(file: PeerFile, script: TestClient) -> None:
    seen = etag(script)
    script.post(PEERS, json=NEW)
    late = script.patch(f"{PEERS}/pacs", json={"port": 5}, headers=seen)
    assert late.status_code == 412
    assert "+name" in late.json()["detail"]["diff"]
    assert list_peers(file.file)[0].port == 104


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_without_if_match_nothing_is_overwritten(file: PeerFile, script: TestClient, method: str) -> None:
    body = {} if method == "DELETE" else {"json": {"ae_title": "X", "host": "h", "port": 1}}
    assert script.request(method, f"{PEERS}/pacs", **body).status_code == 428
    assert script.post(f"{PEERS}/rollback", json={"version": "last-good"}).status_code == 428
    assert file.file.read_text() == TWO_PEERS


def test_a_dry_run_changes_nothing(file: PeerFile, script: TestClient) -> None:
    shown = script.post(f"{PEERS}?dry_run=true", json=NEW)
    assert (shown.status_code, shown.json()["version"]) == (200, "")
    assert "+name" in shown.json()["diff"]
    assert file.file.read_text() == TWO_PEERS


@pytest.mark.parametrize(
    "wrong",
    [
        {"ae_title": "A" * 17},
        {"ae_title": "A\\B"},
        {"port": "104"},
        {"port": True},
        {"port": 1.5},
        {"name": None},
        {"colour": "red"},
        {"may_send = true\nenabled": False},
        {"host": 'x"\n[[peers]]\nname = "evil'},
        {"addresses": ["10.0.0.1/8"]},
        {"objects": []},
        {"host": "\ud800"},
    ],
)
def test_a_wrong_edit_is_422_and_leaves_no_trace(file: PeerFile, script: TestClient, wrong: dict[str, object]) -> None:
    import json

    content = json.dumps(wrong)
    headers = etag(script) | {"Content-Type": "application/json"}
    answer = script.patch(f"{PEERS}/pacs", content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    assert file.file.read_text() == TWO_PEERS
    assert script.get(f"{PEERS}/history").json() == []


def test_unknown_peers_and_versions_are_404(script: TestClient) -> None:
    assert script.patch(f"{PEERS}/x", json={"port": 5}, headers=etag(script)).status_code == 404
    assert script.delete(f"{PEERS}/x", headers=etag(script)).status_code == 404
    assert script.get(f"{PEERS}/history/x").status_code == 404
    assert script.post(f"{PEERS}/rollback", json={"version": "x"}, headers=etag(script)).status_code == 404
    assert script.post(f"{PEERS}/x/test").status_code == 404


def test_a_peer_is_tried_configured_or_not(file: PeerFile, script: TestClient) -> None:
    good = script.post(f"{PEERS}/pacs/test").json()
    assert (good["ok"], good["echo"]["elapsed_ms"], good["instead"]["SR"]) == (True, 12.0, "PDF")
    accepted = {entry["sop_class"]: entry["accepted"] for entry in good["accepts"]}
    assert accepted["Segmentation Storage"] is True
    assert accepted["Comprehensive 3D SR Storage"] is False
    bad = script.post(f"{PEERS}/test", json=NEW | {"port": 105}).json()
    assert (bad["ok"], bad["echo"]["trouble"]) == (False, "connection refused")
    assert file.file.read_text() == TWO_PEERS


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_who_is_no_admin_changes_nothing(file: PeerFile, role: Role) -> None:
    script = file.script(role)
    headers = etag(script)
    answers = [
        script.post(PEERS, json=NEW, headers=headers),
        script.put(f"{PEERS}/pacs", json=NEW, headers=headers),
        script.patch(f"{PEERS}/pacs", json={"port": 5}, headers=headers),
        script.delete(f"{PEERS}/pacs", headers=headers),
        script.post(f"{PEERS}/rollback", json={"version": "last-good"}, headers=headers),
        script.post(f"{PEERS}/test", json=NEW, headers=headers),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert script.post(f"{PEERS}/pacs/test").status_code == (200 if role is Role.OPERATOR else 403)
    assert file.file.read_text() == TWO_PEERS


def test_a_broken_file_is_said_and_brought_back(file: PeerFile, script: TestClient) -> None:
    file.file.write_text("[[peers")
    found = script.get(PEERS)
    assert "node.toml:1" in found.json()["problem"]
    assert [peer["name"] for peer in found.json()["peers"]] == ["pacs", "ct1"]
    assert found.json()["written"] == []
    assert script.post(PEERS, json=NEW).status_code == 422
    headers = {"If-Match": found.headers["etag"]}
    assert script.post(f"{PEERS}/rollback", json={"version": "last-good"}, headers=headers).status_code == 200
    assert file.file.read_text() == TWO_PEERS
