"""Who may read what a node keeps: its own user alone. Files are 0600 and folders 0700, whatever the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o600, 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def too_open(root: Path) -> Iterator[Path]:
    """`root` and everything in it that others than its owner may read, write or enter; links are not followed."""
    for path in (root, *_below(root)):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and mode & _OTHERS:
            yield path


def close_up(path: Path) -> None:
    """Others may no longer read, write or enter it. Raises OSError where it is not ours."""
    path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~_OTHERS, follow_symlinks=True)


def keep_to_ourselves() -> None:
    """What this process and its children make from here on is for its user alone."""
    os.umask(0o077)


def _below(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield Path(folder, name)
