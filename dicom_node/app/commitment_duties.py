"""Storage commitment for those who send to us (PS3.4 annex J): a scanner asks whether it may delete its copy.

What it asks is a row before it is told that we will answer, so a restart forgets nothing. What we hold is looked up
when we report and not when we are asked: row, file and the digest of the file's data set must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from dicom_node.app.found_instance import FoundInstanceReader
from dicom_node.app.same_content import is_same_content
from dicom_node.core.commitment import CommitmentDuty, CommitmentReport, NotCommitted, Reference
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.errors import NodeError
from dicom_node.core.peer import Peer
from dicom_node.core.retry import GiveUp, RetryAt, next_attempt
from dicom_node.core.study import InstanceRecord
from dicom_node.ports import Clock, FileStore, PeerDirectory, StorageCommitter, UnitOfWorkFactory

log = structlog.get_logger(__name__)

GRACE_S = 15.0
"""How long the association on which we were asked may be used to report, before we open one of our own."""


class CommitmentDuties:
    """Takes on what peers ask, and reports to them."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        files: FileStore,
        peers: PeerDirectory,
        committer: StorageCommitter,
        read_found: FoundInstanceReader,
        clock: Clock,
        terms: DeliveryTerms,
        randomness: Callable[[], float],
    ) -> None:
        """`read_found` reads a stored file; `terms` are those of every peer that has none of its own."""
        self._uow = uow_factory
        self._files = files
        self._peers = peers
        self._committer = committer
        self._read_found = read_found
        self._clock = clock
        self._terms = terms
        self._randomness = randomness

    def take_on(
        self, transaction_uid: str, references: tuple[Reference, ...], *, calling_aet: str, peer: str
    ) -> CommitmentDuty:
        """What the peer asks is durable: it will get a report. Raises StorageUnavailable."""
        now = self._clock.now()
        duty = CommitmentDuty(
            id=0,
            transaction_uid=transaction_uid,
            calling_aet=calling_aet,
            peer=peer,
            references=references,
            asked_at=now,
            next_attempt_at=now + timedelta(seconds=GRACE_S),
        )
        with self._uow() as uow:
            duty = uow.commitments.take_on(duty)
            uow.commit()
        log.info("commitment_asked", peer=peer, transaction=transaction_uid, instances=len(references))
        return duty

    def report_of(self, duty: CommitmentDuty) -> CommitmentReport:
        """What can be said now about each instance."""
        references = tuple(dict.fromkeys(duty.references))
        with self._uow() as uow:
            records = [uow.studies.find_instance(reference.sop_instance_uid) for reference in references]
        committed: list[str] = []
        failed: list[tuple[str, int]] = []
        for reference, record in zip(references, records, strict=True):
            reason = self._why_not_held(reference, record)
            if reason is None:
                committed.append(reference.sop_instance_uid)
            else:
                failed.append((reference.sop_instance_uid, int(reason)))
        return CommitmentReport(transaction_uid=duty.transaction_uid, committed=tuple(committed), failed=tuple(failed))

    def reported(self, duty: CommitmentDuty, report: CommitmentReport) -> None:
        """The peer has taken the report."""
        outcome = f"reported {len(report.committed)} kept, {len(report.failed)} not"
        self._write(replace(duty, attempt=duty.attempt + 1, outcome=outcome), finished=True)
        log.info("commitment_told", peer=duty.peer, transaction=duty.transaction_uid, outcome=outcome)

    def step(self) -> bool:
        """Report on what was asked longest ago and is due, on an association of our own; False where nothing is."""
        with self._uow() as uow:
            duties = uow.commitments.duties_due(self._clock.now(), limit=1)
        if not duties:
            return False
        (duty,) = duties
        peer = self._peers.by_name(duty.peer)
        if peer is None or not peer.enabled:
            self._again(duty, f"peer {duty.peer} is not configured or disabled", peer)
            return True
        report = self.report_of(duty)
        classes = {reference.sop_instance_uid: reference.sop_class_uid for reference in duty.references}
        try:
            self._committer.report(peer, report, classes)
        except NodeError as error:
            # Also for errors that are permanent elsewhere: a scanner that is being serviced refuses us for a while.
            self._again(duty, f"{type(error).__name__}: {error}", peer)
        else:
            self.reported(duty, report)
        return True

    def _again(self, duty: CommitmentDuty, why: str, peer: Peer | None) -> None:
        terms = peer.delivery.over(self._terms) if peer is not None else self._terms
        now = self._clock.now()
        tried = replace(duty, attempt=duty.attempt + 1, outcome=why)
        match next_attempt(tried.attempt, now, terms.retry, self._randomness()):
            case RetryAt(at=at):
                self._write(replace(tried, next_attempt_at=at), finished=False)
                log.warning("commitment_not_told", peer=duty.peer, transaction=duty.transaction_uid, why=why)
            case GiveUp(why=gave_up):
                self._write(replace(tried, outcome=f"{why}; {gave_up}"), finished=True)
                log.error("commitment_never_told", peer=duty.peer, transaction=duty.transaction_uid, why=why)

    def _write(self, duty: CommitmentDuty, *, finished: bool) -> None:
        at: datetime | None = self._clock.now() if finished else None
        with self._uow() as uow:
            uow.commitments.save_duty(
                replace(duty, finished_at=at, next_attempt_at=None if finished else duty.next_attempt_at)
            )
            uow.commit()

    def _why_not_held(self, reference: Reference, record: InstanceRecord | None) -> NotCommitted | None:
        if record is None:
            return NotCommitted.NO_SUCH_INSTANCE
        if record.sop_class_uid != reference.sop_class_uid:
            return NotCommitted.CLASS_CONFLICT
        file = self._files.absolute(record.file)
        if not file.exists():
            return NotCommitted.NO_SUCH_INSTANCE
        found = self._read_found(file)
        is_held = found is not None and is_same_content(self._files, record.file, found.digest, known=record.digest)
        return None if is_held else NotCommitted.PROCESSING_FAILURE
