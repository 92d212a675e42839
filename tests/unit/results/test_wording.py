"""The report in sentences: nothing unseen is called negative, and every level has its say."""

import pytest

from dicom_node.app.result_json import failed_json
from dicom_node.core.finding import LEVELS
from dicom_node.core.selection import RULE_NAMES
from dicom_node.results import remarks
from dicom_node.results.calls import OVERALL, Call, calls
from dicom_node.results.wording import Maker, Narrative, Place, SeriesShown, narrate, picture_caption, verdict
from dicom_node.results.words import LANGUAGES, Words
from inference.spine import COUNTED_FROM_SHAPE
from tests.builders.result_json import document

ENGLISH, GERMAN = Words(), Words(language="de")
MAKER = Maker(software="cspine-node 1.0", bundle="cspine 0.1")


def told(made: dict, words: Words = ENGLISH, **more) -> Narrative:
    return narrate(made, words, maker=MAKER, **more)


@pytest.mark.parametrize(
    ("made", "kind", "text"),
    [
        (document(), "negative", "No fracture found."),
        (document(suspicious=("C2", "C7")), "positive", "Suspicious for fracture: C2, C7."),
        (document(unseen=("C6", "C7")), "neither", "No fracture found in the assessed levels. Not assessed: C6, C7."),
        (document(overall=True), "positive", "Suspicious for fracture, but no single level stands out."),
        (document(unseen=LEVELS), "neither", "No level could be assessed."),
        (failed_json("1", "no memory"), "neither", "Not analysed, the AI analysis failed: no memory"),
        (
            document() | {"outcome": "not_applicable", "reason": "a chest"},
            "neither",
            "Not analysed, the AI is not applicable to this study: a chest",
        ),
        (
            document() | {"outcome": "not_run", "reason": "cancelled"},
            "neither",
            "Not analysed, the AI analysis was not run: cancelled",
        ),
    ],
)
def test_the_verdict_never_calls_unseen_levels_free_of_fracture(made, kind, text):
    found = verdict(made, ENGLISH)
    assert (found.kind, found.text) == (kind, text)


def test_every_level_has_a_sentence_and_the_suspicious_one_its_image():
    made = document(suspicious=("C2",), unseen=("C7",))
    sentences = [said.text for said in told(made, places={"C2": Place(image=145, series=3)}).levels]
    assert len(sentences) == len(LEVELS) + 1
    assert sentences[0] == "C1: no fracture found, probability 2.1 % (threshold 30.0 %)."
    assert sentences[1] == (
        "C2: suspicious for fracture, probability 87.6 % (threshold 30.0 %). See image 145 of series 3."
    )
    assert sentences[6] == "C7: not assessed, only partly in the field of view."
    assert sentences[7].startswith("Cervical spine as a whole: suspicious for fracture")


def test_the_same_sentences_in_german():
    made = document(suspicious=("C2",), unseen=("C7",))
    sentences = [said.text for said in told(made, GERMAN, places={"C2": Place(image=145)}).levels]
    assert sentences[1] == "C2: frakturverdächtig, Wahrscheinlichkeit 87,6 % (Schwellenwert 30,0 %). Siehe Bild 145."
    assert sentences[6] == "C7: nicht beurteilt, nur teilweise abgebildet."


def test_pictures_are_named_by_what_they_show():
    names = ("sagittal", "coronal", "key_C2", "key_C2_sagittal")
    assert [picture_caption(name, GERMAN) for name in names] == [
        "Die Wirbelsäule von der Seite",
        "Die Wirbelsäule von vorne",
        "C2: Schlüsselbild",
        "C2, sagittal: Schlüsselbild",
    ]


def test_a_study_that_was_not_analysed_has_no_level_sentences():
    assert told(failed_json("1", "no memory")).levels == ()


def test_absent_is_said_where_nothing_contradicts_it():
    made = calls(document(suspicious=("C2",)))
    assert (made["C1"], made["C2"], made[OVERALL]) == (Call.ABSENT, Call.PRESENT, Call.PRESENT)
    assert set(calls(document()).values()) == {Call.ABSENT}


def test_no_level_is_absent_where_only_the_whole_spine_is_suspicious():
    made = calls(document(overall=True))
    assert {made[level] for level in LEVELS} == {Call.UNDETERMINED}
    assert made[OVERALL] is Call.PRESENT


@pytest.mark.parametrize("more", [{"suspicious": ("C2",)}, {"unseen": ("C7",)}])
def test_the_whole_spine_is_not_absent_where_a_level_is_suspicious_or_unseen(more):
    assert calls(document(overall=False, **more))[OVERALL] is Call.UNDETERMINED


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"suspicious": ("C2",)}, "yet single levels are suspicious."),
        ({"unseen": ("C7",)}, "not every level was assessed."),
    ],
)
def test_why_the_whole_spine_is_undetermined_is_said(more, why):
    overall = told(document(overall=False, **more)).levels[-1]
    assert overall.text.startswith("Cervical spine as a whole: probability 10.0 %, below the threshold of 40.0 %")
    assert overall.text.endswith(why)


def test_a_level_that_was_not_assessed_is_not_called_anything():
    assert calls(document(unseen=("C7",)))["C7"] is None


def test_what_was_looked_at_names_series_others_software_and_who_named_the_levels():
    series = SeriesShown(images=300, number=3, description="Bone 1.0", thickness_mm=1.0, spacing_mm=0.75)
    by_other = Maker(software="cspine-node 1.0", bundle="cspine 0.1", levels_named_by="TotalSegmentator")
    said = narrate(document(), GERMAN, maker=by_other, series=series).looked_at
    assert said == (
        "Analysierte CT-Serie: 3 (Bone 1.0); Bilder: 300, Schichtdicke 1,00 mm, Schichtabstand 0,75 mm.",
        "Weitere, nicht analysierte Serien der Untersuchung: 1 (Schichten zu dick).",
        "Software: cspine-node 1.0; Modell: cspine 0.1.",
        "Die Wirbel wurden von TotalSegmentator benannt.",
    )


def test_a_series_of_which_the_headers_say_nothing_is_still_counted():
    assert told(document(), series=SeriesShown(images=20)).looked_at[0] == "Analysed: one CT series; images: 20."


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_limits_say_what_the_model_was_trained_on(language):
    words = Words(language=language)
    real = Maker(software="x", bundle="y", trained_on="RSNA 2022")
    assert "RSNA 2022" in narrate(document(), words, maker=real).limits[0]
    assert "RSNA" not in told(document(), words).limits[0]


def test_where_nothing_is_known_of_the_training_nothing_is_said_of_it():
    unknown = Maker(software="x", bundle="", trained_on="")
    assert narrate(document(), ENGLISH, maker=unknown).limits[0] == "AI result, not a diagnosis."


def test_notes_on_levels_are_left_to_the_levels_and_the_others_are_said_plainly():
    notes = (
        "Not assessed: C7.",
        "Only partly in the field of view: C6.",
        COUNTED_FROM_SHAPE,
        "gap of 4.5 mm between slices 11 and 12, spacing elsewhere 1.00 mm",
        "2 of the study's files could not be read: no preamble",
        "2 of the study's files could not be read: no preamble",
    )
    assert remarks.quality_notes(notes, GERMAN) == (
        "Weder C1 noch C2 ist vollständig abgebildet. Die Wirbel wurden nach ihrer Form benannt und können alle um eine"
        " Höhe verschoben sein.",
        "Es fehlen Schichten: Lücke von 4,5 mm zwischen Schicht 11 und 12.",
        "Nicht lesbare Dateien der Untersuchung: 2.",
    )


def test_a_note_that_nobody_translated_is_passed_on_and_said_to_be_english():
    assert remarks.quality_notes(("something {odd}",), ENGLISH) == ("something {odd}",)
    assert remarks.quality_notes(("something {odd}",), GERMAN) == ("Meldung der Software (englisch): something {odd}",)


def test_the_reasons_of_a_study_that_is_not_applicable_are_known():
    for text in (
        "the study holds no image series",
        "no cervical spine was found in the pixels of any eligible series",
        "none of the 3 series is eligible (localizer, too_thick)",
        "the analysis was stopped by an operator",
    ):
        assert "englisch" not in remarks.reason(text, GERMAN)


def test_every_rule_of_the_selection_has_its_phrase():
    for name in (*RULE_NAMES, "unreadable", "no_cervical_spine", "ranked_lower"):
        assert remarks.rule(name, GERMAN) != name.replace("_", " ")
    assert remarks.rule("a_new_rule", GERMAN) == "a new rule"
