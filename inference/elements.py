"""Typed access to the raw data elements of a header, with no warnings and no exceptions.

Headers from the field hold empty values, texts of the wrong length, numbers with units behind them. pydicom's
own conversion warns about each of them or raises; what a reader needs is the value or the fact that there is none.
So values are taken from the bytes (PS3.5 6.2) and only sequences are left to pydicom.

A header is a pydicom data set, or the places of its elements in a plain file (`inference.head`). Of the latter only
what needs no pydicom can be asked; anything else raises `NotPlain`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from inference.head import Head, NotPlain

Source = Dataset | Head


def text(dataset: Source, keyword: str) -> str:
    """The first value of an element as ASCII text without padding; empty where there is none."""
    values = texts(dataset, keyword)
    return values[0] if values else ""


def texts(dataset: Source, keyword: str) -> tuple[str, ...]:
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


def localised_text(dataset: Source, keyword: str) -> str:
    """A text in the data set's Specific Character Set (0008,0005), bytes it cannot hold replaced."""
    value = _value(dataset, keyword)
    if not isinstance(value, bytes):
        return text(dataset, keyword)
    return _decoded(value, texts(dataset, "SpecificCharacterSet"))


def numbers(dataset: Source, keyword: str, count: int) -> tuple[float, ...] | None:
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


def number(dataset: Source, keyword: str) -> float | None:
    """The first number of a DS, IS or FD element, or None."""
    first = text(dataset, keyword)
    try:
        parsed = float(first)
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def integer(dataset: Source, keyword: str) -> int | None:
    """The first number of an IS element, or None."""
    parsed = number(dataset, keyword)
    return int(parsed) if parsed is not None else None


def unsigned(dataset: Source, keyword: str) -> int | None:
    """The first value of a US element, or None. A US element written as SS gives its bit pattern."""
    tag = _tag(keyword)
    if tag not in dataset:
        return None
    if isinstance(dataset, Head):
        raw = dataset.value(tag) or b""
        return int.from_bytes(raw[:2], "little") if len(raw) >= 2 else None
    element = dataset.get_item(tag)
    value = element.value
    if isinstance(element, RawDataElement):
        if not isinstance(value, bytes) or len(value) < 2:
            return None
        return int.from_bytes(value[:2], "little" if element.is_little_endian else "big")
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        value = value[0]
    return int(value) & 0xFFFF if isinstance(value, int) else None


def items(dataset: Source, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence; none where the sequence is missing, empty or no sequence."""
    if isinstance(dataset, Head):
        if _tag(keyword) in dataset:
            raise NotPlain
        return ()
    value = dataset.get(keyword)
    return tuple(value) if value and not isinstance(value, (bytes, str)) else ()


def has(dataset: Source, keyword: str) -> bool:
    """Whether the element is there, with or without a value."""
    return _tag(keyword) in dataset


def _value(dataset: Source, keyword: str) -> object:
    tag = _tag(keyword)
    if isinstance(dataset, Head):
        return dataset.value(tag)
    return dataset.get_item(tag).value if tag in dataset else None


@cache
def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is the keyword of no element")
    return tag


@lru_cache(maxsize=256)
def _decoded(value: bytes, character_sets: tuple[str, ...]) -> str:
    try:
        encodings = convert_encodings(list(character_sets) if character_sets else None)
        return decode_bytes(value, encodings, set()).strip(" \0")
    except (LookupError, UnicodeError, ValueError):
        return value.decode("latin-1").strip(" \0")


def _split(joined: str) -> tuple[str, ...]:
    stripped = joined.strip(" \0")
    return tuple(part.strip(" \0") for part in stripped.split("\\")) if stripped else ()
