"""Messages in the file and in the spool; nothing is lost silently and nothing stops the node."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from dicom_node.app import audit_events
from dicom_node.audit.frames import frame
from dicom_node.audit.log_file import AuditFile
from dicom_node.audit.sender import Repository, TlsSender
from dicom_node.audit.spool import Spool
from dicom_node.audit.trail import AuditTrail
from dicom_node.core.audit import AuditedStudy, AuditEvent, Code, Participant
from dicom_node.core.errors import ConfigurationError, PeerUnreachable
from dicom_node.core.quarantine import QuarantinedFile, QuarantineReason, QuarantineState
from dicom_node.core.study import PatientSummary
from tests.builders.audit_schema import checked, frames_in, message_in, summary
from tests.unit.app.node import CT, STUDY, T0, RecordingCounters, silenced


@pytest.fixture(autouse=True)
def silence() -> Any:
    with silenced():
        yield


class FakeSender:
    """Takes what it is sent, unless `is_away`."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_away = False

    def send(self, framed: bytes) -> None:
        if self.is_away:
            raise PeerUnreachable("nobody listens")
        self.sent.append(framed)

    def close(self) -> None: ...


def trail(folder: Path, sender: Any = None, spool_bytes: int = 1_000_000, **changes: Any) -> AuditTrail:
    given: dict[str, Any] = {
        "source_id": "CSPINE_AI",
        "site": "ward 7",
        "host": "node.example",
        "process_id": 7,
        "counters": RecordingCounters(),
        "file": AuditFile(folder / "audit.log", maximum_bytes=1_000_000, count=3),
        "spool": Spool(folder / "spool", maximum_bytes=spool_bytes) if sender else None,
        "sender": sender,
    }
    return AuditTrail(**given | changes)


def started(number: int = 0) -> AuditEvent:
    return audit_events.application_activity(started=True, ae_title="CSPINE_AI", launched_by=f"user{number}", at=T0)


def received(patient: PatientSummary) -> AuditEvent:
    return audit_events.transferred(
        source=Participant(
            user_id="SCANNER", is_requestor=True, ae_titles=("SCANNER",), role=Code.SOURCE, address="::1"
        ),
        destination=Participant(user_id="cspine-node", is_requestor=False, role=Code.DESTINATION),
        study=AuditedStudy(study_instance_uid=STUDY, instances=((CT, 3),)),
        patient=patient,
        at=T0,
    )


def set_aside(state: QuarantineState, **uids: str) -> QuarantinedFile:
    return QuarantinedFile(
        id=7,
        file=Path("quarantine/a.dcm"),
        reason=QuarantineReason.UNREADABLE,
        why="",
        set_aside_at=T0,
        digest="",
        size_bytes=0,
        state=state,
        settled_why="released by ann",
        **uids,
    )


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()


EVENTS = [
    started(),
    received(PatientSummary(patient_id="P1", patient_name="Müller^Jürgen=山田^太郎")),
    received(PatientSummary()),
    received(PatientSummary(patient_name='<>&"\x00\ud800\x1b')),
    audit_events.begin_transfer(
        source=Participant(user_id="A", is_requestor=True),
        destination=Participant(user_id="B", is_requestor=False),
        study=AuditedStudy(study_instance_uid=STUDY, accession_number="A1"),
        patient=PatientSummary(),
        at=T0,
    ),
    audit_events.accessed(user_id="web", address="10.0.0.1", study_instance_uid=STUDY, patient=PatientSummary(), at=T0),
    *(
        audit_events.decided(user_id="ann", address="::1", entry=entry, patient=PatientSummary(), at=T0)
        for entry in (
            set_aside(QuarantineState.RELEASED, study_instance_uid=STUDY, sop_class_uid=CT),
            set_aside(QuarantineState.DISCARDED, study_instance_uid='no "UID"', sop_class_uid="<"),
        )
    ),
    audit_events.queried(user_id="web", address="10.0.0.1", query="/?status=SENDING", ae_title="X", at=T0),
    audit_events.study_deleted(
        study=AuditedStudy(study_instance_uid=STUDY), patient=PatientSummary(), ae_title="X", at=T0
    ),
    audit_events.contact_refused(calling_aet="", address="evil.example", ae_title="X", rule="r", why="w", at=T0),
    audit_events.peers_changed(names=["pacs"], source="/etc/node.toml", ae_title="X", at=T0),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event.name.lower())
def test_every_kind_of_message_is_as_the_schema_wants_it(tmp_path: Path, event: AuditEvent) -> None:
    trail(tmp_path).record(event)
    (line,) = lines(tmp_path / "audit.log")
    assert summary(message_in(line))[0] == event.event.value[0]


def test_patient_study_and_number_of_instances_are_in_the_message(tmp_path: Path) -> None:
    trail(tmp_path).record(EVENTS[1])
    message = message_in(lines(tmp_path / "audit.log")[0])
    study, patient = message.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == STUDY
    assert study.find("SOPClass").attrib == {"UID": CT, "NumberOfInstances": "3"}  # type: ignore[union-attr]
    assert patient.get("ParticipantObjectID") == "P1"
    assert patient.findtext("ParticipantObjectName") == "Müller^Jürgen=山田^太郎"


def test_the_check_itself_finds_what_is_missing() -> None:
    with pytest.raises(AssertionError):
        checked(b"<AuditMessage><EventIdentification/></AuditMessage>")


def test_a_full_file_is_put_aside_and_so_many_are_kept(tmp_path: Path) -> None:
    small = trail(tmp_path, file=AuditFile(tmp_path / "audit.log", maximum_bytes=2_000, count=2))
    for number in range(20):
        small.record(started(number))
    files = sorted(path.name for path in tmp_path.glob("audit.log*"))
    assert files == ["audit.log", "audit.log.1", "audit.log.2"]
    assert all((tmp_path / name).stat().st_size <= 2_000 for name in files)
    newest = message_in(lines(tmp_path / "audit.log")[-1])
    assert newest.findall("ActiveParticipant")[1].get("UserID") == "user19"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("audit.log*")} == {0o600}


def test_what_cannot_be_written_now_is_counted_and_written_before_the_next_message(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file where the folder should be")
    counters = RecordingCounters()
    broken = trail(tmp_path / "audit", counters=counters)
    broken.record(started(1))
    broken.record(started(2))
    assert counters.counts["audit_failures", "file"] == 2
    assert counters.counts["audit_messages", "application_activity"] == 2
    (tmp_path / "audit").unlink()
    broken.record(started(3))
    assert len(lines(tmp_path / "audit" / "audit.log")) == 3
    assert ("audit_lost", "file") not in counters.counts


def test_what_is_given_up_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.audit.trail._MOST_IN_MEMORY", 2)
    (tmp_path / "audit").write_text("a file where the folder should be")
    counters = RecordingCounters()
    broken = trail(tmp_path / "audit", counters=counters)
    for number in range(5):
        broken.record(started(number))
    assert counters.counts["audit_lost", "file"] == 3


def test_what_is_spooled_is_sent_oldest_first_and_once(tmp_path: Path) -> None:
    sender = FakeSender()
    sending = trail(tmp_path, sender)
    for number in range(3):
        sending.record(started(number))
    assert sending.send_waiting()
    assert sending.send_waiting()
    sent = [message_in(line) for line in frames_in(b"".join(sender.sent))]
    assert [message.findall("ActiveParticipant")[1].get("UserID") for message in sent] == ["user0", "user1", "user2"]
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_waits_while_the_repository_is_away_is_sent_by_the_next_life(tmp_path: Path) -> None:
    sender = FakeSender()
    sender.is_away = True
    counters = RecordingCounters()
    before = trail(tmp_path, sender, counters=counters)
    before.record(started(1))
    assert not before.send_waiting()
    assert counters.counts["audit_failures", "syslog"] == 1
    sender.is_away = False
    after = trail(tmp_path, sender)
    after.record(started(2))
    assert after.send_waiting()
    assert len(sender.sent) == 2


def test_a_spool_that_is_full_drops_the_oldest_and_says_so(tmp_path: Path) -> None:
    sender = FakeSender()
    counters = RecordingCounters()
    small = trail(tmp_path, sender, spool_bytes=2_500, counters=counters)
    for number in range(10):
        small.record(started(number))
    assert small.send_waiting()
    lost = counters.counts["audit_lost", "spool"]
    assert lost + len(sender.sent) == 10
    assert lost > 0
    newest = message_in(frames_in(sender.sent[-1])[0])
    assert newest.findall("ActiveParticipant")[1].get("UserID") == "user9"
    assert len(lines(tmp_path / "audit.log")) == 10, "the file has them all"


def test_two_processes_write_one_trail_and_neither_loses_a_message_of_the_other(tmp_path: Path) -> None:
    """A command beside a running node: each knows nothing of the other but the folder."""
    sender = FakeSender()
    small = {"maximum_bytes": 4_000, "count": 20}
    node = trail(tmp_path, sender, file=AuditFile(tmp_path / "audit.log", **small))
    command = trail(
        tmp_path,
        file=AuditFile(tmp_path / "audit.log", **small),
        spool=Spool(tmp_path / "spool", maximum_bytes=1_000_000),
    )
    for number in range(0, 20, 2):
        node.record(started(number))
        command.record(started(number + 1))
    command.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("audit.log*"))
    assert len(kept.splitlines()) == 20
    assert node.send_waiting()
    sent = [message_in(frames_in(each)[0]).findall("ActiveParticipant")[1].get("UserID") for each in sender.sent]
    assert sent == [f"user{number}" for number in range(20)]


def test_a_line_that_waits_for_another_process_is_written_after_it(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit.log", maximum_bytes=10_000, count=1)
    done = threading.Event()
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    writing = threading.Thread(target=lambda: (file.append(b"second"), done.set()))
    writing.start()
    assert not done.wait(0.05)
    (tmp_path / "audit.log").write_bytes(b"first\n")
    os.close(folder)
    writing.join(10)
    assert lines(tmp_path / "audit.log") == [b"first", b"second"]


def test_files_for_tls_that_cannot_be_used_stop_the_start_with_their_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="audit"):
        TlsSender(Repository(host="localhost", port=6514, ca_file=str(tmp_path / "none.pem")))


def test_a_frame_says_its_length_in_octets() -> None:
    assert frame("ä".encode()) == b"2 \xc3\xa4"
