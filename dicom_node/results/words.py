"""Words in the language of the readers: the catalogues in `locale`, and numbers and dates as that language writes them.

How to edit: sentences stand in English in the code, as `words("...", name=value)` or `N_("...")`, and in each
`locale/<language>.po`. A test fails while a sentence is missing there, or while a translation drops a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dicom_node.catalogues import N_, catalogue
from dicom_node.core.errors import ConfigurationError
from dicom_node.core.languages import LANGUAGES, SOURCE_LANGUAGE

__all__ = ["LANGUAGES", "LOCALE", "N_", "SOURCE_LANGUAGE", "Words"]

LOCALE = Path(__file__).parent / "locale"

_DATES = {"en": "{y}-{m}-{d}", "de": "{d}.{m}.{y}", "fr": "{d}/{m}/{y}", "es": "{d}/{m}/{y}"}


@dataclass(frozen=True, kw_only=True)
class Words:
    """Says things in `language`, one of `LANGUAGES`. Raises ConfigurationError for another one."""

    language: str = SOURCE_LANGUAGE

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ConfigurationError(
                f"results are written in {', '.join(LANGUAGES)}, not in {self.language!r}",
                key="results.language",
                value=self.language,
            )

    def __call__(self, message: str, **values: object) -> str:
        """The sentence in the language, with `values` in their places."""
        return catalogue(LOCALE, self.language).gettext(message).format(**values)

    def number(self, value: float, digits: int) -> str:
        """The value with so many decimals and the language's decimal sign."""
        written = f"{value:.{digits}f}"
        return written if self.language == SOURCE_LANGUAGE else written.replace(".", ",")

    def percent(self, share: float) -> str:
        """A share of one in per cent, with one decimal."""
        return f"{self.number(100 * share, 1)} %"

    def date(self, dicom_date: str) -> str:
        """A DICOM date (YYYYMMDD) as it is written in the language; anything else unchanged."""
        text = dicom_date.strip()
        if len(text) != 8 or not text.isascii() or not text.isdigit():
            return text
        return _DATES[self.language].format(y=text[:4], m=text[4:6], d=text[6:])

    def listed(self, items: Iterable[str]) -> str:
        """The items behind one another."""
        return ", ".join(items)
