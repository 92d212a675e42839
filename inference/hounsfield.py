"""Stored pixel values to Hounsfield units: a table look-up, or a few operations on whole slices.

A stored value has at most 16 bits, so everything the header says about it (which bits count, the sign, padding,
rescale, the limits of a Volume) fits a table of 65,536 answers that a whole series shares. The table is the definition.

Most CT says no more than "add this whole number". Then masking, clamping and adding are done in 16 bits where the slice
lies, without a copy of it, several times as fast as looking up. Clamping comes first, so that the sum never overflows;
`tests/property/test_hounsfield.py` compares both ways over all that a header can say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

AIR_HU = -1024
MAXIMUM_HU = 32767
_LARGEST_SHIFT = 30_000  # so that both limits, less the shift, are 16-bit numbers of the values' kind


@dataclass(frozen=True, kw_only=True)
class StoredValues:
    """What a bit pattern means. The sign bit of a signed value is at `high_bit` (PS3.5 8.1.1)."""

    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    slope: float
    intercept: float
    padding: Padding | None = None

    def __post_init__(self) -> None:
        fits = 0 < self.bits_stored <= self.high_bit + 1 <= self.bits_allocated
        if self.bits_allocated not in (8, 16) or not fits:
            raise ValueError(
                f"bits allocated {self.bits_allocated}, stored {self.bits_stored}, high bit {self.high_bit}: "
                "expected 8 or 16 allocated, and the stored bits within them"
            )


def to_hounsfield(
    patterns: NDArray[np.unsignedinteger], meaning: StoredValues, out: NDArray[np.int16]
) -> NDArray[np.int16]:
    """Fill `out` (int16, same shape) with the Hounsfield units of uint8 or uint16 bit patterns, and return it.

    The patterns may lie where the result is to lie (`out.view(numpy.uint16)`).
    """
    if _is_whole_shift(meaning):
        return _shifted(patterns, meaning, out)
    return np.take(hounsfield_table(meaning), patterns.astype(np.intp), out=out, mode="wrap")


def _is_whole_shift(meaning: StoredValues) -> bool:
    """Whether Hounsfield units are 16-bit stored values, aligned with their container, plus a whole number."""
    return (
        meaning.bits_allocated == 16
        and meaning.high_bit == meaning.bits_stored - 1
        and meaning.padding is None
        and meaning.slope == 1.0
        and abs(meaning.intercept) <= _LARGEST_SHIFT
        and meaning.intercept.is_integer()
    )


def _shifted(patterns: NDArray[np.unsignedinteger], meaning: StoredValues, out: NDArray[np.int16]) -> NDArray[np.int16]:
    bits, shift = meaning.bits_stored, int(meaning.intercept)
    number = np.int16 if meaning.is_signed else np.uint16
    source, target = patterns.view(number), out.view(number)
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if meaning.is_signed else (0, (1 << bits) - 1)
    if bits < 16:
        np.bitwise_and(source, number((1 << bits) - 1), out=target)
        if meaning.is_signed:
            # Two's complement of so many bits: flip the sign bit, then take its weight away.
            np.bitwise_xor(target, number(1 << (bits - 1)), out=target)
            np.subtract(target, number(1 << (bits - 1)), out=target)
        source = target
    if AIR_HU - shift > least:
        source = np.maximum(source, number(AIR_HU - shift), out=target)
    if MAXIMUM_HU - shift < most:
        source = np.minimum(source, number(MAXIMUM_HU - shift), out=target)
    # Modulo 2^16, and the sum is within int16.
    np.add(source.view(np.uint16), np.uint16(shift & 0xFFFF), out=out.view(np.uint16))
    return out


@lru_cache(maxsize=64)
def hounsfield_table(meaning: StoredValues) -> NDArray[np.int16]:
    """int16 Hounsfield units for each bit pattern, clamped to [AIR_HU, MAXIMUM_HU]; read-only.

    Half units are rounded to the nearest even one.
    """
    patterns = np.arange(1 << meaning.bits_allocated).astype(f"u{meaning.bits_allocated // 8}")
    hu = stored_values(patterns, meaning) * meaning.slope + meaning.intercept
    table = np.clip(np.rint(hu), AIR_HU, MAXIMUM_HU).astype(np.int16)
    if meaning.padding is not None:
        table[meaning.padding.contains(patterns)] = AIR_HU
    table.flags.writeable = False
    return table


def stored_values(patterns: NDArray[np.unsignedinteger], meaning: StoredValues) -> NDArray[np.float64]:
    """The numbers that bit patterns stand for; bits outside the stored ones (old overlays) are ignored."""
    low_bit = meaning.high_bit + 1 - meaning.bits_stored
    values = (patterns.astype(np.int64) >> low_bit) & ((1 << meaning.bits_stored) - 1)
    if meaning.is_signed:
        values -= (values >> (meaning.bits_stored - 1)) << meaning.bits_stored
    return values.astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Bit patterns that are no measurement (PS3.3 C.7.5.1.1.2), as an inclusive range of whole numbers.

    `is_impossible_value` says that the stored bits cannot hold it: it can be nothing but padding.
    """

    range: tuple[int, int]
    bits_allocated: int
    is_signed: bool
    is_impossible_value: bool

    def contains(self, patterns: NDArray[np.unsignedinteger]) -> NDArray[np.bool_]:
        """Which patterns are padding, compared before any bit is masked away."""
        numbers = patterns.view(f"{'i' if self.is_signed else 'u'}{self.bits_allocated // 8}")
        return (numbers >= self.range[0]) & (numbers <= self.range[1])

    def applied_to(self, meaning: StoredValues) -> StoredValues:
        """The same meaning, with this padding turned to air."""
        return replace(meaning, padding=self)


def padding_of(meaning: StoredValues, value: int | None, limit: int | None) -> Padding | None:
    """The padding that Pixel Padding Value and Range Limit (bit patterns) declare.

    None where there is none, and where it makes no difference because it is air or less anyway.
    """
    if value is None:
        return None
    ends = [_whole_number(value, meaning), _whole_number(value if limit is None else limit, meaning)]
    patterns = np.array([value, value if limit is None else limit], dtype=np.uint16)
    represented = stored_values(patterns & np.uint16((1 << meaning.bits_allocated) - 1), meaning)
    possible = bool(np.array_equal(represented, ends))
    if possible and max(represented * meaning.slope + meaning.intercept) <= AIR_HU:
        return None
    return Padding(
        range=(min(ends), max(ends)),
        bits_allocated=meaning.bits_allocated,
        is_signed=meaning.is_signed,
        is_impossible_value=not possible,
    )


def _whole_number(pattern: int, meaning: StoredValues) -> int:
    """A pattern read as a number of the allocated size."""
    pattern &= (1 << meaning.bits_allocated) - 1
    if meaning.is_signed and pattern >> (meaning.bits_allocated - 1):
        return pattern - (1 << meaning.bits_allocated)
    return pattern
