"""What the node does again and again, and whether it still does.

A tick is a function that looks at rows and moves what can be moved; it may run at any time, twice, or not at all for
a while. `TickHealth` remembers when each last succeeded, so that `/healthz` can turn red.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from dicom_node.app.close_studies import CloseStudies
from dicom_node.app.commitment_duties import CommitmentDuties
from dicom_node.app.deliver_results import DeliverResults
from dicom_node.app.report_status import ReportStatus
from dicom_node.app.requeue import Requeue
from dicom_node.app.run_analysis import RunAnalysis
from dicom_node.ports import Clock

log = structlog.get_logger(__name__)

STALE_AFTER_PERIODS = 30.0


@dataclass(frozen=True, kw_only=True)
class Tick:
    """`call` every `period_s`; without a success for `stale_after_s` the node is unhealthy."""

    name: str
    call: Callable[[], object]
    period_s: float
    stale_after_s: float


@dataclass(frozen=True, kw_only=True)
class TickReport:
    """How one tick fares. `failure` is the kind of its last error, empty after a success."""

    name: str
    is_healthy: bool
    last_success_at: datetime | None
    failure: str


class TickHealth:
    """Runs ticks and remembers how they ended. Safe for any number of threads."""

    def __init__(self, ticks: Sequence[Tick], *, clock: Clock) -> None:
        self._clock = clock
        self._ticks = {tick.name: tick for tick in ticks}
        self._started_at = clock.now()
        self._succeeded_at: dict[str, datetime] = {}
        self._failures: dict[str, str] = {}
        self._guard = threading.Lock()

    def run(self, tick: Tick) -> None:
        """Call the tick; a failure is logged and remembered, and never leaves here: the next call may succeed."""
        try:
            tick.call()
        except Exception as error:
            with self._guard:
                self._failures[tick.name] = type(error).__name__
            log.exception("tick_failed", tick=tick.name)
        else:
            with self._guard:
                self._failures.pop(tick.name, None)
                self._succeeded_at[tick.name] = self._clock.now()

    def reports(self) -> tuple[TickReport, ...]:
        """Each tick's state now."""
        now = self._clock.now()
        with self._guard:
            return tuple(self._report(tick, now) for tick in self._ticks.values())

    @property
    def is_healthy(self) -> bool:
        """Whether every tick has succeeded recently enough."""
        return all(report.is_healthy for report in self.reports())

    def _report(self, tick: Tick, now: datetime) -> TickReport:
        succeeded_at = self._succeeded_at.get(tick.name)
        silent_s = (now - (succeeded_at or self._started_at)).total_seconds()
        return TickReport(
            name=tick.name,
            is_healthy=silent_s <= tick.stale_after_s,
            last_success_at=succeeded_at,
            failure=self._failures.get(tick.name, ""),
        )


def node_ticks(
    *,
    close_studies: CloseStudies,
    requeue: Requeue,
    run_analysis: RunAnalysis,
    deliver_results: DeliverResults,
    report_status: ReportStatus,
    notices: Mapping[str, DeliverResults],
    commitment_duties: CommitmentDuties,
    is_stopping: Callable[[], bool],
    period_s: float = 1.0,
    analysis_workers: int = 1,
    delivery_workers: int = 2,
    longest_analysis_s: float = 900.0,
    longest_delivery_s: float = 300.0,
) -> tuple[Tick, ...]:
    """The ticks of a node. A worker is a tick that does one job; one that takes long is busy, not stale.

    `notices` has a worker for each channel of notifications, so that a dead receiver keeps nothing else waiting.
    """
    stale_after_s = STALE_AFTER_PERIODS * period_s

    return (
        Tick(name="close_studies", call=close_studies.tick, period_s=period_s, stale_after_s=stale_after_s),
        Tick(name="requeue", call=requeue.tick, period_s=period_s, stale_after_s=stale_after_s),
        Tick(
            name="report_status",
            call=report_status.tick,
            period_s=period_s,
            stale_after_s=stale_after_s + longest_delivery_s,
        ),
        Tick(
            name="report_commitments",
            call=commitment_duties.step,
            period_s=period_s,
            stale_after_s=stale_after_s + longest_delivery_s,
        ),
        *(
            Tick(
                name=f"notify_{channel}",
                call=worker.step,
                period_s=period_s,
                stale_after_s=stale_after_s + longest_delivery_s,
            )
            for channel, worker in notices.items()
        ),
        *(
            Tick(
                name=f"analyse_{number}",
                call=partial(run_analysis.step, is_stopping),
                period_s=period_s,
                stale_after_s=stale_after_s + longest_analysis_s,
            )
            for number in range(1, analysis_workers + 1)
        ),
        *(
            Tick(
                name=f"deliver_{number}",
                call=deliver_results.step,
                period_s=period_s,
                stale_after_s=stale_after_s + longest_delivery_s,
            )
            for number in range(1, delivery_workers + 1)
        ),
    )
