"""The page of findings: everything that is said stands on it, and nothing runs out of it."""

import dataclasses

import numpy as np
import pytest

from dicom_node.core.finding import LEVELS
from dicom_node.results import codes, drawing, summary_page
from dicom_node.results.calls import Call
from dicom_node.results.summary_page import draw_summary
from dicom_node.results.wording import NEGATIVE, NEITHER, POSITIVE, LevelSaid, Narrative, Verdict

NARRATIVE = Narrative(
    language="en",
    title="Cervical spine CT",
    verdict=Verdict(kind=POSITIVE, text="Suspicious for fracture: C2."),
    changes=(),
    levels=tuple(
        LevelSaid(level=level, call=Call.PRESENT if level == "C2" else Call.ABSENT, text=f"{level}: said")
        for level in LEVELS
    ),
    looked_at=("Analysed: one CT series.",),
    quality=(),
    limits=("AI result, not a diagnosis.",),
)


def pixels(narrative: Narrative) -> np.ndarray:
    return np.asarray(draw_summary(narrative))


def test_it_is_square_and_has_a_chip_in_the_colour_of_each_level():
    page = pixels(NARRATIVE)
    assert page.shape[0] == page.shape[1]
    rows = [np.nonzero((page == codes.COLOURS[level].rgb).all(axis=-1))[0].min() for level in LEVELS]
    assert rows == sorted(rows)


@pytest.mark.parametrize("kind", [POSITIVE, NEGATIVE, NEITHER])
def test_the_verdict_stands_on_a_colour_of_its_own(kind):
    fill = {POSITIVE: (122, 24, 20), NEGATIVE: (22, 78, 44), NEITHER: (92, 68, 10)}
    page = pixels(dataclasses.replace(NARRATIVE, verdict=Verdict(kind=kind, text="A verdict.")))
    seen = {name for name, colour in fill.items() if (page == colour).all(axis=-1).any()}
    assert seen == {kind}


def test_a_long_text_makes_the_page_longer_and_never_wider():
    long = dataclasses.replace(NARRATIVE, looked_at=("Analysed and weighed and looked at again. " * 120,))
    page = pixels(long)
    assert page.shape[0] > page.shape[1]
    edge = page[:, -summary_page._EDGE_PX + 2 :]
    assert (edge == edge[0, 0]).all()
    assert (page[-summary_page._EDGE_PX * 2 :] == drawing.NOTICE_INK).all(axis=-1).any()  # the limits stand at its end


def test_a_number_is_not_parted_from_its_sign():
    lines = list(
        summary_page._wrapped(
            "a probability of 47.3 % and more", 30, drawing.font(30).getlength("a probability of 47.3")
        )
    )
    assert [line.replace("\u00a0", " ") for line in lines][:2] == ["a probability of", "47.3 % and more"]


def test_what_the_font_has_no_letter_for_is_a_question_mark():
    assert list(summary_page._wrapped("Serie 頸椎 é", 20, 900)) == ["Serie ?? é"]
