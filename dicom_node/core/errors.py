"""What can go wrong, sorted by what happens next.

    NodeError
    ├─ RejectedInput            the sender's fault: a DIMSE failure status, counted, never retried by us
    ├─ TransientError           tried again later
    │   ├─ StorageUnavailable   disk or database cannot be written now
    │   ├─ StorageConflict      another writer was first; read again
    │   ├─ PeerUnreachable      no TCP connection or no association within the timeout
    │   ├─ AssociationAborted   the association ended before every instance was answered
    │   ├─ PeerBusy             the peer answered with a resource status (A7xx)
    │   ├─ GpuOutOfMemory       the device's memory did not suffice
    │   ├─ WorkerLost           the analysis child died
    │   └─ WorkerTimeout        the analysis child ran past its limit
    ├─ PermanentError           trying again changes nothing
    │   ├─ PeerRefused          the peer rejects the association or the instance for good
    │   ├─ SopClassNotAccepted  the peer accepts no presentation context for an object
    │   ├─ EncodingInvalid      a result object could not be built
    │   ├─ BundleMismatch       the bundle is damaged or made for other code
    │   ├─ GeometryUnsupported  the series cannot become a volume
    │   └─ LocaliserUnusable    the configured localiser is not there, or its answer cannot be used
    └─ ConfigurationError       refuse to start; says which key, its value and where it came from

A message is for an operator at night: what, which study or peer, what happens next. No patient data.
"""

from __future__ import annotations


class NodeError(Exception):
    """Root of everything this node raises on purpose."""


class RejectedInput(NodeError):
    """The sender's fault. `status` is the DIMSE status to answer with (PS3.4 B.2.3, PS3.7 annex C)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class TransientError(NodeError):
    """Worth another attempt."""


class StorageUnavailable(TransientError):
    """Disk or database cannot be written now."""


class StorageConflict(TransientError):
    """Another writer was first: a unique key exists already. Read again and decide anew."""


class PeerUnreachable(TransientError):
    """No TCP connection or no association within the timeout."""


class AssociationAborted(TransientError):
    """The association ended before every instance was answered."""


Rejection = tuple[int, int, int]
"""Result, source and reason of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""


class PeerBusy(TransientError):
    """The peer answered with a resource status (A7xx). Where it `is_about_one_object`, others may be taken.

    `rejection` is there where it was the association that was rejected.
    """

    def __init__(self, message: str, *, is_about_one_object: bool = False, rejection: Rejection | None = None) -> None:
        super().__init__(message)
        self.is_about_one_object = is_about_one_object
        self.rejection = rejection


class GpuOutOfMemory(TransientError):
    """The device's memory did not suffice."""


class WorkerLost(TransientError):
    """The analysis child died."""


class WorkerTimeout(TransientError):
    """The analysis child ran past its limit."""


class PermanentError(NodeError):
    """Another attempt would end the same way."""


class PeerRefused(PermanentError):
    """The peer rejects the association or the instance for good; `rejection` where it was the association."""

    def __init__(self, message: str, *, rejection: Rejection | None = None) -> None:
        super().__init__(message)
        self.rejection = rejection


class SopClassNotAccepted(PermanentError):
    """The peer accepts no presentation context for an object."""


class EncodingInvalid(PermanentError):
    """A result object could not be built."""


class BundleMismatch(PermanentError):
    """The bundle is damaged or made for other code."""


class GeometryUnsupported(PermanentError):
    """The series cannot become a volume."""


class LocaliserUnusable(PermanentError):
    """The configured localiser or its weights are not there, or its answer cannot be used; somebody has to act."""


class ConfigurationError(NodeError):
    """The node refuses to start. `key`, `value` and `source` say what to change and where."""

    def __init__(self, message: str, *, key: str = "", value: object = None, source: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.value = value
        self.source = source
