"""Many slow studies, each done once: finished rows are kept in a work file, a second call does the rest.

The work file has one JSON object a line. The first is the header: what the rows were measured on. A call with another
header is refused, so that rows of two bundles or two states of the code never meet. A line that a kill cut short
counts as not done.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

Row = dict[str, Any]
_LOOK_S = 0.5


class Keyed(Protocol):
    """Something to do, with a name that is unique in its run."""

    @property
    def key(self) -> str:
        """The name."""
        ...


Case = TypeVar("Case", bound=Keyed)


class OtherRun(Exception):
    """The work file holds rows of something else; the message says what differs and what to do."""


def run(
    cases: Sequence[Case],
    measure: Callable[[Case], Row],
    *,
    header: Row,
    work: Path | None,
    workers: int,
    on_row: Callable[[Row], None],
) -> list[Row]:
    """The rows of all cases, in their order, each `measure(case)` with its `key`.

    With more than one worker `measure` runs in spawned processes and must be picklable. `on_row` is called for every
    row, those of the work file first. Without a `work` file nothing is kept. Raises OtherRun, and whatever `measure`
    raises: then the rows until there are kept.
    """
    done = {} if work is None else _kept(work, json.loads(json.dumps(header)))
    wanted = {case.key for case in cases}
    for key in wanted & done.keys():
        on_row(done[key])
    with ExitStack() as stack:
        out = None if work is None else stack.enter_context(work.open("a", encoding="utf-8"))
        for key, row in _measured([case for case in cases if case.key not in done], measure, workers):
            done[key] = {"key": key, **row}
            if out is not None:
                out.write(json.dumps(done[key]) + "\n")
                out.flush()
            on_row(done[key])
    return [done[case.key] for case in cases]


def _measured(cases: Sequence[Case], measure: Callable[[Case], Row], workers: int) -> Iterator[tuple[str, Row]]:
    if workers <= 1:
        for case in cases:
            yield case.key, measure(case)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_end_with, initargs=(os.getpid(),)) as pool:
        futures = {pool.submit(measure, case): case.key for case in cases}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with(parent: int) -> None:
    """This worker ends soon after the process that began it.

    A run that is killed cannot tell its workers: they would finish what they hold, then wait and keep their memory.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _kept(work: Path, header: Row) -> dict[str, Row]:
    """Rows of the work file; begins it with the header where it is not there, and drops a line cut short."""
    text = work.read_text(encoding="utf-8") if work.exists() else ""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    if not lines:
        work.parent.mkdir(parents=True, exist_ok=True)
        work.write_text(json.dumps({"header": header}) + "\n", encoding="utf-8")
        return {}
    begun = json.loads(lines[0]).get("header")
    if begun != header:
        differing = sorted(k for k in {*header, *(begun or {})} if (begun or {}).get(k) != header.get(k))
        raise OtherRun(
            f"{work} was begun with another {', '.join(differing)}; remove it to begin anew, or name another work file."
        )
    if "".join(lines) != text:
        work.write_text("".join(lines), encoding="utf-8")
    return {row["key"]: row for row in map(json.loads, lines[1:])}
