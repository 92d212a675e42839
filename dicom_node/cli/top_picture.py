"""What `cspine-node top` draws. It names studies by their UID, and no patient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dicom_node.app.figures import Figures
from dicom_node.app.queries import WorklistRow
from dicom_node.cli.output import when
from dicom_node.cli.top_pulse import Pulse
from dicom_node.core.delivery import Channel, DeliveryState
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from dicom_node.core.worklist import WorklistState

_SHOWN = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRY_WAIT, DeliveryState.COMMIT_WAIT)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Everything of one moment. `figures` is None where the database did not answer; disk sizes are in bytes."""

    at: datetime
    ae_title: str
    pulse: Pulse
    rates: Mapping[str, float]
    figures: Figures | None
    rows: tuple[WorklistRow, ...]
    disk_free: int
    disk_reserve: int


def picture(frame: Frame) -> RenderableType:
    """The frame as lines and tables."""
    parts: list[RenderableType] = [_head(frame), _disk(frame), _rates(frame)]
    if frame.figures is None:
        return Group(*parts, Text("the database does not answer", style="bold red"))
    return Group(*parts, _queue(frame.figures, frame.at), _receivers(frame.figures, frame.at), _worklist(frame.rows))


def span(seconds: float) -> str:
    """A time in its largest unit that says something."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _head(frame: Frame) -> Text:
    style = "green" if frame.pulse.is_well else "bold red"
    return Text.assemble((frame.ae_title, "bold"), "  ", when(frame.at), "  ", (frame.pulse.words, style))


def _disk(frame: Frame) -> Text:
    is_full = frame.disk_free < frame.disk_reserve
    words = f"disk: {_bytes(frame.disk_free)} free, {_bytes(frame.disk_reserve)} kept in reserve"
    return Text(words + (": images are refused" if is_full else ""), style="bold red" if is_full else "")


def _rates(frame: Frame) -> Text:
    if not frame.rates:
        return Text("rates: –", style="dim")
    at = frame.rates
    return Text(
        f"rates: {at['images']:.1f} images/s, {_bytes(at['bytes'])}/s, {at['refused'] * 60:.1f} refused/min, "
        f"{at['analyses'] * 3600:.0f} analyses/h, {at['deliveries'] * 3600:.0f} deliveries/h"
    )


def _queue(figures: Figures, now: datetime) -> Text:
    receiving = figures.studies.get(StudyState.RECEIVING)
    line = Text(f"receiving: {receiving.count if receiving else 0}")
    for state in (JobState.QUEUED, JobState.RUNNING, JobState.RETRY_WAIT, JobState.FAILED):
        tally = figures.jobs.get(state)
        line.append("   ")
        words = f"{state.value}: {tally.count} (oldest {span(tally.age_s(now))})" if tally else f"{state.value}: 0"
        line.append(words, style="bold red" if tally and state is JobState.FAILED else "")
    line.append(f"   quarantine: {figures.quarantine.files}", style="yellow" if figures.quarantine.files else "")
    return line


def _receivers(figures: Figures, now: datetime) -> RenderableType:
    circuits = {(circuit.channel, circuit.peer): circuit for circuit in figures.circuits}
    known = {(channel, peer) for channel, peer, _ in figures.deliveries} | circuits.keys()
    if not known:
        return Text("nothing is on its way to a receiver", style="dim")
    table = _table("receiver", "channel", *(state.value for state in _SHOWN), "FAILED", "oldest", "reached")
    for channel, peer in sorted(known, key=lambda key: (key[1], key[0].value)):
        circuit = circuits.get((channel, peer))
        reached = f"not for {span((now - circuit.failing_since).total_seconds())}: {circuit.why}" if circuit else "yes"
        failed = _count(figures, channel, peer, DeliveryState.FAILED)
        table.add_row(
            peer,
            channel.value,
            *(str(_count(figures, channel, peer, state)) for state in _SHOWN),
            Text(str(failed), style="bold red" if failed else ""),
            span(_oldest_s(figures, channel, peer, now)),
            Text(reached, style="red" if circuit else ""),
        )
    return table


def _count(figures: Figures, channel: Channel, peer: str, state: DeliveryState) -> int:
    tally = figures.deliveries.get((channel, peer, state))
    return tally.count if tally else 0


def _oldest_s(figures: Figures, channel: Channel, peer: str, now: datetime) -> float:
    ages = [tally.age_s(now) for key, tally in figures.deliveries.items() if key[:2] == (channel, peer)]
    return max(ages, default=0.0)


def _worklist(rows: Iterable[WorklistRow]) -> RenderableType:
    table = _table("status", "study", "last image", "images", "from", "fracture", "why")
    for row in rows:
        needs_somebody = row.status.state is WorklistState.NEEDS_ATTENTION
        table.add_row(
            Text(row.status.state.value, style="bold red" if needs_somebody else ""),
            Text(row.study.study_instance_uid),
            when(row.study.last_received_at),
            str(row.study.instance_count),
            Text(row.study.calling_aet),
            _finding(row),
            Text(row.status.why),
        )
    return table if table.row_count else Text("no studies", style="dim")


def _finding(row: WorklistRow) -> Text:
    if row.is_positive is None:
        return Text("–")
    words = f"{', '.join(row.positive_levels) or 'yes'} {row.probability:.2f}" if row.is_positive else "no"
    return Text(words, style="bold" if row.is_positive else "")


def _table(*columns: str) -> Table:
    return Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"
