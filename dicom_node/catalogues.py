"""Sentences in the languages of the people who read them: the catalogues of a folder.

Results and pages each have a folder of `<language>.po` files; English stands in the code and is its own key. The
catalogues are compiled when they are first used, so that nothing generated has to be kept.
"""

from __future__ import annotations

import gettext
from functools import cache
from io import BytesIO
from pathlib import Path

import polib

from dicom_node.core.languages import SOURCE_LANGUAGE


def N_(message: str) -> str:
    """`message` as it is: marks a sentence that is translated where it is used."""
    return message


@cache
def catalogue(folder: Path, language: str) -> gettext.NullTranslations:
    """The translations in this folder; of English, and of what is not there, the sentence itself."""
    if language == SOURCE_LANGUAGE:
        return gettext.NullTranslations()
    entries = polib.pofile(str(folder / f"{language}.po"), encoding="utf-8")
    return gettext.GNUTranslations(BytesIO(entries.to_binary()))
