"""A copy of a data set whose files may be damaged: folders are real, files are links until they are written."""

from __future__ import annotations

import os
from pathlib import Path


def linked_copy(source: Path, target: Path) -> Path:
    """A copy of a folder tree made of hard links; write to a file only after unlinking it (see `overwrite`)."""
    for folder, _, files in os.walk(source):
        there = target / Path(folder).relative_to(source)
        there.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.link(Path(folder) / name, there / name)
    return target


def overwrite(path: Path, content: bytes) -> None:
    """Give a file of a linked copy other content; the original keeps its own."""
    path.unlink()
    path.write_bytes(content)
