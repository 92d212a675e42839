"""The study page: its viewer's files, and what an operator may do there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dicom_node.app.viewing import CT, LevelPlace, ViewerGrid, Viewing, write_viewing
from dicom_node.core.account import Role
from dicom_node.core.errors import PeerRefused
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from dicom_node.web.auth.browser import csrf_token
from tests.unit.app.node import Node, analysed, not_applicable
from tests.unit.web.builders import app, leave_pictures, session, web


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def operator(node: Node, role: Role = Role.OPERATOR) -> tuple[TestClient, dict[str, str]]:
    """A browser of somebody, and the fields that our own forms carry."""
    secret = session(node, role)
    browser = TestClient(app(node), raise_server_exceptions=False, follow_redirects=False)
    browser.cookies.set("cspine_session", secret)
    return browser, {"csrf_token": csrf_token(secret)}


def leave_viewing(node: Node, curve: tuple[float, ...] = (0.1, 0.9, 0.2)) -> Path:
    folder = node.files.job_folder(node.job().id) / "attempt-1" / "viewer"
    folder.mkdir(parents=True)
    identity = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    grid = ViewerGrid(start_zyx=(0, 0, 0), step_zyx=(1, 1, 1), shape_zyx=(3, 1, 1), affine_lps=identity)
    places = (
        LevelPlace(level="C1", point_mm_lps=(0.0, 0.0, 2.0), slice_index=2),
        LevelPlace(level="C2", point_mm_lps=(0.0, 0.0, 1.0), slice_index=1),
    )
    axis = ((0.0, 0.0, 0.0), (0.0, 0.0, 2.0))
    write_viewing(folder, Viewing(grid=grid, levels=places, curve=curve, axis_mm_lps=axis, has_suspicion=True))
    (folder / CT).write_bytes(b"a CT")
    (folder / "grid.json").write_text("{}")
    return folder


def test_the_viewer_gets_its_files_and_nothing_else(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    leave_viewing(node)
    browser = web(node)
    ct = browser.get("/studies/1.2.3/viewer/ct.nii.gz")
    assert (ct.content, ct.headers["content-type"], ct.headers["cache-control"]) == (
        b"a CT",
        "application/gzip",
        "no-store",
    )
    assert browser.get("/studies/1.2.3/viewer/study.json").json()["curve"] == [0.1, 0.9, 0.2]
    for name in ("vertebrae.nii.gz", "grid.json", "..%2Fviewer%2Fct.nii.gz", "ct.nii", "%2Fetc%2Fpasswd"):
        assert browser.get(f"/studies/1.2.3/viewer/{name}").status_code == 404
    assert browser.get("/studies/9.9/viewer/ct.nii.gz").status_code == 404


def test_the_page_has_the_curve_from_the_head_down_and_a_button_for_each_level_that_has_a_place(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    leave_viewing(node)
    page = web(node).get("/studies/1.2.3").text
    assert 'points="166.7,96.0 500.0,12.0 833.3,108.0"' in page
    assert "The highest value is 0.90, on slice 2 of 3, counted from the head." in page
    assert page.count("data-level=") == 2
    assert 'data-first="C2"' in page
    assert "unsafe" not in web(node).get("/studies/1.2.3").headers["content-security-policy"]


def test_a_study_on_its_way_renews_its_page_and_one_at_rest_does_not(node: Node) -> None:
    renewed = 'data-address="/studies/1.2.3?part=standing"'
    node.receive_study()
    assert renewed in web(node).get("/studies/1.2.3").text
    node.settle(turns=3)
    page = web(node).get("/studies/1.2.3").text
    assert "stored at pacs" in page
    assert renewed not in page
    assert "standing.js" not in page


def test_the_page_has_images_when_the_analysis_is_done_and_keeps_no_room_for_them_before(node: Node) -> None:
    node.receive_study()
    node.close_now()
    leave_pictures(node, node.job().id)
    assert 'class="columns"' not in web(node).get("/studies/1.2.3").text
    assert "pictures/" not in web(node).get("/studies/1.2.3").text
    node.settle(turns=3)
    leave_viewing(node)
    assert 'class="columns"' in web(node).get("/studies/1.2.3").text


def test_the_level_of_the_highest_probability_is_opened_first_whatever_its_rounded_figure_says(node: Node) -> None:
    result = analysed()
    probabilities = {"C1": 0.9912, "C2": 0.9948}
    findings = [replace(each, probability=probabilities.get(each.level, 0.1)) for each in result.findings]
    node.analyzer.script = [replace(result, findings=tuple(findings))]
    node.receive_study()
    node.settle(turns=3)
    leave_viewing(node)
    page = web(node).get("/studies/1.2.3").text
    assert page.count(">0.99<") >= 4, "both look alike on the page"
    assert 'data-first="C2"' in page


def test_a_result_without_slices_says_what_to_do_and_an_operator_has_the_button(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    browser, form = operator(node)
    page = browser.get("/studies/1.2.3").text
    assert "There are no slices to look through" in page
    assert "every receiver gets the new result in place of the earlier one" in page
    assert "There are no slices" in web(node).get("/studies/1.2.3").text
    assert "/analyse-again" not in web(node).get("/studies/1.2.3").text
    assert browser.post("/studies/1.2.3/analyse-again", data=form).status_code == 303
    waiting = browser.get("/studies/1.2.3").text
    assert "There are no slices" not in waiting, "they are being made"
    assert "analysed again for operator" in waiting
    again = browser.post("/studies/1.2.3/analyse-again", data=form)
    assert (again.status_code, "not DONE" in again.text) == (409, True)
    node.settle(turns=3)
    leave_viewing(node)
    assert "There are no slices" not in browser.get("/studies/1.2.3").text
    assert node.study().revision == 2


def test_without_anything_for_the_viewer_the_pictures_stand_there_and_no_script_is_loaded(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    leave_pictures(node, node.job().id)
    page = web(node).get("/studies/1.2.3").text
    assert "pictures/sagittal.png" in page
    assert "study.js" not in page
    assert "Suspicion by slice" not in page


def test_a_broken_file_for_the_viewer_is_as_none(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    (leave_viewing(node) / "study.json").write_text(json.dumps({"grid": None}))
    page = web(node).get("/studies/1.2.3")
    assert page.status_code == 200
    assert "study.js" not in page.text


def test_an_operator_closes_a_study_and_the_history_says_who(node: Node) -> None:
    node.receive_study()
    browser, fields = operator(node)
    assert "Close it now" in browser.get("/studies/1.2.3").text
    answer = browser.post("/studies/1.2.3/close", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/1.2.3")
    assert node.study().state is StudyState.CLOSED
    assert any(entry.actor == "operator" for entry in node.detail().history)
    assert "Cancel the analysis" in browser.get("/studies/1.2.3").text


def test_an_operator_cancels_an_analysis_and_starts_it_again(node: Node) -> None:
    node.receive_study()
    node.close_now()
    browser, fields = operator(node)
    assert browser.post("/studies/1.2.3/cancel", data=fields).status_code == 303
    assert node.job().state is JobState.CANCELLED
    assert "Analyse it again" in browser.get("/studies/1.2.3").text
    assert browser.post("/studies/1.2.3/retry", data=fields).status_code == 303
    assert node.job().state is JobState.QUEUED


def test_an_operator_sends_a_failed_delivery_again(node: Node) -> None:
    node.pacs.failures.append(PeerRefused("not today"))
    node.receive_study()
    node.settle(turns=3)
    (delivery,) = node.deliveries()
    browser, fields = operator(node)
    page = browser.get("/studies/1.2.3").text
    assert f'action="/studies/1.2.3/deliveries/{delivery.id}/retry"' in page
    assert "Every attempt to pacs" in page
    assert browser.post(f"/studies/1.2.3/deliveries/{delivery.id}/retry", data=fields).status_code == 303
    node.settle(turns=3)
    assert "stored at pacs" in browser.get("/studies/1.2.3").text


def test_what_makes_no_sense_is_refused_with_the_reason_on_the_page(node: Node) -> None:
    node.analyzer.script.append(not_applicable())
    node.receive_study()
    node.settle(turns=3)
    browser, fields = operator(node)
    answer = browser.post("/studies/1.2.3/close", data=fields)
    assert answer.status_code == 409
    assert "Nothing was done" in answer.text
    assert "CLOSED already" in answer.text
    assert browser.post("/studies/9.9/close", data=fields).status_code == 404
    assert browser.post("/studies/1.2.3/deliveries/77/retry", data=fields).status_code == 404


@pytest.mark.parametrize("path", ["close", "cancel", "retry", "analyse-again", "deliveries/1/retry"])
def test_a_viewer_sees_no_button_and_changes_nothing(node: Node, path: str) -> None:
    node.receive_study()
    browser, fields = operator(node, Role.VIEWER)
    assert "csrf_token" in browser.get("/studies/1.2.3").text, "of the log-out"
    assert f'action="/studies/1.2.3/{path}"' not in browser.get("/studies/1.2.3").text
    assert browser.post(f"/studies/1.2.3/{path}", data=fields).status_code == 403
    assert node.study().state is StudyState.RECEIVING


def test_scripts_do_the_same_by_the_api(node: Node) -> None:
    node.receive_study()
    browser, fields = operator(node)
    headers = {"X-CSRF-Token": fields["csrf_token"]}
    assert browser.post("/api/v1/studies/1.2.3/close", headers=headers).json()["state"] == "QUEUED"
    assert browser.post("/api/v1/studies/1.2.3/close", headers=headers).status_code == 409
    assert browser.post("/api/v1/studies/1.2.3/cancel", headers=headers).json()["state"] == "CANCELLED"
    assert browser.post("/api/v1/studies/1.2.3/retry", headers=headers).json()["job"]["state"] == "QUEUED"
    node.settle(turns=3)
    assert browser.post("/api/v1/studies/1.2.3/analyse-again", headers=headers).json()["revision"] == 2
    assert browser.post("/api/v1/studies/1.2.3/analyse-again", headers=headers).status_code == 409
    assert browser.post("/api/v1/studies/9.9/analyse-again", headers=headers).status_code == 404
    assert browser.post("/api/v1/studies/9.9/retry", headers=headers).status_code == 404
    assert browser.post("/api/v1/deliveries/7/retry", headers=headers).status_code == 404
    assert browser.post("/api/v1/deliveries/no/retry", headers=headers).status_code == 422
