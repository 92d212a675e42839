"""Logs and metrics: what the node says about itself, without saying anything about a patient.

Logs are structlog events on standard error. Two guards stand before the renderer, because a slip in one call among
hundreds must not put a patient into a log file: keys that name patient data are masked, and values that are no plain
values are replaced by their type. A traceback keeps its places and loses the text of exceptions that are not ours,
which may quote a data set.

What is counted is declared here, once; what is looked up when the page is read, in `gauges`. A name that is not
declared is a mistake in our code and raises; a test compares the names with those the node counts under.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from dicom_node.core.errors import NodeError
from dicom_node.gauges import PREFIX, GaugeCollector, Source

PATIENT_KEYS = re.compile(r"patient|birth|accession|(^|_)(pn|mrn|data_?set|ds)$|referring|physician", re.IGNORECASE)
MASKED = "(withheld)"
# These quote element values in their messages.
_SILENT_LIBRARIES = ("pydicom", "pynetdicom", "highdicom", "apscheduler")

_Event = dict[str, Any]


def configure_logging(
    level: Literal["debug", "info", "warning", "error"] = "info", format: Literal["auto", "console", "json"] = "auto"
) -> None:
    """Log events go to standard error from here on, at `level` and above, one line each (a traceback follows)."""
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        withhold_patient_data,
        places_of_exception,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("dicom_node").setLevel(level.upper())
    logging.getLogger("storage").setLevel(level.upper())
    for library in _SILENT_LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)


def withhold_patient_data(logger: Any, method: str, event: _Event) -> _Event:
    """Masks keys that name patient data, and values that are no plain values (a data set, a record)."""
    return {key: _harmless(key, value) for key, value in event.items()}


def places_of_exception(logger: Any, method: str, event: _Event) -> _Event:
    """Replaces `exc_info` by `exception`: type and places of each exception in the chain, text only of our own."""
    info = event.pop("exc_info", None)
    if not info:
        return event
    error = info if isinstance(info, BaseException) else (info[1] if isinstance(info, tuple) else sys.exc_info()[1])
    if error is not None:
        event["exception"] = "\n".join(_chain(error))
    return event


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what sys.stderr is when an event comes, not to what it was at the start."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:  # type: ignore[override]
        return sys.stderr


def _harmless(key: str, value: Any) -> Any:
    if key in ("exc_info", "event", "_record", "_from_structlog"):
        return value
    if PATIENT_KEYS.search(key):
        return MASKED
    if value is None or isinstance(value, (bool, int, float, Path, datetime, date)):
        return str(value) if isinstance(value, (Path, date)) else value
    # A pydicom PersonName is no str, a UID is one.
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_harmless("", member) for member in value]
    if isinstance(value, Mapping):
        return {str(name): _harmless(str(name), member) for name, member in value.items()}
    return f"({type(value).__name__} {MASKED[1:]}"


def _chain(error: BaseException) -> Iterable[str]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        words = f": {current}" if isinstance(current, (NodeError, OSError)) else ""
        yield f"{type(current).__name__}{words}"
        yield from _places(current.__traceback__)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _places(trace: TracebackType | None) -> Iterable[str]:
    for frame in traceback.extract_tb(trace):
        yield f"  {frame.filename}:{frame.lineno} {frame.name}"


_FAST_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600, 1800)
_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: `buckets` make it a histogram (observed), without them it is a counter (counted)."""

    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: Mapping[str, Metric] = {
    "instances_received": Metric(help="Newly stored SOP Instances.", labels=("calling_aet",)),
    "bytes_received": Metric(
        help="Size of newly stored SOP Instances, bytes.", buckets=(2**16, 2**18, 2**19, 2**20, 2**22, 2**25, 2**30)
    ),
    "instances_rejected": Metric(help="SOP Instances answered with a failure.", labels=("reason",)),
    "instances_repeated": Metric(help="Identical re-sends.", labels=("calling_aet",)),
    "instances_conflicting": Metric(help="The same UID with other content, kept aside.", labels=("calling_aet",)),
    "instances_set_aside": Metric(help="Instances put into quarantine, by reason.", labels=("reason",)),
    "instances_not_kept_aside": Metric(
        help="Refused instances of which no copy was kept because quarantine is full.", labels=("reason",)
    ),
    "audit_messages": Metric(help="Audit messages recorded, by event.", labels=("event",)),
    "audit_failures": Metric(help="Audit messages that could not be written or sent at once.", labels=("sink",)),
    "audit_lost": Metric(help="Audit messages given up because too many wait.", labels=("sink",)),
    "images_decoded_ahead": Metric(
        help="Images that were to be decoded before their study is analysed, by what became of them.",
        labels=("outcome",),
    ),
    "compressed_frames_read": Metric(
        help="Compressed frames that analyses have read, by whether they were decoded ahead or only then.",
        labels=("decoded",),
    ),
    "studies_purged": Metric(help="Finished studies whose files were removed by [retention]."),
    "studies_closed": Metric(help="Studies closed, by what closed them.", labels=("event",)),
    "jobs_finished": Metric(help="Attempts at an analysis, by how they ended.", labels=("outcome",)),
    "deliveries_finished": Metric(help="Attempts at a delivery, by how they ended.", labels=("outcome", "peer")),
    "stage_seconds": Metric(help="Stages of analyses with a result.", labels=("stage",), buckets=_FAST_S),
    "score": Metric(help="Probabilities of a fracture, by level.", labels=("level",), buckets=_TENTHS),
    "analysis_seconds": Metric(help="From claiming a job to its result.", buckets=_FAST_S),
    "seconds_from_last_image_to_stored_result": Metric(
        help="From a study's last image to its results stored at a peer.", labels=("peer",), buckets=_FAST_S
    ),
    "connections_refused": Metric(help="TCP connections closed before any DICOM.", labels=("rule",)),
    "associations_accepted": Metric(help="Associations accepted.", labels=("calling_aet",)),
    "associations_rejected": Metric(help="Associations rejected, by the rule that said no.", labels=("rule",)),
    "associations_ended": Metric(help="Accepted associations by how they ended.", labels=("how",)),
    "protocol_errors": Metric(help="Violations of the upper layer protocol.", labels=("rule",)),
    "receiving_processes_lost": Metric(help="Receiving processes that died and were replaced."),
    "echoes": Metric(help="C-ECHO requests answered.", labels=("calling_aet",)),
}
# Who calls is in a label, and somebody could call under ever new names.
MOST_SERIES = 200
OTHER = "other"


class PrometheusCounters:
    """The port `Counters` on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._gauges = GaugeCollector()
        self.registry.register(self._gauges)
        self._metrics = {name: self._declare(name, metric) for name, metric in METRICS.items()}
        self._known: dict[str, set[tuple[str, ...]]] = {name: set() for name in METRICS}
        self._guard = threading.Lock()

    def count(self, name: str, **labels: str) -> None:
        """One more. Raises KeyError or ValueError for a name or labels that are not declared: a mistake of ours."""
        self._series(name, labels).inc()

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One more value. Raises as `count`."""
        self._series(name, labels).observe(value)

    def watch(self, *sources: Source) -> None:
        """These are asked for their samples whenever the metrics page is read."""
        self._gauges.watch(*sources)

    def _series(self, name: str, labels: dict[str, str]) -> Any:
        """What counts under these labels; beyond `MOST_SERIES` sets of them all further ones count as "other"."""
        metric = self._metrics[name]
        if not labels:
            return metric
        values = tuple(labels.values())
        with self._guard:
            known = self._known[name]
            if values not in known and len(known) >= MOST_SERIES:
                labels = dict.fromkeys(labels, OTHER)
            else:
                known.add(values)
        return metric.labels(**labels)

    def _declare(self, name: str, metric: Metric) -> Any:
        full = f"{PREFIX}_{name}"
        if metric.buckets:
            return Histogram(full, metric.help, metric.labels, buckets=metric.buckets, registry=self.registry)
        return Counter(full, metric.help, metric.labels, registry=self.registry)
