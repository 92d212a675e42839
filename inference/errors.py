"""What can go wrong between a folder of DICOM files and a volume of Hounsfield units.

    ReadingError
    ├─ UnreadableInstance      one file is not a DICOM instance we can use; the scan goes on without it
    ├─ GeometryUnsupported     the instances of a series do not form one stack of parallel slices
    └─ PixelDataUnreadable     a file's pixels cannot be decoded, or are not all there

None of them is cured by trying again with the same files.
"""

from __future__ import annotations

from pathlib import Path


class ReadingError(Exception):
    """Root of everything that `inference.headers` and `inference.reading` raise on purpose."""


class UnreadableInstance(ReadingError):
    """The file is no DICOM instance, or lacks what every instance must have."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file}: {why}")
        self.file = file
        self.why = why


class GeometryUnsupported(ReadingError):
    """The series is not one stack of parallel slices; the message has the value and the expectation."""

    def __init__(self, series_instance_uid: str, why: str) -> None:
        super().__init__(f"series {series_instance_uid or '(no UID)'}: {why}")
        self.series_instance_uid = series_instance_uid
        self.why = why


class PixelDataUnreadable(ReadingError):
    """The pixels of one file are truncated, or no installed decoder can read their transfer syntax."""

    def __init__(self, file: Path, transfer_syntax_uid: str, why: str) -> None:
        super().__init__(f"{file}: {why} (transfer syntax {transfer_syntax_uid or 'unknown'})")
        self.file = file
        self.transfer_syntax_uid = transfer_syntax_uid
        self.why = why
