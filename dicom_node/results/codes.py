"""The coded words of the result objects, and the colours of the vertebrae.

Every code is in the DICOM concept dictionary of pydicom (PS3.16 context groups named beside it).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.coding import Code

VERTEBRA: dict[str, Code] = {  # CID 4 region, SNOMED "bone structure of ..."
    "C1": Code("14806007", "SCT", "C1 vertebra"),
    "C2": Code("39976000", "SCT", "C2 vertebra"),
    "C3": Code("113205007", "SCT", "C3 vertebra"),
    "C4": Code("5329002", "SCT", "C4 vertebra"),
    "C5": Code("36978003", "SCT", "C5 vertebra"),
    "C6": Code("36054005", "SCT", "C6 vertebra"),
    "C7": Code("87391001", "SCT", "C7 vertebra"),
}
CERVICAL_SPINE = Code("122494005", "SCT", "Cervical spine")
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
FRACTURE = Code("72704001", "SCT", "Fracture")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")  # CID 240
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
PROBABILITY = Code("122157", "DCM", "Probability")
PERCENT = Code("%", "UCUM", "Percent")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
REPRESENTATIVE_POINT = Code("128140", "DCM", "Representative point")  # CID 219
CT_PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")  # CID 100, from which TID 1500 wants it
OF_INTEREST = Code("113000", "DCM", "Of Interest")  # CID 7010
REPORT_TITLE = Code("126000", "DCM", "Imaging Measurement Report")  # CID 7021
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
REFERENCED_SEGMENT = Code("121191", "DCM", "Referenced Segment")
COMMENT = Code("121106", "DCM", "Comment")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005

SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")  # values: CID 6047
ALL_SUCCEEDED_WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
ALL_SUCCEEDED_WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
NOT_ALL_SUCCEEDED_WITHOUT_FINDINGS = Code("111243", "DCM", "Not all algorithms succeeded; without findings")
NOT_ALL_SUCCEEDED_WITH_FINDINGS = Code("111244", "DCM", "Not all algorithms succeeded; with findings")
NONE_SUCCEEDED_WITHOUT_FINDINGS = Code("111245", "DCM", "No algorithms succeeded; without findings")

STATUS_OF_RESULTS = Code("111064", "DCM", "Summary of Detections")  # values: CID 6042
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")

# TID 2000: sections from CID 7001, their contents from CID 7002. LOINC has newer codes for the sections, which the
# validators of the day and older readers do not know.
TEXT_REPORT_TITLE = Code("18748-4", "LN", "Diagnostic Imaging Report")
IMPRESSIONS = Code("121072", "DCM", "Impressions")
IMPRESSION = Code("121073", "DCM", "Impression")
FINDINGS = Code("121070", "DCM", "Findings")
FINDING = Code("121071", "DCM", "Finding")
PREVIOUS_FINDINGS = Code("121068", "DCM", "Previous Findings")
PREVIOUS_FINDING = Code("121069", "DCM", "Previous Finding")
PROCEDURE_DESCRIPTIONS = Code("121064", "DCM", "Current Procedure Descriptions")
PROCEDURE_DESCRIPTION = Code("121065", "DCM", "Procedure Description")
CONCLUSIONS = Code("121076", "DCM", "Conclusions")
CONCLUSION = Code("121077", "DCM", "Conclusion")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
STUDY_OF_PROCEDURE = Code("121018", "DCM", "Procedure Study Instance UID")

LANGUAGES: dict[str, Code] = {  # RFC 5646
    "en": Code("en", "RFC5646", "English"),
    "de": Code("de", "RFC5646", "German"),
    "fr": Code("fr", "RFC5646", "French"),
    "es": Code("es", "RFC5646", "Spanish"),
}


@dataclass(frozen=True, kw_only=True)
class Colour:
    """A display colour, sRGB 0-255. The name is for people who read the report aloud."""

    name: str
    rgb: tuple[int, int, int]


# Okabe and Ito's palette (distinct for the colour-blind), brightened for a dark viewer; neighbours differ in lightness.
COLOURS: dict[str, Colour] = {
    "C1": Colour(name="vermilion", rgb=(230, 97, 0)),
    "C2": Colour(name="sky blue", rgb=(86, 180, 233)),
    "C3": Colour(name="yellow", rgb=(240, 228, 66)),
    "C4": Colour(name="purple", rgb=(204, 121, 167)),
    "C5": Colour(name="green", rgb=(0, 190, 120)),
    "C6": Colour(name="red", rgb=(220, 40, 60)),
    "C7": Colour(name="blue", rgb=(70, 110, 230)),
}

NOTICE = "AI result, not a diagnosis. Trained on {trained_on}."


def notice(trained_on: str) -> str:
    """The sentence that stands on every picture, report and SR."""
    return NOTICE.format(trained_on=trained_on.removesuffix(" only"))
