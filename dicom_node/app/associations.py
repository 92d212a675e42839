"""Which associations are open and which studies they carry: what keeps a study from closing too early."""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.ports import Clock, UnitOfWorkFactory


class RecordAssociations:
    """Writes the begin and the end of each association. Raises StorageUnavailable where it cannot."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        clock: Clock,
        before_close: Callable[[], None] = lambda: None,
    ) -> None:
        """`before_close` returns when the rows of what an association brought are written; it may raise as well."""
        self._uow = uow_factory
        self._clock = clock
        self._before_close = before_close

    def opened(self, association_id: str, *, calling_aet: str, address: str) -> None:
        """The association is open; it carries no study yet. Its sender waits, and no start believes this row."""
        with self._uow() as uow:
            uow.studies.open_association(association_id, calling_aet=calling_aet, address=address, at=self._clock.now())
            uow.commit_unsynced()

    def closed(self, association_id: str, *, how: str) -> None:
        """The association has ended (`how`: released, aborted, lost) and blocks no study any more."""
        self._before_close()
        with self._uow() as uow:
            uow.studies.close_association(association_id, at=self._clock.now(), how=how)
            uow.commit()
