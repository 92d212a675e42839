"""The languages that results and pages are written in, by their ISO 639-1 codes."""

from __future__ import annotations

SOURCE_LANGUAGE = "en"
LANGUAGES: tuple[str, ...] = (SOURCE_LANGUAGE, "de", "fr", "es")
