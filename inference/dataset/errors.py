"""What can be wrong with a data set.

DataSetError                  root; the message says which file or study, what is wrong and what was expected
├─ TableError                 a table as a whole cannot be trusted: nothing is read until it is mended
└─ StudyUnusable              one study cannot be used; the others go on without it
"""

from __future__ import annotations

from pathlib import Path


class DataSetError(Exception):
    """Root of what `inference.dataset` raises on purpose."""


class TableError(DataSetError):
    """A table has another header than its format's, or a row that cannot be meant; the message names the line."""

    def __init__(self, file: Path, line: int, why: str) -> None:
        super().__init__(f"{file}, line {line}: {why}")
        self.file = file
        self.line = line


class StudyUnusable(DataSetError):
    """One study cannot be used, and why; it is listed and left out."""

    def __init__(self, study_instance_uid: str, why: str) -> None:
        super().__init__(f"study {study_instance_uid}: {why}")
        self.study_instance_uid = study_instance_uid
        self.why = why
