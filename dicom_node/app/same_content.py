"""Whether a file holds what is known by a digest, of whichever kind that is."""

from __future__ import annotations

from pathlib import Path

from dicom_node.core.data_set_digest import is_blake3
from dicom_node.ports import FileStore


def is_same_content(files: FileStore, file: Path, digest: str, *, known: str) -> bool:
    """`digest` is that of `file`, which is only read where `known` is of the other kind. Raises StorageUnavailable."""
    if is_blake3(digest) == is_blake3(known):
        return digest == known
    try:
        return files.digest(file, like=known) == known
    except ValueError:  # it is no file of ours any more
        return False
