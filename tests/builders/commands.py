"""`cspine-node` commands run in this process: what they answer, without the start of a Python each."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from dicom_node.cli import run


@dataclass(frozen=True)
class Ran:
    """What a command left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be nothing but one JSON document."""
        return json.loads(self.out)


def cspine_node(*arguments: object) -> Ran:
    """Run a command; logging is as before when it is done."""
    out, err = io.StringIO(), io.StringIO()
    with logging_as_before(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Ran(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def logging_as_before() -> Iterator[None]:
    """Whatever configures logging inside leaves no trace."""
    names = (None, "dicom_node", "storage", "pydicom", "pynetdicom", "highdicom", "apscheduler")
    levels = {name: logging.getLogger(name).level for name in names}
    handlers, settings = list(logging.getLogger().handlers), structlog.get_config()
    try:
        yield
    finally:
        structlog.configure(**settings)
        logging.getLogger().handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
