from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from tests.unit.app.node import STUDY, incoming


def test_closing_stores_the_reason_and_queues_the_job_of_the_revision(node):
    node.receive_study(3)
    node.clock.advance(29.9)
    assert node.closing.tick() == 0
    node.clock.advance(0.1)
    assert node.closing.tick() == 1
    study = node.study()
    assert (study.state, study.revision, study.closed_at) == (StudyState.CLOSED, 1, node.clock.now())
    assert study.close_reason == "no image for 30 s after the last of 3 instances and no open association"
    assert (node.job().state, node.job().revision) == (JobState.QUEUED, 1)
    assert node.events(f"study:{STUDY}") == ["instance_stored", "quiet_elapsed"]
    assert node.counters.counts["studies_closed", "quiet_elapsed"] == 1
    assert node.closing.tick() == 0


def test_an_open_association_holds_a_study_until_the_hard_limit(node):
    node.open_association("slow")
    node.receive(incoming(association_id="slow"))
    node.clock.advance(1799)
    assert node.closing.tick() == 0
    node.clock.advance(1)
    assert node.closing.tick() == 1
    assert "hard limit" in node.study().close_reason


def test_studies_close_each_on_its_own(node):
    node.receive_study(1, study="1.7")
    node.clock.advance(20)
    node.receive_study(1, study="1.8")
    node.clock.advance(10)
    assert node.closing.tick() == 1
    assert node.study("1.7").state is StudyState.CLOSED
    assert node.study("1.8").state is StudyState.RECEIVING


def test_an_image_that_comes_between_looking_and_closing_keeps_the_study_open(node):
    node.receive(incoming(1))
    node.clock.advance(31)
    look = node.closing._complete

    def looks_and_is_overtaken():
        found = look()
        node.receive(incoming(2))
        return found

    node.closing._complete = looks_and_is_overtaken
    assert node.closing.tick() == 0
    assert node.study().state is StudyState.RECEIVING


def test_more_studies_than_fit_one_page_are_all_looked_at(node, monkeypatch):
    monkeypatch.setattr("dicom_node.app.close_studies._PAGE", 2)
    for number in range(5):
        node.receive_study(1, study=f"1.{number}")
    node.clock.advance(31)
    assert node.closing.tick() == 5
