"""What an analysis child leaves for whoever asks why it ended: how, in which stage, after how long, with how much
memory, and the shape of its last log lines.

Nothing here quotes a data set. Log lines are let through by their form alone: places in code, names of exceptions and
signals, never the text of a message.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_STAGE_FILE = "stage.json"
_EVIDENCE_FILE = "evidence.json"
_TAIL_LINES = 30
_TAIL_BYTES = 65_536

_PLACE = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+),? in (?P<function>[\w.<>]+)')
_FATAL = re.compile(r"Fatal Python error: (?P<what>[A-Za-z ]+)")
_RAISED = re.compile(r"(?P<name>(?:\w+\.)*_?[A-Z]\w*(?:Error|Exception|Warning|Interrupt|Exit))(?=:|$)")


class StageLog:
    """Writes down each stage as it begins; called as `progress(stage, fraction)`."""

    def __init__(self, work_dir: Path) -> None:
        self._file = work_dir / _STAGE_FILE
        self._began = time.monotonic()
        self._stage = ""

    def __call__(self, stage: str, fraction: float = 0.0) -> None:
        if stage == self._stage:
            return
        self._stage = stage
        entry = {"stage": stage, "after_s": round(time.monotonic() - self._began, 1)}
        temporary = self._file.with_suffix(".part")
        temporary.write_text(json.dumps(entry))
        os.replace(temporary, self._file)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """How a child ended. `status` as subprocess has it: negative for a signal, None where we ended it."""

    status: int | None
    stage: str
    ran_s: float
    peak_mb: int
    log_tail: tuple[str, ...]

    def in_words(self) -> str:
        """For an operator, in half a sentence."""
        parts = [_ending(self.status), self.stage or "no stage was begun", f"it ran {self.ran_s:.1f} s"]
        if self.peak_mb:
            parts.append(f"its memory peaked at {self.peak_mb} MB")
        return "; ".join(part for part in parts if part)


def gather(work_dir: Path, *, status: int | None, ran_s: float, peak_mb: int) -> Evidence:
    """The evidence of the attempt in `work_dir`, kept there as well as far as the disk takes it."""
    evidence = Evidence(
        status=status,
        stage=last_stage(work_dir),
        ran_s=ran_s,
        peak_mb=peak_mb,
        log_tail=safe_tail(_end_of(work_dir / "child.log")),
    )
    with contextlib.suppress(OSError):  # a full disk may be what ended the child; the words go into the row
        (work_dir / _EVIDENCE_FILE).write_text(json.dumps(asdict(evidence), indent=2))
    return evidence


def last_stage(work_dir: Path) -> str:
    """The last stage that the attempt in `work_dir` began, in words; empty where it began none."""
    try:
        entry = json.loads((work_dir / _STAGE_FILE).read_text())
        return f"its last stage was {entry['stage']}, begun after {entry['after_s']} s"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def safe_tail(text: str) -> tuple[str, ...]:
    """The last lines of a child's log, each reduced to what cannot name a patient; others are left out."""
    lines = [line for line in map(_reduced, text.splitlines()) if line]
    return tuple(lines[-_TAIL_LINES:])


def _reduced(line: str) -> str:
    place = _PLACE.match(line)
    if place is not None:
        return f"{Path(place['file']).name}:{place['line']} in {place['function']}"
    fatal = _FATAL.match(line)
    if fatal is not None:
        return f"fatal: {fatal['what'].strip()}"
    raised = _RAISED.match(line)
    return raised["name"] if raised is not None else ""


def _ending(status: int | None) -> str:
    if status is None or status == 0:
        return ""
    if status > 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
