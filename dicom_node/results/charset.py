"""Our own sentences in the study's character set, which is not ours to choose.

The patient's name stands in a result object with the very bytes and the very Specific Character Set that it has in
the images (see `provenance`). A sentence in German, French or Spanish has letters which that set may not hold. In
this order:

1. The study's set holds them, as ISO_IR 100, ISO_IR 192 and GB18030 do: nothing is to be done.
2. The study declares none, and all that was taken over is ASCII: ISO_IR 100 is declared; no byte changes its meaning.
3. Else single letters are written as ASCII does it, ae and e for umlaut and accent, and the rest stays.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Sequence

from pydicom.charset import decode_bytes, encode_string, python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

LATIN_1 = "ISO_IR 100"
_ASCII = ("", "ISO_IR 6", "ISO 2022 IR 6")
_WRITTEN_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "œ": "oe", "æ": "ae", "µ": "u"}
    | {"\u00a0": " ", "’": "'", "‘": "'", "“": '"', "”": '"', "«": '"', "»": '"', "–": "-", "—": "-", "…": "..."}
)
_TEXTS = ("TextValue", "DocumentTitle", "SeriesDescription")


def fit_texts(target: Dataset) -> None:
    """What `target` says in sentences can be written in its Specific Character Set, and comes back as it reads now.

    To be called when the study's attributes have been taken over and before the data set is written.
    """
    holders = list(_holders(target))
    if all(str(item.get(keyword, "")).isascii() for item, keyword in holders):
        return
    declared = target.get("SpecificCharacterSet")
    if (not declared or declared in _ASCII) and _is_ascii(target):
        target.SpecificCharacterSet = declared = LATIN_1
    encodings = _encodings(declared)
    for item, keyword in holders:
        setattr(item, keyword, fitted(str(item.get(keyword)), encodings))


def _encodings(declared: str | Sequence[str] | None) -> list[str]:
    """Python's encodings. The default repertoire is ASCII, which pydicom takes for Latin-1; so is a set unheard of."""
    values = [declared] if isinstance(declared, str) else declared or [""]
    return ["ascii" if value in _ASCII else python_encoding.get(value, "ascii") for value in values]


def fitted(text: str, encodings: Sequence[str]) -> str:
    """The text with each letter that Python's `encodings` do not hold written out in ASCII, or as a question mark."""
    if _fits(text, encodings):
        return text
    return "".join(letter if _fits(letter, encodings) else _written_out(letter) for letter in text)


def _fits(text: str, encodings: Sequence[str]) -> bool:
    if text.isascii():
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return decode_bytes(encode_string(text, encodings), encodings, set()) == text
        except (UserWarning, UnicodeError, LookupError):
            return False


def _written_out(letter: str) -> str:
    plain = unicodedata.normalize("NFKD", letter.translate(_WRITTEN_OUT)).encode("ascii", "ignore").decode("ascii")
    return plain or "?"


def _holders(item: Dataset) -> Iterator[tuple[Dataset, str]]:
    """Every data set of the document with the keyword of a text it holds."""
    for keyword in _TEXTS:
        if item.get(keyword):
            yield item, keyword
    for child in item.get("ContentSequence", []):
        yield from _holders(child)


def _is_ascii(target: Dataset) -> bool:
    """Whether all that was taken over undecoded is ASCII."""
    raw = (target.get_item(tag) for tag in list(target.keys()))
    return all(
        (element.value or b"").isascii()
        for element in raw
        if isinstance(element, RawDataElement) and isinstance(element.value, bytes)
    )
