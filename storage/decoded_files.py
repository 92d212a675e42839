"""Where frames that were decoded ahead lie: `decoded/<digest of the image's data set>.frames` in the data folder.

A cache that the node may lose at any time: nothing here is synced, backed up, or named by a row. Names say nothing of a
patient; folder and files are for the node's user alone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dicom_node.core.data_set_digest import is_digest
from dicom_node.core.errors import StorageUnavailable

FOLDER = "decoded"
LOG = "decoder.log"
"""In the folder: what the decoder wrote on standard error since it was last started."""

_SUFFIX, _PART = ".frames", ".part"


class DecodedFiles:
    """`DecodedFrames` of the ports below `root`, the data folder."""

    def __init__(self, root: Path) -> None:
        self._folder = root.absolute() / FOLDER

    @property
    def log(self) -> Path:
        """Where the decoder's own messages go."""
        return self._folder / LOG

    def begin(self) -> dict[str, int]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in self._folder.glob(f"*{_PART}"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(self._folder, error) from error
        return self.held()

    def held(self) -> dict[str, int]:
        found = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.endswith(_SUFFIX) and is_digest(entry.name.removesuffix(_SUFFIX)):
                        with suppress(FileNotFoundError):  # removed meanwhile
                            status = entry.stat(follow_symlinks=False)
                            found.append((status.st_mtime_ns, entry.name.removesuffix(_SUFFIX), status.st_size))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _unavailable(self._folder, error) from error
        return {digest: size_bytes for _, digest, size_bytes in sorted(found)}

    def file(self, digest: str) -> Path:
        """Raises ValueError for what is no digest."""
        if not is_digest(digest):
            raise ValueError(f"{digest!r} is no digest of a data set")
        return self._folder / f"{digest}{_SUFFIX}"

    def remove(self, digest: str) -> None:
        path = self.file(digest)
        try:
            path.unlink(missing_ok=True)
            path.with_suffix(_PART).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(path, error) from error


def _unavailable(path: Path, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"{path}: {error.strerror or error}")
