"""Whatever a peer takes and refuses: every wanted kind is sent, stood in for, or left out with its reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.finding import ResultKind as K
from dicom_node.core.peer import AUTO_KINDS, ObjectChoice
from dicom_node.core.shipment import FALLBACKS, REPORTS, Plan, Shipment, Substitution
from tests.unit.core.builders import result_object

MEASUREMENTS = {K.SR, K.SR_COMPREHENSIVE, K.SR_ENHANCED}
OBJECTS = tuple(result_object(str(number), kind) for number, kind in enumerate(k for k in K if k is not K.STATUS_SR))

kinds = st.sets(st.sampled_from(list(K)))
choices = st.builds(
    lambda wanted, negotiates: ObjectChoice(kinds=tuple(k for k in K if k in wanted), negotiates=negotiates),
    st.sets(st.sampled_from([k for k in K if k is not K.STATUS_SR]), min_size=1),
    st.booleans(),
)


def plan(shipment: Shipment, refused: set[K]) -> Plan:
    return shipment.plan(lambda entry: "does not take it" if entry.kind in refused else "")


@given(choice=choices, refused=kinds, made=kinds)
def test_nothing_refused_is_sent_and_nothing_wanted_is_forgotten(choice, refused, made):
    objects = tuple(entry for entry in OBJECTS if entry.kind in made)
    found = plan(Shipment(objects=objects, choice=choice), refused)
    sent = {entry.kind for entry in found.objects}
    told = {entry.wanted: entry for entry in found.substitutions}
    assert not sent & refused
    for wanted in choice.kinds:
        if wanted in made and wanted not in sent:
            assert wanted in told
            assert told[wanted].why
    for entry in found.substitutions:
        assert entry.sent is None or (entry.sent in sent and entry.sent in FALLBACKS[entry.wanted])
    assert len(set(found.objects)) == len(found.objects)


@given(refused=kinds)
def test_a_peer_that_takes_secondary_captures_is_always_told(refused):
    found = plan(Shipment(objects=OBJECTS), refused - {K.SC})
    assert found.why_not_enough == ""


@given(refused=kinds)
def test_a_peer_that_takes_no_words_is_never_counted_as_told(refused):
    found = plan(Shipment(objects=OBJECTS), refused | REPORTS | {K.SC})
    assert found.why_not_enough


@given(attempts=st.lists(st.tuples(kinds, st.integers(min_value=0, max_value=len(OBJECTS)), st.booleans()), max_size=6))
def test_a_peer_that_takes_more_and_more_never_gets_the_same_findings_twice(attempts):
    """Attempts break off after some objects, and the answer to the last of them may be lost."""
    refused = set(K)
    at_peer: set[str] = set()
    answered: set[str] = set()
    earlier: tuple[Substitution, ...] = ()
    for narrower, arrive, is_last_answer_lost in attempts:
        refused &= narrower
        found = plan(Shipment(objects=OBJECTS, stored=frozenset(answered), earlier=earlier), refused)
        earlier = found.substitutions
        going = [entry for entry in found.objects if entry.sop_instance_uid not in answered][:arrive]
        at_peer |= {entry.sop_instance_uid for entry in going}
        kept = going[:-1] if is_last_answer_lost else going
        answered |= {entry.sop_instance_uid for entry in kept}
    held = {entry.kind for entry in OBJECTS if entry.sop_instance_uid in at_peer}
    assert len(held & MEASUREMENTS) <= 1
    assert held <= {*AUTO_KINDS, *MEASUREMENTS, K.PDF}
