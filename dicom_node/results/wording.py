"""What the analysis says, in sentences: the same for the text SR, the PDF and the page.

Pure: `result.json` and what a reader knows the images by go in, sentences in the readers' language come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.core.finding import LevelStatus, Outcome
from dicom_node.results import remarks
from dicom_node.results.calls import OVERALL, Call, calls
from dicom_node.results.words import N_, Words

POSITIVE, NEGATIVE, NEITHER = "positive", "negative", "neither"
SYNTHETIC = "synthetic data only"

_LEVEL_SENTENCES = {
    Call.PRESENT: N_("{level}: suspicious for fracture, probability {probability} (threshold {threshold})."),
    Call.ABSENT: N_("{level}: no fracture found, probability {probability} (threshold {threshold})."),
    Call.UNDETERMINED: N_(
        "{level}: undetermined. The probability of {probability} is below the threshold of {threshold}, but the"
        " cervical spine as a whole is suspicious."
    ),
}
_OVERALL_SENTENCES = {
    True: N_(
        "{level}: probability {probability}, below the threshold of {threshold}, yet single levels are suspicious."
    ),
    False: N_("{level}: probability {probability}, below the threshold of {threshold}; not every level was assessed."),
}
_NOT_ASSESSED = {
    LevelStatus.PARTLY_IN_FIELD_OF_VIEW.value: N_("only partly in the field of view"),
    LevelStatus.NOT_ASSESSED.value: N_("not found in the field of view"),
}
_OVERVIEWS = {"sagittal": N_("The spine from the side"), "coronal": N_("The spine from the front")}
_NOT_ANALYSED = {
    Outcome.NOT_APPLICABLE.value: N_("Not analysed, the AI is not applicable to this study: {reason}"),
    Outcome.FAILED.value: N_("Not analysed, the AI analysis failed: {reason}"),
    Outcome.NOT_RUN.value: N_("Not analysed, the AI analysis was not run: {reason}"),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """The image to look at: Instance Number, or the frame of a multiframe image, and Series Number where known."""

    image: int
    series: int | None = None


@dataclass(frozen=True, kw_only=True)
class SeriesShown:
    """What a reader knows the analysed series by. Lengths in mm; None and empty where the headers are silent."""

    images: int
    number: int | None = None
    description: str = ""
    thickness_mm: float | None = None
    spacing_mm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Which software and which model spoke, and from what the model learnt."""

    software: str
    bundle: str
    trained_on: str = SYNTHETIC
    levels_named_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The first sentence. `kind` is POSITIVE, NEGATIVE or NEITHER; unseen levels are never called negative."""

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class LevelSaid:
    """A level's sentence; `call` is None where it was not assessed."""

    level: str
    call: Call | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Narrative:
    """A whole report in sentences, in the order in which it is read.

    `levels` are C1 to C7 and, where there is one, the cervical spine as a whole. `changes` compare with an earlier
    report on the study and are empty where there is none.
    """

    language: str
    title: str
    verdict: Verdict
    changes: tuple[str, ...]
    levels: tuple[LevelSaid, ...]
    looked_at: tuple[str, ...]
    quality: tuple[str, ...]
    limits: tuple[str, ...]


def narrate(
    result_json: Mapping[str, Any],
    words: Words,
    *,
    maker: Maker,
    series: SeriesShown | None = None,
    places: Mapping[str, Place] | None = None,
    changes: tuple[str, ...] = (),
) -> Narrative:
    """The report on a study, analysed or not. `places` are the key images of suspicious levels."""
    return Narrative(
        language=words.language,
        title=title(words),
        verdict=verdict(result_json, words),
        changes=changes,
        levels=_levels(result_json, words, places or {}),
        looked_at=_looked_at(result_json, words, maker, series),
        quality=remarks.quality_notes(result_json["quality"], words),
        limits=limits(words, maker.trained_on) if _is_analysed(result_json) else _silence(words),
    )


def title(words: Words) -> str:
    """What the report is about."""
    return words("Cervical spine CT: AI fracture findings")


def notice(words: Words, trained_on: str) -> str:
    """The sentence that stands on everything the node says."""
    if not trained_on:
        return words("AI result, not a diagnosis.")
    if trained_on == SYNTHETIC:
        return words("AI result, not a diagnosis. Trained on synthetic data.")
    return words("AI result, not a diagnosis. Trained on: {data}.", data=trained_on)


def limits(words: Words, trained_on: str) -> tuple[str, ...]:
    """What the findings are not."""
    return (
        notice(words, trained_on),
        words(
            "Only fractures of the vertebrae C1 to C7 were looked for. Alignment, discs, ligaments, spinal canal, soft"
            " tissues and other regions were not assessed."
        ),
        words("The result has to be confirmed on the images by a physician."),
    )


def _silence(words: Words) -> tuple[str, ...]:
    return (words("Nothing is said about fractures: the study has to be read as one that no AI has seen."),)


def _is_analysed(result_json: Mapping[str, Any]) -> bool:
    return bool(result_json["outcome"] == Outcome.ANALYSED.value)


def verdict(result_json: Mapping[str, Any], words: Words) -> Verdict:
    """The whole result in one or two sentences."""
    if not _is_analysed(result_json):
        why = remarks.reason(str(result_json["reason"]), words)
        return Verdict(kind=NEITHER, text=words(_NOT_ANALYSED[result_json["outcome"]], reason=why))
    levels = result_json["levels"]
    suspicious = [entry["level"] for entry in levels if entry["fracture"]]
    unseen = [entry["level"] for entry in levels if entry["status"] != LevelStatus.ASSESSED.value]
    if not suspicious and not result_json["patient_overall"]["fracture"] and len(unseen) == len(levels):
        return Verdict(kind=NEITHER, text=words("No level could be assessed."))
    rest = " " + words("Not assessed: {levels}.", levels=words.listed(unseen)) if unseen else ""
    if suspicious:
        said = words("Suspicious for fracture: {levels}.", levels=words.listed(suspicious))
        return Verdict(kind=POSITIVE, text=said + rest)
    if result_json["patient_overall"]["fracture"]:
        return Verdict(kind=POSITIVE, text=words("Suspicious for fracture, but no single level stands out.") + rest)
    if unseen:
        return Verdict(kind=NEITHER, text=words("No fracture found in the assessed levels.") + rest)
    return Verdict(kind=NEGATIVE, text=words("No fracture found."))


def why_not_assessed(status: str, words: Words) -> str:
    """One phrase; empty for an assessed level."""
    return words(_NOT_ASSESSED[status]) if status in _NOT_ASSESSED else ""


def not_assessed(level: str, status: str, words: Words) -> str:
    """The sentence of a level without an answer."""
    return words("{level}: not assessed, {why}.", level=level, why=why_not_assessed(status, words))


def picture_caption(name: str, words: Words) -> str:
    """What a picture shows, by the name of its view."""
    if name in _OVERVIEWS:
        return words(_OVERVIEWS[name])
    level, _, plane = name.removeprefix("key_").partition("_")
    return words("{name}: key image", name=words.listed([level, words(plane)] if plane else [level]))


def call_words(call: Call | None, words: Words) -> str:
    """A call in two words, for tables and comparisons."""
    match call:
        case Call.PRESENT:
            return words("suspicious")
        case Call.ABSENT:
            return words("no fracture found")
        case Call.UNDETERMINED:
            return words("undetermined")
        case None:
            return words("not assessed")


def _levels(result_json: Mapping[str, Any], words: Words, places: Mapping[str, Place]) -> tuple[LevelSaid, ...]:
    if not _is_analysed(result_json):
        return ()
    made = calls(result_json)
    said = [_level(entry, made[entry["level"]], places.get(entry["level"]), words) for entry in result_json["levels"]]
    overall = result_json["patient_overall"]
    if overall["probability"] is not None:
        said.append(_overall(overall, made, words))
    return tuple(said)


def _level(entry: Mapping[str, Any], call: Call | None, place: Place | None, words: Words) -> LevelSaid:
    level = str(entry["level"])
    if call is None:
        return LevelSaid(level=level, call=None, text=not_assessed(level, entry["status"], words))
    text = words(_LEVEL_SENTENCES[call], level=level, **_figures(entry, words))
    if call is Call.PRESENT and place is not None:
        text = f"{text} {_see(place, words)}"
    return LevelSaid(level=level, call=call, text=text)


def _overall(overall: Mapping[str, Any], made: Mapping[str, Call | None], words: Words) -> LevelSaid:
    call = made[OVERALL]
    sentence = _LEVEL_SENTENCES[call or Call.ABSENT]
    if call is Call.UNDETERMINED:
        sentence = _OVERALL_SENTENCES[Call.PRESENT in made.values()]
    text = words(sentence, level=words("Cervical spine as a whole"), **_figures(overall, words))
    return LevelSaid(level=OVERALL, call=call, text=text)


def _figures(entry: Mapping[str, Any], words: Words) -> dict[str, str]:
    return {"probability": words.percent(entry["probability"]), "threshold": words.percent(entry["threshold"])}


def _see(place: Place, words: Words) -> str:
    if place.series is None:
        return words("See image {image}.", image=place.image)
    return words("See image {image} of series {series}.", image=place.image, series=place.series)


def _looked_at(
    result_json: Mapping[str, Any], words: Words, maker: Maker, series: SeriesShown | None
) -> tuple[str, ...]:
    said = [] if series is None else [_series(series, words)]
    rejected: Sequence[Mapping[str, Any]] = result_json["series"]["rejected"]
    if rejected:
        why = remarks.rules(rejected, words)
        said.append(words("Other series of the study, not analysed: {count} ({why}).", count=len(rejected), why=why))
    if maker.bundle:
        said.append(words("Software: {software}; model: {bundle}.", software=maker.software, bundle=maker.bundle))
    if maker.levels_named_by:
        said.append(words("The levels were named by {localiser}.", localiser=maker.levels_named_by))
    return tuple(said)


def _series(series: SeriesShown, words: Words) -> str:
    name = "" if series.number is None else str(series.number)
    if series.description:
        name = f"{name} ({series.description})".strip()
    figures = [words("images: {count}", count=series.images)]
    if series.thickness_mm is not None:
        figures.append(words("slice thickness {mm} mm", mm=words.number(series.thickness_mm, 2)))
    if series.spacing_mm is not None:
        figures.append(words("slice spacing {mm} mm", mm=words.number(series.spacing_mm, 2)))
    if not name:
        return words("Analysed: one CT series; {figures}.", figures=words.listed(figures))
    return words("Analysed: CT series {name}; {figures}.", name=name, figures=words.listed(figures))
