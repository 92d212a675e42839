import hashlib
from dataclasses import replace

import pytest

from dicom_node.app.index_instance import Indexed
from dicom_node.app.receive_instance import ReceiveInstance
from dicom_node.app.set_aside import QuarantineLimits
from dicom_node.core.errors import RejectedInput, StorageUnavailable
from dicom_node.core.job import JobState
from dicom_node.core.quarantine import QuarantinedFile
from dicom_node.core.study import StudyState
from tests.unit.app.node import STUDY, T0, Node, incoming, without_class


def rejected(node: Node, instance) -> RejectedInput:
    with pytest.raises(RejectedInput) as rejection:
        node.receive(instance)
    return rejection.value


def changed(instance, **header):
    return replace(instance, header=replace(instance.header, **header))


def quarantined(node: Node) -> tuple[QuarantinedFile, ...]:
    with node.database.reading() as uow:
        return uow.quarantine.list()


def receiver(node: Node, limits: QuarantineLimits) -> ReceiveInstance:
    return ReceiveInstance(
        uow_factory=node.uow,
        files=node.files,
        clock=node.clock,
        counters=node.counters,
        min_free_bytes=1000,
        quarantine=limits,
    )


def test_the_first_image_opens_its_study_and_is_durable_and_indexed(node):
    assert node.receive(incoming()) is Indexed.NEW
    study = node.study()
    assert (study.state, study.revision, study.instance_count) == (StudyState.RECEIVING, 0, 1)
    assert (study.first_received_at, study.last_received_at) == (T0, T0)
    assert (study.patient.patient_name, study.calling_aet) == ("Doe^Jane", "SCANNER")
    assert list(node.files.contents.values()) == [b"head" + b"1.2.3.1.1"]
    (series,) = node.detail().series
    assert series.modality == "CT"
    assert node.events(f"study:{STUDY}") == ["instance_stored"]
    assert node.counters.counts["instances_received", "SCANNER"] == 1


def test_each_further_image_restarts_the_quiet_period_and_leaves_no_history(node):
    node.receive(incoming(1))
    node.clock.advance(29)
    node.receive(incoming(2))
    node.clock.advance(29)
    assert node.closing.tick() == 0
    assert node.events(f"study:{STUDY}") == ["instance_stored"]


def test_an_image_whose_data_set_names_no_sop_class_is_taken_at_the_commands_word(node):
    node.receive(without_class(incoming()))
    (series,) = node.detail().series
    assert series.instances[0].sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize(
    ("instance", "status", "reason"),
    [
        (incoming(header=None), 0xC000, "unreadable"),
        (changed(incoming(), study_instance_uid=""), 0xC000, "missing_uid"),
        (changed(incoming(), series_instance_uid="not a uid"), 0xC000, "missing_uid"),
        (changed(incoming(), sop_instance_uid=""), 0xC000, "missing_uid"),
        (changed(incoming(), sop_instance_uid="1.9"), 0xA900, "command_mismatch"),
        (changed(incoming(), sop_class_uid="1.2.840.10008.5.1.4.1.1.4"), 0xA900, "command_mismatch"),
    ],
)
def test_what_cannot_be_understood_or_contradicts_its_command_is_refused_and_goes_to_quarantine(
    node, instance, status, reason
):
    rejection = rejected(node, instance)
    assert (rejection.status, rejection.reason) == (status, reason)
    (entry,) = quarantined(node)
    assert (entry.reason.value, entry.why, entry.calling_aet) == (reason, str(rejection), "SCANNER")
    assert node.files.contents == {entry.file: instance.head + instance.data_set}
    assert node.files.notes[entry.file][0] == reason
    assert node.counters.counts["instances_rejected", reason] == 1
    assert node.counters.counts["instances_set_aside", reason] == 1


def test_rubbish_that_comes_again_and_again_is_kept_once(node):
    for _ in range(3):
        assert rejected(node, incoming(header=None)).status == 0xC000
    assert len(quarantined(node)) == len(node.files.contents) == 1


def test_a_full_quarantine_keeps_nothing_more_and_the_answers_stay_the_same(node):
    node.receive = receiver(node, QuarantineLimits(maximum_files=2, maximum_bytes=1_000_000))
    node.receive(incoming(9))
    for number in (1, 2, 3):
        assert rejected(node, incoming(number, header=None)).status == 0xC000
    assert rejected(node, incoming(9, content=b"other")).status == 0x0111
    assert len(quarantined(node)) == 2
    assert len(node.files.contents) == 3
    assert node.counters.counts["instances_not_kept_aside", "unreadable"] == 1
    assert node.counters.counts["instances_not_kept_aside", "conflicting_instance"] == 1


def test_a_file_larger_than_what_quarantine_may_still_take_is_not_kept(node):
    node.receive = receiver(node, QuarantineLimits(maximum_files=9, maximum_bytes=100))
    rejected(node, incoming(1, header=None, content=b"x" * 97))
    rejected(node, incoming(2, header=None, content=b"x" * 96))
    rejected(node, incoming(3, header=None, content=b"x" * 1))
    assert [entry.size_bytes for entry in quarantined(node)] == [100]


def test_without_room_on_the_disk_rubbish_is_refused_as_what_it_is_and_not_kept(node):
    node.files.free = 999
    assert rejected(node, incoming(header=None)).status == 0xC000
    assert node.files.contents == {}
    assert quarantined(node) == ()
    assert node.counters.counts["instances_not_kept_aside", "unreadable"] == 1


def test_below_the_watermark_the_sender_is_told_that_resources_are_out(node):
    image = incoming()
    node.files.free = 1000 + len(image.head) + len(image.data_set) - 1
    assert rejected(node, image).status == 0xA700
    node.files.free += 1
    assert node.receive(image) is Indexed.NEW


def test_a_disk_that_fails_is_answered_with_out_of_resources(node):
    node.files.failure = StorageUnavailable("no space left on device")
    rejection = rejected(node, incoming())
    assert (rejection.status, rejection.reason) == (0xA700, "storage_unavailable")


def test_a_database_that_fails_leaves_no_file_and_no_row(node, monkeypatch):
    node.receive(incoming(1))
    healthy = node.database.unit_of_work
    failures = [StorageUnavailable("database is locked")]

    def fails_once():
        if failures:
            raise failures.pop()
        return healthy()

    monkeypatch.setattr(node.database, "unit_of_work", fails_once)
    assert rejected(node, incoming(2)).status == 0xA700
    assert len(node.files.contents) == 1
    assert node.study().instance_count == 1


def test_a_commit_that_failed_after_it_was_done_keeps_the_file_of_its_row(node, monkeypatch):
    lost_answers = [StorageUnavailable("the connection was lost")]
    unit_of_work = type(node.uow())
    commit = unit_of_work.commit

    def commits_and_fails_once(self):
        commit(self)
        if lost_answers:
            raise lost_answers.pop()

    monkeypatch.setattr(unit_of_work, "commit", commits_and_fails_once)
    assert rejected(node, incoming()).status == 0xA700
    assert len(node.files.contents) == 1
    assert node.receive(incoming()) is Indexed.IDENTICAL


def test_a_file_stays_for_the_sweep_where_the_database_cannot_even_be_asked(node, monkeypatch):
    def fails():
        raise StorageUnavailable("database is gone")

    monkeypatch.setattr(node.database, "unit_of_work", fails)
    assert rejected(node, incoming()).status == 0xA700
    assert len(node.files.contents) == 1


def test_an_identical_image_is_a_success_that_changes_nothing(node):
    node.receive(incoming())
    before = node.detail()
    node.clock.advance(20)
    assert node.receive(incoming()) is Indexed.IDENTICAL
    assert node.detail() == before
    assert len(node.files.contents) == 1
    node.clock.advance(10)
    assert node.closing.tick() == 1


PART_10 = bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\x00\x00\x00\x00"


def received_before_blake3(node, instance):
    """It is known by its SHA-256, as everything is that the node received before it used BLAKE3."""
    node.receive(instance)
    with node.uow() as uow:
        record = uow.studies.find_instance(instance.sop_instance_uid)
        uow.studies.replace_instance(replace(record, digest=hashlib.sha256(instance.data_set).hexdigest()))
        uow.commit()


def test_an_image_that_is_known_by_an_older_kind_of_digest_is_told_from_another(node):
    received_before_blake3(node, incoming(head=PART_10))
    assert node.receive(incoming(head=PART_10)) is Indexed.IDENTICAL
    assert rejected(node, incoming(head=PART_10, content=b"other pixels")).reason == "conflicting_instance"
    assert len(node.files.notes) == 1


def test_an_association_that_repeats_what_is_held_keeps_the_study_open(node):
    node.receive(incoming())
    node.open_association("second try")
    node.receive(incoming(association_id="second try"))
    node.clock.advance(300)
    assert node.closing.tick() == 0
    node.close_association("second try")
    assert node.closing.tick() == 1


def test_other_content_under_a_known_uid_is_kept_aside_shown_and_answered_with_a_failure(node):
    node.receive(incoming())
    rejection = rejected(node, incoming(content=b"other pixels"))
    assert (rejection.status, rejection.reason) == (0x0111, "conflicting_instance")
    ((reason, detail),) = node.files.notes.values()
    assert reason == "conflicting_instance"
    assert detail["sop_instance_uid"] == "1.2.3.1.1"
    assert node.study().instance_count == 1
    assert "other content" in node.detail().history[-1].reason
    assert node.counters.counts["instances_conflicting", "SCANNER"] == 1


def test_a_sender_that_repeats_its_conflict_does_not_fill_the_disk(node):
    node.receive(incoming())
    for _ in range(3):
        assert rejected(node, incoming(content=b"other pixels")).status == 0x0111
    assert len(node.files.notes) == 1
    assert len(node.files.contents) == 2


def test_a_known_instance_that_comes_back_in_another_study_is_a_conflict(node):
    node.receive(incoming())
    moved = changed(incoming(), study_instance_uid="1.9")
    assert rejected(node, moved).status == 0x0111
    assert node.detail().history[-1].event == "conflicting_instance"


def test_the_same_image_on_two_associations_at_once_has_one_row_and_two_good_answers(node, tmp_path, monkeypatch):
    """The second association commits between the first one's look and its insert, as PostgreSQL allows."""
    other = Node(tmp_path / "other", peers=())
    other.database = node.database
    other.restart()
    studies = type(node.uow().studies)
    add_instance = studies.add_instance
    answers = []

    def is_overtaken(self, record):
        monkeypatch.setattr(studies, "add_instance", add_instance)
        self._transaction.close()
        answers.append(other.receive(incoming()))
        self._transaction.conflict("this instance is known already")

    monkeypatch.setattr(studies, "add_instance", is_overtaken)
    answers.append(node.receive(incoming()))
    assert answers == [Indexed.NEW, Indexed.IDENTICAL]
    assert node.study().instance_count == 1


def test_a_late_image_opens_the_next_revision_and_supersedes_the_unfinished_job(node):
    node.receive_study(2)
    node.close_now()
    node.clock.advance(4000)
    node.receive(incoming(3))
    study = node.study()
    assert (study.state, study.revision) == (StudyState.RECEIVING, 1)
    assert node.detail().jobs[0].state is JobState.SUPERSEDED
    assert node.closing.tick() == 0, "the hard limit counts from the first image of the revision"
    node.close_now()
    assert node.study().revision == 2
    assert [job.state for job in node.detail().jobs] == [JobState.SUPERSEDED, JobState.QUEUED]


def test_a_later_header_fills_up_what_the_first_left_out(node):
    node.receive(changed(incoming(1), patient=replace(incoming().header.patient, patient_name="")))
    node.receive(incoming(2))
    assert node.study().patient.patient_name == "Doe^Jane"
