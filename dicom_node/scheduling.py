"""Calls the ticks. APScheduler with its memory store and nothing else: losing it loses nothing.

Each tick has at most one run at a time and a thread of its own to run in, so a long analysis delays no other tick.
Runs that were missed meanwhile become one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from dicom_node.app.ticks import Tick, TickHealth

log = structlog.get_logger(__name__)


class TickScheduler:
    """Runs ticks from `start` to `stop`."""

    def __init__(self, ticks: Sequence[Tick], *, health: TickHealth) -> None:
        self._ticks = tuple(ticks)
        self._health = health
        self._stopping = threading.Event()
        self._running = 0
        self._idle = threading.Condition()
        self._scheduler = BackgroundScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": ThreadPoolExecutor(max(1, len(self._ticks)))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )

    def start(self) -> None:
        """Begin to call every tick, the first time at once."""
        # It warns each time a run is skipped because the last one still goes on; for a worker that is the rule.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler.start()
        for tick in self._ticks:
            self._scheduler.add_job(
                self._run,
                "interval",
                args=(tick,),
                seconds=tick.period_s,
                id=tick.name,
                next_run_time=datetime.now(UTC),
            )

    def is_stopping(self) -> bool:
        """Whether `stop` was called: a worker gives its lease back then."""
        return self._stopping.is_set()

    def stop(self, *, timeout_s: float) -> bool:
        """Start no further run and wait for those under way; False where one was still running at the end.

        Its lease then runs out, or is taken back at the next start.
        """
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        deadline = time.monotonic() + timeout_s
        with self._idle:
            while self._running and (left_s := deadline - time.monotonic()) > 0:
                self._idle.wait(left_s)
            if self._running:
                log.warning("ticks_still_running_at_stop", count=self._running)
            return self._running == 0

    def _run(self, tick: Tick) -> None:
        with self._idle:
            if self._stopping.is_set():
                return
            self._running += 1
        try:
            self._health.run(tick)
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()
