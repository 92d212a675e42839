"""Patient and study as a page or a sheet of paper shows them."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.results.words import N_, Words

Facts = Sequence[tuple[str, str]]
"""(name, value) pairs as `provenance.study_facts` gives them."""

PATIENT, PATIENT_ID = "Patient", "Patient ID"
_LABELS = {
    PATIENT: N_("Patient"),
    PATIENT_ID: N_("Patient ID"),
    "Born": N_("Date of birth"),
    "Sex": N_("Sex"),
    "Study": N_("Study"),
    "Study date": N_("Study date"),
    "Accession number": N_("Accession number"),
}
_DATES = ("Born", "Study date")


def shown_facts(facts: Facts, words: Words) -> list[tuple[str, str]]:
    """The facts there are, labelled in the language; names and dates as people write them."""
    return [
        (words(_LABELS[name]) if name in _LABELS else name, _shown(name, value, words))
        for name, value in facts
        if value
    ]


def name_groups(person_name: str) -> list[str]:
    """The alphabetic, ideographic and phonetic groups that a DICOM name has (PS3.5 6.2.1), without carets."""
    groups = (group.split("^") for group in person_name.split("="))
    return [", ".join(part.strip() for part in group if part.strip()) for group in groups if any(group)]


def _shown(name: str, value: str, words: Words) -> str:
    if name == PATIENT:
        return " / ".join(name_groups(value)) or value
    return words.date(value) if name in _DATES else value
