import json

from dicom_node.app.queries import analysed_results, list_worklist, study_detail
from dicom_node.core.study import StudyState
from dicom_node.core.worklist import WorklistState
from tests.unit.app.node import STUDY, analysed, incoming, not_applicable


def test_the_worklist_shows_the_newest_study_first_with_its_status_and_answer(node):
    node.receive_study(2, study="1.7")
    node.clock.advance(31)
    node.turn()
    node.receive_study(1, study="1.8")
    with node.database.reading() as uow:
        rows = list_worklist(uow)
    assert [row.study.study_instance_uid for row in rows] == ["1.8", "1.7"]
    assert [row.status.state for row in rows] == [WorklistState.RECEIVING, WorklistState.DELIVERED]
    assert (rows[1].probability, rows[1].is_positive, rows[1].positive_levels) == (0.9, True, ("C2",))
    assert (rows[0].probability, rows[0].is_positive, rows[0].positive_levels) == (None, None, ())


def test_the_worklist_is_filtered_and_paged(node):
    for number in range(4):
        node.receive_study(1, study=f"1.{number}")
        node.clock.advance(31)
        node.closing.tick()
    node.receive_study(1, study="1.9")
    with node.database.reading() as uow:
        closed = list_worklist(uow, states=[StudyState.CLOSED], limit=2, offset=1)
    assert [row.study.study_instance_uid for row in closed] == ["1.2", "1.1"]


def test_a_study_in_full_is_json_with_the_result_of_the_contract(node):
    node.receive_study(2)
    node.close_now()
    node.turn()
    shown = json.loads(json.dumps(node.detail().as_json()))
    assert shown["result"]["levels"][1] == {
        "level": "C2",
        "status": "assessed",
        "probability": 0.9,
        "threshold": 0.5,
        "fracture": True,
        "location_mm_lps": [0.0, 1.0, 2.0],
    }
    assert shown["status"] == "DELIVERED"
    assert shown["series"][0]["instance_count"] == 2
    assert [entry["status"] for entry in shown["deliveries"][0]["objects"]] == [0, 0]
    assert shown["history"][0]["event"] == "instance_stored"
    assert shown["patient_name"] == "Doe^Jane"


def test_a_study_without_a_job_has_no_result(node):
    node.receive_study(1)
    assert node.detail().result is None
    assert node.detail().job is None


def test_an_unknown_study_has_no_detail(node):
    with node.database.reading() as uow:
        assert study_detail(uow, "9.9") is None


def test_the_result_shown_is_that_of_the_current_revision(node):
    node.analyzer.script = [analysed(probability=0.1), not_applicable()]
    node.receive_study(1)
    node.close_now()
    node.turn()
    node.receive(incoming(2))
    assert node.detail(STUDY).result["outcome"] == "analysed"
    node.close_now()
    node.turn()
    assert node.detail(STUDY).result["outcome"] == "not_applicable"
    assert node.state() is WorklistState.NOT_APPLICABLE


def test_every_analysed_study_gives_its_result_once_and_the_others_none(node):
    for number in range(5):
        node.receive_study(1, study=f"1.{number}")
        node.clock.advance(31)
        if number == 3:
            node.analyzer.script = [not_applicable("1.3")]
        node.turn()
    node.receive_study(1, study="1.9")
    with node.database.reading() as uow:
        found = [job.study_instance_uid for job, _ in analysed_results(uow, page=2)]
    assert sorted(found) == ["1.0", "1.1", "1.2", "1.4"]
