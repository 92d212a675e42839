"""What reading and analysis remarked on a study, in plain words and in the readers' language.

The analysis writes its notes and reasons in English, for logs and `result.json`. Here each known one has a sentence
that a radiologist can use; one that is not known is passed on as it was written, and said to be English.

How to edit: a row is a pattern for the whole note and its sentence; the pattern's named groups are the values. A note
with an empty sentence is left out, because the report says the same in its own place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dicom_node.results.words import N_, SOURCE_LANGUAGE, Words

_NOTES: tuple[tuple[str, str], ...] = (
    (r"Only partly in the field of view: .+", ""),
    (r"Not assessed: .+", ""),
    (r"Levels named by .+", ""),
    (
        r"Neither C1 nor C2 lies whole in the field of view: .+",
        N_(
            "Neither C1 nor C2 is completely in the field of view. The levels were named by their shape and may all be"
            " off by one."
        ),
    ),
    (
        r"Vertebra order was corrected: (?P<what>.+)\.",
        N_("The numbering of the levels was corrected during the analysis and should be checked."),
    ),
    (
        r"Levels missing between (?P<first>C\d) and (?P<last>C\d): (?P<missing>.+); the count may be off\.",
        N_("Between {first} and {last} these levels were not found: {missing}. The numbering may be off by one."),
    ),
    (
        r"Vertebrae do not follow each other as their names say: .+",
        N_("The numbering of the levels is not consistent and should be checked."),
    ),
    (
        r"The count starts at (?P<first>C\d) although the scan goes on above it\.",
        N_("The numbering starts at {first} although the images go on above it, and should be checked."),
    ),
    (
        r"C2 is not in the scan: .+",
        N_("C2 is not in the images, so the numbering of the levels cannot be verified."),
    ),
    (
        r"The vertebra named C2 has no dens: .+",
        N_("No dens was found at the vertebra named C2. The numbering may be off by one."),
    ),
    (
        r"gap of (?P<gap>[\d.]+) mm between slices (?P<first>\d+) and (?P<last>\d+), spacing elsewhere .+",
        N_("Slices are missing: a gap of {gap} mm between slices {first} and {last}."),
    ),
    (
        r"uneven spacing: .+, (?P<count>\d+) of them interpolated",
        N_("The slices are unevenly spaced. Interpolated planes: {count}."),
    ),
    (
        r"(?P<count>\d+) duplicate slices with identical pixels dropped",
        N_("Duplicate slices left out: {count}."),
    ),
    (
        r"(?P<count>\d+) slices dropped that share a position .+",
        N_("Slices left out because another one lies at the same position: {count}."),
    ),
    (
        r"(?P<count>\d+) slices without Rescale Slope or Intercept: .+",
        N_("Slices without a stated scale of density (Hounsfield units assumed): {count}."),
    ),
    (
        r"(?P<count>\d+) slices are MONOCHROME1: .+",
        N_("Slices stored with inverted display (densities used as stored): {count}."),
    ),
    (
        r"(?P<count>\d+) slices hold their Pixel Padding Value inside the image only: .+",
        N_("Slices with an implausible padding value, which was ignored: {count}."),
    ),
    (
        r"(?P<count>\d+) images of another orientation, size or pixel spacing, or without a position, left out",
        N_("Images that do not fit the series geometrically were left out: {count}."),
    ),
    (r"(?P<count>\d+) instances without an image left out", N_("Objects without an image were left out: {count}.")),
    (
        r"(?P<count>\d+) stacks or time points in the series: .+",
        N_("The series holds several stacks or time points ({count}); only the largest was analysed."),
    ),
    (
        r"\d+ Frame of Reference UIDs in the series, .+",
        N_("The images of the series state different frames of reference; that of the first was used."),
    ),
    (
        r"(?P<count>\d+) of the study's files could not be read: .+",
        N_("Files of the study that could not be read: {count}."),
    ),
)

_REASONS: tuple[tuple[str, str], ...] = (
    (r"the analysis was stopped by an operator", N_("The analysis was stopped by an operator.")),
    (r"the study holds no image series", N_("The study holds no images that could be analysed.")),
    (
        r"no cervical spine was found in the pixels of any eligible series",
        N_("No cervical spine was found on the images."),
    ),
    (
        r"none of the (?P<count>\d+) series is eligible .+",
        N_("No series of the study is suitable for the analysis (series in the study: {count})."),
    ),
)

_RULES: dict[str, str] = {
    "not_ct": N_("not CT"),
    "localizer": N_("localizer"),
    "secondary": N_("derived or secondary images"),
    "too_few_images": N_("too few images"),
    "non_axial": N_("not axial"),
    "too_thick": N_("slices too thick"),
    "gaps": N_("gaps between the slices"),
    "duplicates": N_("several phases or reconstructions in one series"),
    "geometry": N_("geometry cannot be used"),
    "unreadable": N_("images cannot be read"),
    "no_cervical_spine": N_("no cervical spine found"),
    "ranked_lower": N_("another series is better suited"),
}


def quality_notes(notes: Sequence[str], words: Words) -> tuple[str, ...]:
    """The notes in the language, in their order, each once."""
    said = (_said(note, _NOTES, words) for note in notes)
    return tuple(dict.fromkeys(sentence for sentence in said if sentence))


def reason(text: str, words: Words) -> str:
    """Why a study was not analysed."""
    return _said(text, _REASONS, words)


def rule(name: str, words: Words) -> str:
    """Why a series was left out, in a phrase."""
    return words(_RULES[name]) if name in _RULES else name.replace("_", " ")


def rules(rejected: Sequence[Mapping[str, Any]], words: Words) -> str:
    """Why these series of `result.json` were left out, each reason once."""
    return "; ".join(dict.fromkeys(rule(str(other["rule"]), words) for other in rejected))


def _said(note: str, known: tuple[tuple[str, str], ...], words: Words) -> str:
    for pattern, sentence in known:
        match = re.fullmatch(pattern, note, re.DOTALL)
        if match is not None:
            return words(sentence, **_values(match, words)) if sentence else ""
    return (
        note if words.language == SOURCE_LANGUAGE else words("Message of the software, in English: {text}", text=note)
    )


def _values(match: re.Match[str], words: Words) -> dict[str, str]:
    """Numbers with a point are decimals, and get the language's sign."""
    decimal = re.compile(r"\d+\.\d+")
    return {
        name: words.number(float(value), len(value.partition(".")[2])) if decimal.fullmatch(value) else value
        for name, value in match.groupdict().items()
    }
