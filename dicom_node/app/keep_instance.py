"""The half of taking an instance in that needs no database: its file.

A process beside the one that has the rows does this half. Nobody may be told of what is only kept: the other half is
`ReceiveInstance` in the process that has the rows, which gets the instance with its `stored` file.
"""

from __future__ import annotations

from dicom_node.app.receive_instance import IncomingInstance, checked_header
from dicom_node.core.errors import RejectedInput, StorageUnavailable
from dicom_node.core.identifiers import study_key
from dicom_node.ports import FileStore, StoredFile


class KeepInstance:
    """Safe to call from many threads at once."""

    def __init__(self, *, files: FileStore, needed_bytes: int) -> None:
        """`needed_bytes` are free at least where a file is written: the reserve, and all that may be in memory anywhere
        and be written at the same moment.
        """
        self._files = files
        self._needed_bytes = needed_bytes

    def __call__(self, incoming: IncomingInstance) -> StoredFile | None:
        """The durable file; None, and none is left, where there is anything to say against it: `ReceiveInstance` knows
        what.
        """
        try:
            header = checked_header(incoming)
            if self._files.free_bytes() < self._needed_bytes:
                return None
            key = study_key(header.study_instance_uid)
            return self._files.write(key, incoming.head, incoming.data_set, digest=incoming.digest)
        except (RejectedInput, StorageUnavailable):
            return None
