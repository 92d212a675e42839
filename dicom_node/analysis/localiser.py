"""What names the levels where it is not the bundle's own network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from inference.spine import Localiser
from inference.totalsegmentator_process import TotalSegmentator


class NamedLocaliser(Localiser, Protocol):
    """A localiser that can be named in a result."""

    @property
    def identity(self) -> str:
        """Name, version and variant; complete once it has answered."""
        ...


def configured_localiser(settings: Mapping[str, Any] | None, work_dir: Path | None) -> NamedLocaliser | None:
    """The localiser of these settings of `TotalSegmentator`; None for None, which is the bundle's own.

    Images it is given lie in `work_dir` meanwhile; None takes the system's folder for temporary files.
    """
    if settings is None:
        return None
    from inference.totalsegmentator import TotalSegmentatorLocaliser

    return TotalSegmentatorLocaliser(TotalSegmentator(**settings), work_dir)
