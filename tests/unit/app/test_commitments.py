"""Storage commitment both ways, without a network: states, late and lost reports, restarts, and the end of patience."""

import hashlib
from dataclasses import replace

import pytest

from dicom_node.core.commitment import CommitmentReport, NotCommitted, Reference
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.delivery_terms import OwnTerms
from dicom_node.core.errors import PeerBusy, PeerRefused, PeerUnreachable, RejectedInput
from dicom_node.core.worklist import WorklistState
from tests.unit.app.node import CT, STUDY, FoundInstance, Node, incoming, pacs

COMMITS = OwnTerms(storage_commitment=True, commitment_timeout_s=600.0, commitment_attempts=3)


@pytest.fixture
def asking(tmp_path) -> Node:
    """A node whose PACS is to commit, with one result that waits to be sent."""
    node = Node(tmp_path, peers=(pacs(delivery=COMMITS),))
    node.receive_study(2)
    node.close_now()
    node.analysis.step()
    return node


def state(node: Node) -> DeliveryState:
    return node.deliveries()[0].state


def tell(node: Node, report: CommitmentReport, calling_aet: str = "PACS") -> None:
    node.reports(report, calling_aet=calling_aet)


def again(node: Node, seconds: float = 61) -> None:
    node.clock.advance(seconds)
    node.requeue.tick()
    node.requeue.tick()
    node.delivery.step()


def test_a_result_is_stored_first_and_committed_once_the_peer_reports(asking):
    asking.delivery.step()
    (delivery,) = asking.deliveries()
    assert (delivery.state, delivery.is_finished, delivery.finished_at) == (DeliveryState.COMMIT_WAIT, False, None)
    assert asking.state() is WorklistState.SENDING
    assert "stored at pacs, which is to say by 2026-03-01 12:10 UTC" in asking.detail().status.why
    ((peer, _, references),) = asking.pacs.asked
    assert peer == "pacs"
    assert [entry.sop_instance_uid for entry in references] == [entry.sop_instance_uid for entry in delivery.objects]
    tell(asking, asking.pacs.keeps_all())
    (delivery,) = asking.deliveries()
    assert (delivery.state, delivery.is_finished) == (DeliveryState.COMMITTED, True)
    assert asking.state() is WorklistState.DELIVERED
    assert list(asking.pacs.held.values()) == [1, 1]


def test_a_report_on_the_same_association_commits_at_once(asking):
    asking.pacs.reports = [lambda report: report]
    asking.delivery.step()
    assert state(asking) is DeliveryState.COMMITTED


def test_a_report_that_comes_before_our_own_row_is_written_is_not_lost(asking):
    """It comes on another association, while the worker still waits for the answer to its request."""
    asking.pacs.reports = [lambda report: tell(asking, report)]
    asking.delivery.step()
    assert state(asking) is DeliveryState.COMMITTED


def test_what_the_peer_does_not_keep_is_sent_again_and_asked_about_again(asking):
    asking.delivery.step()
    kept, lost = (entry.sop_instance_uid for entry in asking.deliveries()[0].objects)
    transaction_uid = asking.pacs.asked[0][1]
    failed = ((lost, int(NotCommitted.NO_SUCH_INSTANCE)),)
    tell(asking, CommitmentReport(transaction_uid=transaction_uid, committed=(kept,), failed=failed))
    (delivery,) = asking.deliveries()
    assert delivery.state is DeliveryState.RETRY_WAIT
    assert delivery.failure == "pacs does not commit to SR (no such instance)"
    again(asking)
    assert asking.pacs.held == {("pacs", kept): 1, ("pacs", lost): 2}
    assert [entry.sop_instance_uid for entry in asking.pacs.asked[1][2]] == [lost]
    tell(asking, asking.pacs.keeps_all())
    assert state(asking) is DeliveryState.COMMITTED


def test_without_a_report_the_peer_is_asked_again_and_in_the_end_somebody_must_look(asking):
    asking.delivery.step()
    for _ in range(4):
        asking.clock.advance(601)
        asking.requeue.tick()
        again(asking)
    (delivery,) = asking.deliveries()
    assert delivery.state is DeliveryState.FAILED
    assert delivery.failure == "pacs did not report in 600 s whether it commits; gave up after 3 attempts"
    assert len(asking.pacs.asked) == 3
    assert len({transaction for _, transaction, _ in asking.pacs.asked}) == 3
    assert list(asking.pacs.held.values()) == [1, 1], "asked again, not sent again"
    assert asking.state() is WorklistState.NEEDS_ATTENTION
    asking.operator.retry_delivery(delivery.id, actor="operator")
    asking.delivery.step()
    assert state(asking) is DeliveryState.COMMIT_WAIT


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_a_late_report_to_an_earlier_request_counts(asking, turns):
    """While it is asked again, while the next attempt waits, and after the node gave up."""
    asking.delivery.step()
    early = asking.pacs.keeps_all()
    for _ in range(turns):
        asking.clock.advance(601)
        asking.requeue.tick()
        again(asking)
    tell(asking, early)
    again(asking)
    assert state(asking) is DeliveryState.COMMITTED


def test_a_report_while_the_next_attempt_waits_spares_the_peer_another_request(asking):
    asking.delivery.step()
    asking.clock.advance(601)
    asking.requeue.tick()
    assert state(asking) is DeliveryState.RETRY_WAIT
    tell(asking, asking.pacs.keeps_all())
    again(asking)
    assert state(asking) is DeliveryState.COMMITTED
    assert len(asking.pacs.asked) == 1


def test_an_operator_need_not_wait_for_the_peer_s_time_to_be_over(asking):
    asking.delivery.step()
    asking.operator.retry_delivery(asking.deliveries()[0].id, actor="operator")
    asking.delivery.step()
    assert state(asking) is DeliveryState.COMMIT_WAIT
    assert len(asking.pacs.asked) == 2
    assert list(asking.pacs.held.values()) == [1, 1]


def test_a_restart_between_request_and_report_changes_nothing(asking):
    asking.delivery.step()
    asking.restart()
    tell(asking, asking.pacs.keeps_all())
    assert state(asking) is DeliveryState.COMMITTED


def test_a_report_told_twice_is_told_once(asking):
    asking.delivery.step()
    report = asking.pacs.keeps_all()
    tell(asking, report)
    tell(asking, report)
    assert state(asking) is DeliveryState.COMMITTED


@pytest.mark.parametrize(
    ("calling_aet", "transaction_uid", "status"), [("PACS", "2.25.1", 0x0115), ("OTHER", None, 0x0124)]
)
def test_a_report_that_is_not_an_answer_to_us_is_refused_and_changes_nothing(
    asking, calling_aet, transaction_uid, status
):
    asking.delivery.step()
    report = asking.pacs.keeps_all()
    report = CommitmentReport(transaction_uid=transaction_uid or report.transaction_uid, committed=report.committed)
    with pytest.raises(RejectedInput) as caught:
        tell(asking, report, calling_aet)
    assert caught.value.status == status
    assert state(asking) is DeliveryState.COMMIT_WAIT


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PeerUnreachable("no answer"), DeliveryState.PENDING),
        (PeerBusy("processing failure"), DeliveryState.RETRY_WAIT),
        (PeerRefused("not authorised"), DeliveryState.FAILED),
    ],
)
def test_a_peer_that_cannot_be_asked_is_treated_as_one_that_cannot_be_sent_to(asking, error, expected):
    asking.pacs.away = set()
    asking.delivery.step()
    asking.clock.advance(601)
    asking.requeue.tick()
    asking.pacs.reports = [error]
    again(asking)
    assert state(asking) is expected
    assert list(asking.pacs.held.values()) == [1, 1]


def test_a_peer_that_does_not_commit_to_what_it_only_partly_reports_on_is_waited_for(asking):
    asking.delivery.step()
    report = asking.pacs.keeps_all()
    tell(asking, CommitmentReport(transaction_uid=report.transaction_uid, committed=report.committed[:1]))
    assert state(asking) is DeliveryState.COMMIT_WAIT
    tell(asking, CommitmentReport(transaction_uid=report.transaction_uid, committed=report.committed[1:]))
    assert state(asking) is DeliveryState.COMMITTED


class Scanner:
    """A peer that asks us, and takes our reports; `failures` come first."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.told: list[CommitmentReport] = []

    def request(self, *_):
        raise AssertionError("nobody asks the scanner")

    def report(self, peer, report, classes):
        if self.failures:
            raise self.failures.pop(0)
        self.told.append(report)


@pytest.fixture
def asked(tmp_path) -> Node:
    node = Node(tmp_path, peers=(pacs("scanner", may_send=True, receives_results=False),))
    node.scanner = Scanner()
    node.duties._committer = node.scanner
    node.receive_study(2)
    found = FoundInstance
    for instance in node.detail().series[0].instances:
        file = node.files.absolute(instance.file)
        node.found[file] = found(header=None, transfer_syntax_uid="", digest=instance.digest, size_bytes=1)
    return node


def ask(node: Node, *references: Reference, transaction_uid: str = "2.25.7"):
    return node.duties.take_on(transaction_uid, references, calling_aet="SCANNER", peer="scanner")


def held(number: int, sop_class_uid: str = CT) -> Reference:
    return Reference(sop_class_uid=sop_class_uid, sop_instance_uid=f"{STUDY}.1.{number}")


def test_a_scanner_is_told_what_is_held_and_what_is_not(asked):
    ask(asked, held(1), held(2), held(3), held(1, "1.2.840.10008.5.1.4.1.1.4"))
    assert asked.duties.step() is False, "the association it asked on has some seconds for the answer"
    asked.clock.advance(15)
    assert asked.duties.step() is True
    (report,) = asked.scanner.told
    assert report.committed == (f"{STUDY}.1.1", f"{STUDY}.1.2")
    assert report.failed == (
        (f"{STUDY}.1.3", NotCommitted.NO_SUCH_INSTANCE),
        (f"{STUDY}.1.1", NotCommitted.CLASS_CONFLICT),
    )
    assert asked.duties.step() is False


def test_a_file_that_is_gone_or_changed_is_not_committed_to(asked):
    first, second = (entry.file for entry in asked.detail().series[0].instances)
    asked.files.discard(first)
    asked.found[asked.files.absolute(second)] = FoundInstance(
        header=None, transfer_syntax_uid="", digest="0" * 64, size_bytes=1
    )
    report = asked.duties.report_of(ask(asked, held(1), held(2)))
    assert report.committed == ()
    assert [reason for _, reason in report.failed] == [
        NotCommitted.NO_SUCH_INSTANCE,
        NotCommitted.PROCESSING_FAILURE,
    ]


def test_a_report_that_cannot_be_given_is_tried_again_also_after_a_restart(asked):
    ask(asked, held(1))
    asked.scanner.failures = [PeerUnreachable("off"), PeerRefused("being serviced")]
    for _ in range(2):
        asked.clock.advance(15)
        assert asked.duties.step() is True
        assert asked.scanner.told == []
    asked.restart()
    asked.duties._committer = asked.scanner
    asked.clock.advance(60)
    asked.duties.step()
    assert len(asked.scanner.told) == 1


def test_a_scanner_that_never_takes_the_report_is_given_up_and_the_rest_is_not_held_up(asked):
    asked.scanner.failures = [PeerUnreachable("off")] * 30
    ask(asked, held(1))
    for _ in range(40):
        asked.clock.advance(901)
        asked.duties.step()
    with asked.uow() as uow:
        (duty,) = uow.commitments.duties()
    assert duty.outcome == "PeerUnreachable: off; gave up after 30 attempts"
    assert duty.finished_at is not None
    ask(asked, held(2), transaction_uid="2.25.8")
    asked.clock.advance(15)
    asked.duties.step()
    assert [report.transaction_uid for report in asked.scanner.told] == ["2.25.8"]


def test_what_is_reported_is_what_is_held_when_it_is_reported(asked):
    duty = ask(asked, held(9))
    asked.receive(incoming(9))
    (record,) = [entry for entry in asked.detail().series[0].instances if entry.sop_instance_uid.endswith(".9")]
    asked.found[asked.files.absolute(record.file)] = FoundInstance(
        header=None, transfer_syntax_uid="", digest=record.digest, size_bytes=1
    )
    assert asked.duties.report_of(duty).committed == (f"{STUDY}.1.9",)


def test_what_is_known_by_the_digest_of_an_earlier_version_is_committed_to_by_that(asked):
    duty = ask(asked, held(9))
    image = incoming(9, head=bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\x00\x00\x00\x00")
    asked.receive(image)
    (record,) = [entry for entry in asked.detail().series[0].instances if entry.sop_instance_uid.endswith(".9")]
    asked.found[asked.files.absolute(record.file)] = FoundInstance(
        header=None, transfer_syntax_uid="", digest=record.digest, size_bytes=1
    )
    for before, is_held in ((hashlib.sha256(image.data_set).hexdigest(), True), ("0" * 64, False)):
        with asked.uow() as uow:
            uow.studies.replace_instance(replace(record, digest=before))
            uow.commit()
        assert bool(asked.duties.report_of(duty).committed) is is_held
