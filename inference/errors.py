"""What can go wrong between a folder of DICOM files and a located spine.

ReadingError                  none of these is cured by trying again with the same files
├─ UnreadableInstance         one file is not a DICOM instance we can use; the scan goes on without it
├─ GeometryUnsupported        the instances of a series do not form one stack of parallel slices
└─ PixelDataUnreadable        a file's pixels cannot be decoded, or are not all there
LocaliserError                a localiser of another make, in its own process, gave no answer
├─ LocaliserNotInstalled      its program is not there: somebody has to install it
├─ LocaliserWeightsMissing    its weights are not there: somebody has to fetch them
├─ LocaliserTimeout           it ran past its limit and was ended; may be tried again
├─ LocaliserCrashed           it ended without an answer; may be tried again
└─ LocaliserAnswerUnusable    its answer does not fit the image or names no vertebra as expected
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


class LocaliserError(Exception):
    """Root of what a localiser in its own process raises; the message says what happened and what to do."""


class LocaliserNotInstalled(LocaliserError):
    """The localiser's program cannot be started or lacks what was asked of it."""


class LocaliserWeightsMissing(LocaliserError):
    """The localiser's weights are not on this machine; the node never fetches them."""


class LocaliserTimeout(LocaliserError):
    """The localiser ran past its limit; its process group was ended."""


class LocaliserCrashed(LocaliserError):
    """The localiser ended without an answer; the message has the last lines of what it wrote."""


class LocaliserAnswerUnusable(LocaliserError):
    """The answer does not lie on the image's grid, or its labels have no names of vertebrae."""
