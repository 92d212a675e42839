"""Results and files on their way to a peer that works, and to peers that do not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom.sop_class import _STORAGE_CLASSES

from dicom_node.core.delivery import ObjectStatus
from dicom_node.core.errors import (
    AssociationAborted,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    SopClassNotAccepted,
)
from dicom_node.core.finding import ResultKind, ResultObject
from dicom_node.core.peer import object_choice
from dicom_node.core.shipment import Plan, Shipment
from dicom_node.demo.stand_in_pacs import Faults, StandInPacs
from dicom_node.dimse.echo import echo
from dicom_node.dimse.requestor import Timeouts
from dicom_node.dimse.sender import DimseSender, send_files
from tests.integration.dimse_support import Clock, data_set_bytes, instance, peer, write

SR = "1.2.840.10008.5.1.4.1.1.88.34"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
EXACTLY = object_choice(["SEG", "SR"])
QUICK = Timeouts(connect_s=2.0, associate_s=2.0, answer_s=2.0)


@pytest.fixture
def objects(tmp_path: Path) -> tuple[ResultObject, ...]:
    made = []
    for kind, sop_class_uid in ((ResultKind.SEG, SEG), (ResultKind.SR, SR)):
        dataset = instance(1, sop_class_uid=sop_class_uid)
        made.append(
            ResultObject(
                kind=kind,
                sop_class_uid=sop_class_uid,
                sop_instance_uid=str(dataset.SOPInstanceUID),
                series_instance_uid=str(dataset.SeriesInstanceUID),
                file=write(tmp_path / "results", dataset),
            )
        )
    return tuple(made)


@contextmanager
def pacs(tmp_path: Path, **faults) -> Iterator[StandInPacs]:
    with StandInPacs(tmp_path / "pacs", faults=Faults(**faults)) as started:
        yield started


def shipment(objects: tuple[ResultObject, ...]) -> Shipment:
    return Shipment(objects=objects, choice=EXACTLY)


def ignore(plan: Plan) -> None:
    pass


def send(
    to: StandInPacs, objects: tuple[ResultObject, ...], called: str = "PACS", on_plan: Callable[[Plan], None] = ignore
) -> list[ObjectStatus]:
    answers: list[ObjectStatus] = []
    sender = DimseSender(own_aet="CSPINE_AI", clock=Clock(), timeouts=QUICK)
    try:
        sender.send(peer(called, port=to.port), shipment(objects), on_plan=on_plan, on_answer=answers.append)
    finally:
        send.answers = answers  # type: ignore[attr-defined]
    return answers


def test_objects_arrive_unchanged_over_one_association_and_each_answer_is_told(tmp_path, objects):
    with pacs(tmp_path) as to:
        answers = send(to, objects)
        assert to.associations == 1
        assert [answer.sop_instance_uid for answer in answers] == [result.sop_instance_uid for result in objects]
        assert all(answer.is_stored and answer.answered_at == Clock().now() for answer in answers)
        for result in objects:
            kept = to.file(result.sop_instance_uid).read_bytes()
            assert data_set_bytes(kept) == data_set_bytes(result.file.read_bytes())


def test_a_peer_that_takes_only_implicit_vr_gets_the_same_values(tmp_path, objects):
    with pacs(tmp_path, only_implicit=True) as to:
        send(to, objects)
        kept = dcmread(to.file(objects[0].sop_instance_uid))
        assert kept.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert kept == dcmread(objects[0].file)


def test_a_warning_counts_as_stored(tmp_path, objects):
    with pacs(tmp_path, statuses=[0xB000, 0xB007]) as to:
        assert [answer.status for answer in send(to, objects)] == [0xB000, 0xB007]


def test_a_busy_peer_ends_the_attempt_at_the_object_it_could_not_take(tmp_path, objects):
    with pacs(tmp_path, statuses=[0xA702]) as to:
        with pytest.raises(PeerBusy, match="0xA702"):
            send(to, objects)
        assert to.requests.total() == 1


@pytest.mark.parametrize(
    ("status", "error"), [(0xA900, PeerRefused), (0x0122, PeerRefused), (0x0124, PeerRefused), (0xC123, PeerBusy)]
)
def test_a_refused_object_does_not_keep_the_others_back(tmp_path, objects, status, error):
    with pacs(tmp_path, statuses=[status]) as to:
        with pytest.raises(error, match=f"0x{status:04X}"):
            send(to, objects)
        assert [answer.is_stored for answer in send.answers] == [False, True]


def test_a_duplicate_lies_there_since_an_earlier_attempt(tmp_path, objects):
    with pacs(tmp_path, statuses=[0x0111]) as to:
        assert [answer.is_stored for answer in send(to, objects)] == [True, True]


def test_a_report_whose_sop_class_is_not_accepted_does_not_keep_the_others_back(tmp_path, objects):
    with pacs(tmp_path, refused_sop_classes=frozenset({SR})) as to:
        plans: list[Plan] = []
        send(to, objects, on_plan=plans.append)
        assert plans[-1].why_not_enough == (
            "no report was accepted: Comprehensive 3D SR left out: the peer accepts no presentation context for it"
        )
        assert [answer.sop_instance_uid for answer in send.answers] == [objects[0].sop_instance_uid]


def test_a_peer_that_accepts_nothing_is_told_apart_from_one_that_is_away(tmp_path, objects):
    with pacs(tmp_path, refused_sop_classes=frozenset({SEG, SR})) as to, pytest.raises(SopClassNotAccepted):
        send(to, objects)


def test_what_was_answered_before_the_association_broke_is_known(tmp_path, objects):
    with pacs(tmp_path, abort_at=2) as to:
        with pytest.raises(AssociationAborted):
            send(to, objects)
        assert [answer.sop_instance_uid for answer in send.answers] == [objects[0].sop_instance_uid]


@pytest.mark.parametrize(
    ("rejection", "error"), [((1, 1, 3), PeerRefused), ((2, 3, 1), PeerBusy), ((2, 3, 2), PeerBusy)]
)
def test_a_rejected_association_is_busy_or_refused_as_the_peer_says(tmp_path, objects, rejection, error):
    with pacs(tmp_path, rejection=rejection) as to, pytest.raises(error):
        send(to, objects)


def test_a_wrong_ae_title_of_the_peer_is_refused_for_good(tmp_path, objects):
    with pacs(tmp_path) as to, pytest.raises(PeerRefused, match="Called AE title"):
        send(to, objects, called="OTHER")


def test_nobody_listening_is_unreachable(objects):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(PeerUnreachable, match="TCP"):
            DimseSender(own_aet="US", clock=Clock(), timeouts=QUICK).send(
                peer("PACS", port=unused.getsockname()[1]),
                shipment(objects),
                on_plan=ignore,
                on_answer=lambda answer: None,
            )


def test_a_host_that_does_not_resolve_is_unreachable(objects):
    with pytest.raises(PeerUnreachable, match="resolved"):
        DimseSender(own_aet="US", clock=Clock(), timeouts=QUICK).send(
            peer("PACS", host="nowhere.invalid"), shipment(objects), on_plan=ignore, on_answer=lambda answer: None
        )


def test_a_listener_that_says_nothing_is_unreachable_after_the_timeout(objects):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        timeouts = Timeouts(connect_s=0.5, associate_s=0.5, answer_s=0.5)
        with pytest.raises(PeerUnreachable, match=r"0\.5 s"):
            DimseSender(own_aet="US", clock=Clock(), timeouts=timeouts).send(
                peer("PACS", port=silent.getsockname()[1]),
                shipment(objects),
                on_plan=ignore,
                on_answer=lambda answer: None,
            )


def test_a_peer_that_never_answers_a_store_is_given_up(tmp_path, objects):
    timeouts = Timeouts(connect_s=2.0, associate_s=2.0, answer_s=0.3)
    with pacs(tmp_path, delay_s=30.0) as to, pytest.raises(AssociationAborted, match="no answer"):
        DimseSender(own_aet="US", clock=Clock(), timeouts=timeouts).send(
            peer("PACS", port=to.port), shipment(objects), on_plan=ignore, on_answer=lambda answer: None
        )


def test_no_thread_is_left_behind(tmp_path, objects):
    with pacs(tmp_path) as to:
        send(to, objects)
    assert not [thread.name for thread in threading.enumerate() if "RequestorThread" in thread.name]


def test_files_and_folders_are_sent_as_they_are_and_what_is_not_dicom_is_skipped(tmp_path):
    folder = tmp_path / "study"
    plain = write(folder / "a", instance(1))
    implicit = write(folder / "b" / "c", instance(2), ImplicitVRLittleEndian)
    (folder / "notes.txt").write_text("no DICOM")
    seen = []
    with pacs(tmp_path) as to:
        report = send_files(peer("PACS", port=to.port), [folder], seen.append)
        assert report.is_complete
        assert (report.stored, report.associations) == (2, 1)
        assert [answer.path for answer in seen] == [plain, implicit]
        assert [answer.path.name for answer in report.skipped] == ["notes.txt"]
        kept = to.file(implicit.stem).read_bytes()
        assert data_set_bytes(kept) == data_set_bytes(implicit.read_bytes())
        assert dcmread(to.file(implicit.stem)).file_meta.TransferSyntaxUID == ImplicitVRLittleEndian


def test_more_sop_classes_than_one_association_can_negotiate_go_over_several(tmp_path):
    classes = sorted(_STORAGE_CLASSES.values())[:70]
    for number, sop_class_uid in enumerate(classes):
        write(tmp_path / "in", instance(number, sop_class_uid=sop_class_uid))
    with pacs(tmp_path) as to:
        report = send_files(peer("PACS", port=to.port), [tmp_path / "in"])
        assert report.is_complete, [answer for answer in report.answers if not answer.is_stored]
        assert report.associations == to.associations == 2


def test_a_file_the_peer_takes_in_no_syntax_is_reported_and_the_rest_is_sent(tmp_path):
    dataset = instance(1)
    dataset.compress(RLELossless, generate_instance_uid=False)
    write(tmp_path / "in", dataset, RLELossless)
    write(tmp_path / "in", instance(2), ExplicitVRLittleEndian)
    with pacs(tmp_path, only_implicit=True) as to:
        report = send_files(peer("PACS", port=to.port), [tmp_path / "in"])
        assert report.stored == 1
        assert not report.is_complete
        assert [RLELossless in answer.why for answer in report.answers if not answer.is_stored] == [True]


def test_what_was_not_answered_when_the_association_broke_is_in_the_report(tmp_path):
    for number in range(3):
        write(tmp_path / "in", instance(number))
    with pacs(tmp_path, abort_at=2) as to:
        report = send_files(peer("PACS", port=to.port), [tmp_path / "in"], timeouts=QUICK)
        assert [answer.is_stored for answer in report.answers] == [True, False, False]


def test_echo_says_how_long_it_took_or_why_it_failed(tmp_path):
    with pacs(tmp_path) as to:
        good = echo(peer("PACS", port=to.port), "CSPINE_AI")
        assert good.ok
        assert 0 < good.ms < 5000
        assert good.why == ""
        to.faults.rejection = (1, 1, 3)
        bad = echo(peer("PACS", port=to.port), "CSPINE_AI")
        assert not bad.ok
        assert "Calling AE title" in bad.why
