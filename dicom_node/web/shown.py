"""What the templates show: read models turned into words, in pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.app.index_instance import UNFINISHED
from dicom_node.app.operator_actions import RETRIABLE_DELIVERIES, RETRIABLE_JOBS
from dicom_node.app.queries import StudyDetail, WorklistRow
from dicom_node.catalogues import N_
from dicom_node.core.delivery import Delivery
from dicom_node.core.finding import LEVELS
from dicom_node.core.history import HistoryEntry
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.study import StudyIntake, StudyState
from dicom_node.core.worklist import WorklistState, WorklistStatus
from dicom_node.web.language import number, say, told, word

_OVERVIEWS = {"sagittal": N_("The neck from the side"), "coronal": N_("The neck from the front")}
_STAGES = {
    "read": N_("reading"),
    "localise": N_("finding the levels"),
    "classify": N_("looking for fractures"),
    "encode": N_("writing the results"),
    "total": N_("in all"),
}


@dataclass(frozen=True, kw_only=True)
class LevelChip:
    """One level: `look` is positive, negative, partly or none; `words` say the same in full. `probability` is None
    where the level was not assessed."""

    level: str
    look: str
    text: str
    words: str
    probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """A line of the worklist."""

    study: StudyIntake
    status: WorklistStatus
    levels: tuple[LevelChip, ...]
    probability: float | None
    is_positive: bool | None
    delivered_after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ShownSeries:
    """A series and its part in the analysis."""

    uid: str
    modality: str
    images: int
    part: str
    is_chosen: bool


@dataclass(frozen=True, kw_only=True)
class ShownDelivery:
    """A delivery with every move of it, and whether it can be sent again now."""

    delivery: Delivery
    moves: tuple[HistoryEntry, ...]
    may_retry: bool


@dataclass(frozen=True, kw_only=True)
class Offers:
    """What makes sense to do to a study now."""

    close: bool = False
    cancel: bool = False
    retry: bool = False
    again: bool = False

    @property
    def are_any(self) -> bool:
        """Whether there is anything."""
        return self.close or self.cancel or self.retry or self.again


_MOVING = (WorklistState.RECEIVING, WorklistState.WAITING, WorklistState.ANALYSING, WorklistState.SENDING)


@dataclass(frozen=True, kw_only=True)
class ShownStudy:
    """The study page."""

    study: StudyIntake
    status: WorklistStatus
    levels: tuple[LevelChip, ...]
    overall: dict[str, Any] | None
    outcome: str
    reason: str
    quality: tuple[str, ...]
    bundle: str
    device: str
    timings: tuple[tuple[str, float], ...]
    series: tuple[ShownSeries, ...]
    jobs: tuple[AnalysisJob, ...]
    deliveries: tuple[ShownDelivery, ...]
    history: tuple[HistoryEntry, ...]
    offers: Offers

    @property
    def is_moving(self) -> bool:
        """Whether it will soon stand elsewhere, and nobody needs to do anything for it."""
        return self.status.state in _MOVING


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What an analysis left for people: pictures and a report."""

    pictures: tuple[Path, ...] = ()
    report: Path | None = None


def shown_row(row: WorklistRow) -> ShownRow:
    """The line for a study."""
    result = (row.job.result if row.job is not None else None) or {}
    return ShownRow(
        study=row.study,
        status=row.status,
        levels=level_chips(result),
        probability=row.probability,
        is_positive=row.is_positive,
        delivered_after_s=row.delivered_after_s,
    )


def shown_study(detail: StudyDetail) -> ShownStudy:
    """The page for a study."""
    result = detail.result or {}
    bundle = result.get("bundle") or {}
    return ShownStudy(
        study=detail.study,
        status=detail.status,
        levels=level_chips(result),
        overall=_overall(result),
        outcome=str(result.get("outcome", "")),
        reason=str(result.get("reason") or ""),
        quality=tuple(result.get("quality", ())),
        bundle=f"{bundle['name']} {bundle['version']} ({bundle['sha256'][:12]})" if bundle.get("name") else "",
        device=str(result.get("device", "")),
        timings=tuple(
            (say(_STAGES.get(stage, stage)), float(seconds)) for stage, seconds in result.get("timings_s", {}).items()
        ),
        series=_series(detail, result.get("series") or {}),
        jobs=detail.jobs,
        deliveries=tuple(_delivery(delivery, detail) for delivery in detail.deliveries),
        history=detail.history,
        offers=_offers(detail),
    )


def level_chips(result: dict[str, Any]) -> tuple[LevelChip, ...]:
    """C1 to C7 as the result has them; empty without a result."""
    if result.get("outcome") != "analysed":
        return ()
    by_name = {level["level"]: level for level in result.get("levels", ())}
    return tuple(_chip(name, by_name.get(name, {})) for name in LEVELS)


def leftovers_of(job_folder: Path) -> Leftovers:
    """The report and the pictures beside it, of the latest attempt that left some; nothing where there are none."""
    reports = sorted(job_folder.rglob("report.html"), key=_age)
    pictures = sorted(job_folder.rglob("pictures/*.png"), key=_age)
    if pictures:
        latest = pictures[-1].parent
        pictures = sorted(path for path in pictures if path.parent == latest)
        # The overview of the whole spine comes before the key slices.
        pictures.sort(key=lambda path: (not path.stem.startswith("sagittal"), path.name))
    return Leftovers(pictures=tuple(pictures), report=reports[-1] if reports else None)


def picture_title(stem: str) -> str:
    """What a picture of the analysis shows, by the name of its file; an unknown one as it is called."""
    if stem in _OVERVIEWS:
        return say(_OVERVIEWS[stem])
    level, _, side = stem.removeprefix("key_").partition("_")
    if not stem.startswith("key_") or side not in ("", "sagittal"):
        return stem.replace("_", " ").replace("-", " ")
    return say("{level}: key slice, sagittal", level=level) if side else say("{level}: key slice", level=level)


def person(name: str) -> str:
    """A person name (PS3.5 6.2.1.1) as people write it: the first component group, then the others in brackets."""
    groups = [_one_group(group) for group in name.split("=")]
    spoken = [group for group in groups if group]
    return spoken[0] + "".join(f" ({group})" for group in spoken[1:]) if spoken else ""


def _one_group(group: str) -> str:
    family, *given = [part.strip() for part in group.split("^")]
    rest = " ".join(part for part in given[:2] if part)
    return ", ".join(part for part in (family, rest) if part)


def _age(path: Path) -> tuple[float, str]:
    return path.stat().st_mtime, str(path)


def _chip(name: str, level: dict[str, Any]) -> LevelChip:
    probability = level.get("probability")
    if probability is None:
        is_partly = level.get("status") == "partly_in_field_of_view"
        sentence = (
            N_("{level}: partly in the field of view, not assessed") if is_partly else N_("{level}: not assessed")
        )
        return LevelChip(level=name, look="partly" if is_partly else "none", text="–", words=say(sentence, level=name))
    sentence = (
        N_("{level}: fracture suspected, probability {probability}, threshold {threshold}")
        if level["fracture"]
        else N_("{level}: no fracture suspected, probability {probability}, threshold {threshold}")
    )
    figures = {"probability": number(probability, 2), "threshold": number(level["threshold"], 2)}
    return LevelChip(
        level=name,
        look="positive" if level["fracture"] else "negative",
        text=figures["probability"],
        words=say(sentence, level=name, **figures),
        probability=probability,
    )


def _delivery(delivery: Delivery, detail: StudyDetail) -> ShownDelivery:
    return ShownDelivery(
        delivery=delivery,
        moves=tuple(entry for entry in detail.history if entry.subject == f"delivery:{delivery.id}"),
        may_retry=delivery.state in RETRIABLE_DELIVERIES,
    )


def _offers(detail: StudyDetail) -> Offers:
    if detail.study.state is not StudyState.CLOSED or detail.job is None:
        return Offers(close=detail.study.state is StudyState.RECEIVING)
    state = detail.job.state
    return Offers(cancel=state in UNFINISHED, retry=state in RETRIABLE_JOBS, again=state is JobState.DONE)


def _overall(result: dict[str, Any]) -> dict[str, Any] | None:
    overall = result.get("patient_overall") or {}
    return overall if overall.get("probability") is not None else None


def _series(detail: StudyDetail, selection: dict[str, Any]) -> tuple[ShownSeries, ...]:
    rejected = {entry["series_instance_uid"]: entry for entry in selection.get("rejected", ())}
    chosen = selection.get("chosen")

    def part(uid: str) -> str:
        if uid == chosen:
            return say("analysed")
        entry = rejected.get(uid)
        if entry is None:
            return "–"
        return say("left out ({rule}): {detail}", rule=word(entry["rule"]), detail=told(entry["detail"]))

    shown = [
        ShownSeries(
            uid=series.series_instance_uid,
            modality=series.modality or "–",
            images=len(series.instances),
            part=part(series.series_instance_uid),
            is_chosen=series.series_instance_uid == chosen,
        )
        for series in detail.series
    ]
    return tuple(sorted(shown, key=lambda series: not series.is_chosen))
