"""The thread that writes rows behind the answers, and those who wait for it."""

from __future__ import annotations

import threading

import structlog

from dicom_node.app.commitment_duties import CommitmentDuties
from dicom_node.app.index_behind import DRAIN_S, IndexBehind
from dicom_node.core.commitment import CommitmentDuty, CommitmentReport, Reference
from dicom_node.core.errors import StorageUnavailable

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 0.25
_PAUSE_AFTER_FAILURE_S = 0.5


class IndexingThread(threading.Thread):
    """Between `start` and `stop`: `behind.step` whenever there is something to write."""

    def __init__(self, behind: IndexBehind) -> None:
        super().__init__(name="index-behind", daemon=True)
        self._behind = behind
        self._stopping = threading.Event()
        self._is_done = False

    @property
    def failure(self) -> str:
        """Why rows are not written any more, until the node is started again; empty while they are."""
        has_died = self.ident is not None and not self.is_alive() and not self._is_done
        return "the thread that writes the rows of received images has died, see the log" if has_died else ""

    def stop(self, timeout_s: float) -> None:
        """Write what waits, and end. What cannot be written now is found again at the next start."""
        self._stopping.set()
        self.join(timeout_s)

    def run(self) -> None:
        while not self._stopping.is_set():
            if self._behind.wait(_LOOK_AGAIN_S) and not self._step():
                self._stopping.wait(_PAUSE_AFTER_FAILURE_S)
        while self._behind.wait(0.0) and self._step():
            pass
        self._is_done = True

    def _step(self) -> bool:
        try:
            self._behind.step()
        except StorageUnavailable as error:
            log.error("rows_not_written", why=str(error))
            return False
        return True


class DutiesBehind:
    """Storage commitment that speaks of what was acknowledged before it was asked: its rows are written first."""

    def __init__(self, duties: CommitmentDuties, behind: IndexBehind) -> None:
        self._duties = duties
        self._behind = behind

    def take_on(
        self, transaction_uid: str, references: tuple[Reference, ...], *, calling_aet: str, peer: str
    ) -> CommitmentDuty:
        """As the duties it wraps. Raises StorageUnavailable where rows cannot be written."""
        self._behind.drain(DRAIN_S)
        return self._duties.take_on(transaction_uid, references, calling_aet=calling_aet, peer=peer)

    def report_of(self, duty: CommitmentDuty) -> CommitmentReport:
        """As the duties it wraps."""
        return self._duties.report_of(duty)

    def reported(self, duty: CommitmentDuty, report: CommitmentReport) -> None:
        """As the duties it wraps."""
        self._duties.reported(duty, report)
