"""Typed access to the raw data elements of a header, with no warnings and no exceptions.

Headers from the field hold empty values, texts of the wrong length, numbers with units behind them. pydicom's
own conversion warns about each of them or raises; what a reader needs is the value or the fact that there is none.
So values are taken from the bytes (PS3.5 6.2) and only sequences are left to pydicom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset


def text(dataset: Dataset, keyword: str) -> str:
    """The first value of an element as ASCII text without padding; empty where there is none."""
    values = texts(dataset, keyword)
    return values[0] if values else ""


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of an element as ASCII texts without padding."""
    value = _value(dataset, keyword)
    if isinstance(value, bytes):
        # Latin-1 never fails; UIDs, codes and numbers are ASCII wherever a writer kept to PS3.5 6.1.
        return _split(value.decode("latin-1"))
    if isinstance(value, str):
        return _split(value)
    if value is None:
        return ()
    return tuple(str(item).strip() for item in value) if isinstance(value, Sequence) else (str(value),)


def localised_text(dataset: Dataset, keyword: str) -> str:
    """A text in the data set's Specific Character Set (0008,0005), bytes it cannot hold replaced."""
    value = _value(dataset, keyword)
    if not isinstance(value, bytes):
        return text(dataset, keyword)
    names = texts(dataset, "SpecificCharacterSet")
    try:
        encodings = convert_encodings(list(names) if names else None)
        return decode_bytes(value, encodings, set()).strip(" \0")
    except (LookupError, UnicodeError, ValueError):
        return value.decode("latin-1").strip(" \0")


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers of a DS, IS or FD element, or None."""
    value = _value(dataset, keyword)
    items: Sequence[object]
    if isinstance(value, (bytes, str)):
        items = texts(dataset, keyword)
    elif isinstance(value, (int, float)):
        items = (value,)
    elif isinstance(value, Sequence):
        items = value
    else:
        return None
    try:
        parsed = tuple(float(str(item)) for item in items)
    except ValueError:
        return None
    return parsed if len(parsed) == count and all(math.isfinite(number) for number in parsed) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first number of a DS, IS or FD element, or None."""
    first = text(dataset, keyword)
    try:
        parsed = float(first)
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The first number of an IS element, or None."""
    parsed = number(dataset, keyword)
    return int(parsed) if parsed is not None else None


def unsigned(dataset: Dataset, keyword: str) -> int | None:
    """The first value of a US element, or None. A US element written as SS gives its bit pattern."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return None
    element = dataset.get_item(tag)
    value = element.value
    if isinstance(element, RawDataElement):
        if not isinstance(value, bytes) or len(value) < 2:
            return None
        return int.from_bytes(value[:2], "little" if element.is_little_endian else "big")
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        value = value[0]
    return int(value) & 0xFFFF if isinstance(value, int) else None


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence; none where the sequence is missing, empty or no sequence."""
    value = dataset.get(keyword)
    return tuple(value) if value and not isinstance(value, (bytes, str)) else ()


def _value(dataset: Dataset, keyword: str) -> object:
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return None
    element = dataset.get_item(tag)
    return element.value


def _split(joined: str) -> tuple[str, ...]:
    stripped = joined.strip(" \0")
    return tuple(part.strip(" \0") for part in stripped.split("\\")) if stripped else ()
