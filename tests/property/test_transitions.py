"""The state tables as graphs, walked at random."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.delivery import DeliveryState
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from dicom_node.core.transitions import TABLES, IllegalTransition, advance

FIRST = {"Study": StudyState.RECEIVING, "Job": JobState.QUEUED, "Delivery": DeliveryState.PENDING}
SETTLED = {
    "Study": {StudyState.CLOSED, StudyState.PURGED},
    "Job": {JobState.DONE, JobState.SKIPPED, JobState.FAILED, JobState.SUPERSEDED, JobState.CANCELLED},
    "Delivery": {
        DeliveryState.STORED,
        DeliveryState.COMMITTED,
        DeliveryState.FAILED,
        DeliveryState.CANCELLED,
    },
}


def _without_operator(table):
    return {key: target for key, target in table.items() if not key[1].value.startswith("operator")}


@pytest.mark.parametrize("name", sorted(TABLES))
@given(data=st.data())
def test_wherever_a_walk_ends_a_settled_state_can_be_reached_without_an_operator(name, data):
    table = TABLES[name]
    state = FIRST[name]
    for _ in range(data.draw(st.integers(0, 12))):
        choices = sorted((event for source, event in table if source is state), key=str)
        if not choices:
            break
        state = advance(table, state, data.draw(st.sampled_from(choices)))
    reached, frontier = {state}, [state]
    while frontier:
        here = frontier.pop()
        for (source, _), target in _without_operator(table).items():
            if source is here and target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached & SETTLED[name]


@pytest.mark.parametrize("name", sorted(TABLES))
@given(data=st.data())
def test_advance_knows_exactly_the_rows_of_the_table(name, data):
    table = TABLES[name]
    state = data.draw(st.sampled_from(sorted({source for source, _ in table} | set(table.values()))))
    event = data.draw(st.sampled_from(sorted({event for _, event in table}, key=str)))
    if (state, event) in table:
        assert advance(table, state, event) is table[state, event]
    else:
        with pytest.raises(IllegalTransition):
            advance(table, state, event)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_state_can_be_reached_from_the_first(name):
    table = TABLES[name]
    reached, frontier = {FIRST[name]}, [FIRST[name]]
    while frontier:
        here = frontier.pop()
        for (source, _), target in table.items():
            if source is here and target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached == set(type(FIRST[name]))
