"""What the metrics page shows as it is when the page is read, beside what was counted since the start.

`GAUGES` declares every name with its labels, once. A source gives samples; it gives none of what cannot be said now, so
that a value that is shown is always a true one. Label values are the node's own words and the names of configured
peers: what somebody on the network sends is never one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dicom_node.app.figures import Figures
from dicom_node.app.ticks import TickReport
from dicom_node.core.job import UNSETTLED
from dicom_node.core.study import StudyState

PREFIX = "cspine"


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """A gauge's help, with its unit, and its labels."""

    help: str
    labels: tuple[str, ...] = ()


_RECEIVER = ("peer", "channel")

GAUGES: Mapping[str, Gauge] = {
    "node_info": Gauge(help="1; which version of the node this is.", labels=("version", "ae_title")),
    "database_up": Gauge(help="1 while the database answers."),
    "receiver_up": Gauge(help="1 while the receiver listens on every port it is to listen on."),
    "configuration_refused": Gauge(help="1 while the configuration file as it stands is not in use."),
    "tick_healthy": Gauge(help="1 while the tick succeeds often enough.", labels=("tick",)),
    "tick_last_success_timestamp_seconds": Gauge(help="When the tick last succeeded.", labels=("tick",)),
    "associations_open": Gauge(help="Associations that are open now."),
    "receiving_processes_up": Gauge(help="Receiving processes beside the node's own that are up."),
    "associations_lent": Gauge(help="Open associations that they read."),
    "studies": Gauge(help="Studies by state.", labels=("state",)),
    "receiving_longest_silence_seconds": Gauge(help="Since the last image of the study that waits longest for one."),
    "jobs": Gauge(help="Analyses of which something is still to come, by state.", labels=("state",)),
    "job_oldest_age_seconds": Gauge(help="Since the oldest of them was queued.", labels=("state",)),
    "deliveries": Gauge(help="Deliveries that are not finished, by receiver and state.", labels=(*_RECEIVER, "state")),
    "delivery_oldest_age_seconds": Gauge(help="Since the oldest of them was made.", labels=(*_RECEIVER, "state")),
    "circuit_open": Gauge(help="1: the receiver is left alone and probed; 0: it failed a few times.", labels=_RECEIVER),
    "circuit_failing_since_timestamp_seconds": Gauge(help="Since when it could not be reached.", labels=_RECEIVER),
    "commitment_duties_unfinished": Gauge(help="Storage commitments that senders asked for and wait for."),
    "quarantine_files": Gauge(help="Files that wait in quarantine."),
    "quarantine_bytes": Gauge(help="Their size, bytes."),
    "audit_spool_messages": Gauge(help="Audit messages that wait to be sent."),
    "disk_free_bytes": Gauge(help="Free space in data_dir, bytes."),
    "disk_size_bytes": Gauge(help="Size of the file system of data_dir, bytes."),
    "disk_reserve_bytes": Gauge(help="Below this much free space images are refused, bytes."),
    "decoded_ahead_bytes": Gauge(help="Frames that lie decoded for analyses to come, bytes."),
    "decode_ahead_waiting": Gauge(help="Images that wait to be decoded ahead."),
    "certificate_expiry_timestamp_seconds": Gauge(help="When it ends, by what it is for.", labels=("use",)),
    "gpu_memory_used_bytes": Gauge(help="Memory of the GPU that is in use, bytes.", labels=("gpu",)),
    "gpu_memory_size_bytes": Gauge(help="Memory of the GPU, bytes.", labels=("gpu",)),
    "gpu_utilization_ratio": Gauge(help="Share of the last second in which the GPU worked, 0 to 1.", labels=("gpu",)),
    "drift_verdict": Gauge(
        help="0 stable, 1 watch, 2 drifted: recent scores beside the reference.", labels=("quantity",)
    ),
    "drift_psi": Gauge(help="Population stability index beyond what chance gives.", labels=("quantity",)),
    "drift_studies": Gauge(help="Recent studies that were compared."),
}

Sample = tuple[str, tuple[str, ...], float]
"""A name of `GAUGES`, the values of its labels in their order, and the number."""
Source = Callable[[], Iterable[Sample]]


class GaugeCollector(Collector):
    """Asks every source when the page is read. A source must not raise; one that cannot answer gives nothing."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def watch(self, *sources: Source) -> None:
        """These are asked too from now on."""
        self._sources += sources

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Every family, those without a sample too. Raises KeyError for a name that is not declared: ours to mend."""
        families = {
            name: GaugeMetricFamily(f"{PREFIX}_{name}", gauge.help, labels=gauge.labels)
            for name, gauge in GAUGES.items()
        }
        for source in self._sources:
            for name, labels, value in source():
                if len(labels) != len(GAUGES[name].labels):
                    raise ValueError(f"{name} has the labels {GAUGES[name].labels}, and was given {labels}")
                families[name].add_metric(labels, value)
        return families.values()


def tick_samples(reports: Iterable[TickReport]) -> Iterable[Sample]:
    """The ticks as they are."""
    for report in reports:
        yield "tick_healthy", (report.name,), float(report.is_healthy)
        if report.last_success_at is not None:
            yield "tick_last_success_timestamp_seconds", (report.name,), report.last_success_at.timestamp()


def figure_samples(figures: Figures | None, now: datetime) -> Iterable[Sample]:
    """What the database says; that it says nothing for None. A state without a study or job is 0."""
    yield "database_up", (), float(figures is not None)
    if figures is None:
        return
    for study_state in StudyState:
        tally = figures.studies.get(study_state)
        yield "studies", (study_state.value,), float(tally.count if tally else 0)
    receiving = figures.studies.get(StudyState.RECEIVING)
    yield "receiving_longest_silence_seconds", (), receiving.age_s(now) if receiving else 0.0
    for state in UNSETTLED:
        waiting = figures.jobs.get(state)
        yield "jobs", (state.value,), float(waiting.count if waiting else 0)
        yield "job_oldest_age_seconds", (state.value,), waiting.age_s(now) if waiting else 0.0
    yield from _receiver_samples(figures, now)
    yield "commitment_duties_unfinished", (), float(figures.unfinished_duties)
    yield "quarantine_files", (), float(figures.quarantine.files)
    yield "quarantine_bytes", (), float(figures.quarantine.size_bytes)


def _receiver_samples(figures: Figures, now: datetime) -> Iterable[Sample]:
    for (channel, peer, state), tally in figures.deliveries.items():
        labels = (peer, channel.value, state.value)
        yield "deliveries", labels, float(tally.count)
        yield "delivery_oldest_age_seconds", labels, tally.age_s(now)
    for circuit in figures.circuits:
        labels_of_receiver = (circuit.peer, circuit.channel.value)
        yield "circuit_open", labels_of_receiver, float(circuit.is_open)
        yield "circuit_failing_since_timestamp_seconds", labels_of_receiver, circuit.failing_since.timestamp()
