"""Which associations are open and which studies they carry: what keeps a study from closing too early."""

from __future__ import annotations

from dicom_node.app.index_behind import DRAIN_S, IndexBehind, OpenedAssociation, open_association
from dicom_node.ports import Clock, UnitOfWorkFactory


class RecordAssociations:
    """Writes the begin and the end of each association. Raises StorageUnavailable where it cannot."""

    def __init__(self, *, uow_factory: UnitOfWorkFactory, clock: Clock, behind: IndexBehind | None = None) -> None:
        """Where rows come `behind`, so does that of the association; its end waits for all that it brought."""
        self._uow = uow_factory
        self._clock = clock
        self._behind = behind

    def opened(self, association_id: str, *, calling_aet: str, address: str) -> None:
        """The association is open; it carries no study yet. Its sender waits, and no start believes this row."""
        association = OpenedAssociation(
            association_id=association_id, calling_aet=calling_aet, address=address, at=self._clock.now()
        )
        if self._behind is not None and self._behind.open(association):
            return
        with self._uow() as uow:
            open_association(uow, association)
            uow.commit_unsynced()

    def closed(self, association_id: str, *, how: str) -> None:
        """The association has ended (`how`: released, aborted, lost) and blocks no study any more."""
        if self._behind is not None:
            self._behind.drain(DRAIN_S)
        with self._uow() as uow:
            uow.studies.close_association(association_id, at=self._clock.now(), how=how)
            uow.commit()
