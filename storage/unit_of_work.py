"""`UnitOfWork` of the ports over one database transaction."""

from __future__ import annotations

from types import TracebackType

from storage.accounts import Accounts
from storage.circuits import Circuits
from storage.commitments import Commitments
from storage.deliveries import Deliveries
from storage.history import History
from storage.jobs import Jobs
from storage.quarantine import Quarantined
from storage.studies import Studies
from storage.transaction import Transaction
from storage.verdicts import VerdictRows
from storage.worklist import Standings, Worklist


class SqlUnitOfWork:
    """Enter, use the repositories, `commit()`. Leaving without it undoes everything since the last commit."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.studies = Studies(transaction)
        self.jobs = Jobs(transaction)
        self.deliveries = Deliveries(transaction)
        self.history = History(transaction)
        self.quarantine = Quarantined(transaction)
        self.circuits = Circuits(transaction)
        self.commitments = Commitments(transaction)
        self.accounts = Accounts(transaction)
        self.verdicts = VerdictRows(transaction)
        self.worklist = Worklist(transaction, self.studies)
        self.standings = Standings(transaction, self.studies, self.jobs, self.deliveries)

    def commit(self) -> None:
        self._transaction.commit()

    def commit_unsynced(self) -> None:
        self._transaction.commit_unsynced()

    def __enter__(self) -> SqlUnitOfWork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transaction.end()
