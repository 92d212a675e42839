"""A resumable run whose cases never end, for tests that kill it: `python -m tests.builders.endless_run FOLDER`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.evaluation.resumable import run


@dataclass(frozen=True)
class Endless:
    """A case."""

    key: str


@dataclass(frozen=True)
class Wait:
    """Writes its worker's process id into a folder and stays."""

    folder: Path

    def __call__(self, case: Endless) -> dict[str, Any]:
        (self.folder / str(os.getpid())).touch()
        time.sleep(600)
        return {}


if __name__ == "__main__":
    run(
        [Endless("a"), Endless("b")],
        Wait(Path(sys.argv[1])),
        header={},
        work=None,
        workers=2,
        on_row=lambda row: None,
    )
