"""The catalogues of the readers' languages: complete, and with every value in its place."""

import ast
import re
from pathlib import Path
from string import Formatter
from typing import get_args

import polib
import pytest

from config.settings import ResultsSettings
from dicom_node import results
from dicom_node.core.errors import ConfigurationError
from dicom_node.results import codes
from dicom_node.results.words import LANGUAGES, LOCALE, SOURCE_LANGUAGE, Words

FOLDER = Path(results.__path__[0])
TRANSLATED = [language for language in LANGUAGES if language != SOURCE_LANGUAGE]


def sentences_of_the_code() -> set[str]:
    """What is said by `words("...")` or marked by `N_("...")` in modules and templates."""
    calls = [
        node
        for module in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("words", "N_")
    ]
    literal = [call.args[0].value for call in calls if call.args and isinstance(call.args[0], ast.Constant)]
    templates = [page.read_text(encoding="utf-8") for page in (FOLDER / "templates").iterdir()]
    return {*literal, *(text for page in templates for text in re.findall(r'words\("([^"]+)"', page))}


def values(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_sentence_is_translated_and_none_is_left_over(language):
    catalogue = polib.pofile(str(LOCALE / f"{language}.po"))
    assert {entry.msgid for entry in catalogue} == sentences_of_the_code()
    assert [entry.msgid for entry in catalogue if not entry.msgstr or entry.fuzzy] == []
    assert catalogue.metadata["Language"] == language


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_holds_the_same_values_and_ends_as_its_sentence_does(language):
    for entry in polib.pofile(str(LOCALE / f"{language}.po")):
        assert values(entry.msgstr) == values(entry.msgid), entry.msgid
        assert entry.msgstr.endswith(".") == entry.msgid.endswith("."), entry.msgid


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_letter_of_a_translation_is_outside_latin_1(language):
    for entry in polib.pofile(str(LOCALE / f"{language}.po")):
        entry.msgstr.encode("latin-1")


def test_a_sentence_comes_in_the_language_with_its_values():
    said = [Words(language=language)("Suspicious for fracture: {levels}.", levels="C2, C5") for language in LANGUAGES]
    assert said == [
        "Suspicious for fracture: C2, C5.",
        "Frakturverdacht: C2, C5.",
        "Suspicion de fracture : C2, C5.",
        "Sospecha de fractura: C2, C5.",
    ]


@pytest.mark.parametrize(
    ("language", "percent", "date"),
    [
        ("en", "91.2 %", "2024-01-31"),
        ("de", "91,2 %", "31.01.2024"),
        ("fr", "91,2 %", "31/01/2024"),
        ("es", "91,2 %", "31/01/2024"),
    ],
)
def test_numbers_and_dates_are_written_as_in_the_language(language, percent, date):
    words = Words(language=language)
    assert words.percent(0.9123) == percent
    assert words.date("20240131") == date
    assert words.date("1961.02.03") == "1961.02.03"


def test_setting_catalogues_and_codes_have_the_same_languages():
    setting = ResultsSettings.model_fields["language"].annotation
    assert set(get_args(setting)) == set(LANGUAGES) == set(codes.LANGUAGES)
    assert {file.stem for file in LOCALE.glob("*.po")} == set(TRANSLATED)


def test_a_language_without_catalogue_is_refused():
    with pytest.raises(ConfigurationError, match="'it'"):
        Words(language="it")
