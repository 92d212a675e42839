import pytest

from dicom_node.core.job import JobState
from dicom_node.core.transitions import JOB, TABLES, IllegalTransition, JobEvent, advance, document, mermaid


def test_advance_gives_the_state_of_the_table():
    assert advance(JOB, JobState.QUEUED, JobEvent.LEASED) is JobState.RUNNING


def test_an_event_without_a_row_is_refused_with_both_names():
    with pytest.raises(IllegalTransition, match="'leased' has no meaning in state 'DONE'"):
        advance(JOB, JobState.DONE, JobEvent.LEASED)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_diagram_has_one_arrow_for_each_row(name):
    assert mermaid(TABLES[name]).count("-->") == len(TABLES[name])
    assert f"## {name}" in document()
