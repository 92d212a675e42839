"""The letters there are for pictures and paper."""

import polib
import pytest
from reportlab.pdfbase.ttfonts import TTFontFile

from dicom_node.results.fonts import BOLD, REGULAR, font_file
from dicom_node.results.words import LOCALE


@pytest.mark.parametrize("name", [REGULAR, BOLD])
def test_the_fonts_have_every_letter_of_every_catalogue(name):
    known = TTFontFile(str(font_file(name))).charToGlyph
    for catalogue in LOCALE.glob("*.po"):
        letters = {letter for entry in polib.pofile(str(catalogue)) for letter in entry.msgstr}
        assert {letter for letter in letters if ord(letter) not in known} == set()
