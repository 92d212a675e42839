"""The pixels of a segmentation's frames: bits or run lengths, from boxes of labels on frames that are mostly empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder

_FRAMES_IN_WHOLE_BYTES = 8  # whatever the size of a frame, so many of them fill bytes without a rest
# Named, because GDCM, which pydicom would take first, ends the whole process at frames of an odd number of pixels.
_RLE_PLUGIN = "pylibjpeg"


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A frame of `rows` x `columns` on which boxes lie whose first pixel is (`row`, `column`)."""

    rows: int
    columns: int
    row: int
    column: int

    def place(self, box: NDArray[np.generic]) -> tuple[slice, slice]:
        """Where a box [row, column] lies on the frame."""
        return slice(self.row, self.row + box.shape[0]), slice(self.column, self.column + box.shape[1])


def packed(boxes: Iterable[NDArray[np.bool_]], canvas: Canvas) -> bytes:
    """One bit a pixel, one run over all frames, least significant first (PS3.5 8.1.1), padded to an even length.

    Memory beside the result is that of eight frames.
    """
    bits = bytearray()
    batch = np.zeros((_FRAMES_IN_WHOLE_BYTES, canvas.rows, canvas.columns), dtype=np.bool_)
    used = 0
    for box in boxes:
        batch[(used, *canvas.place(box))] = box
        used += 1
        if used == _FRAMES_IN_WHOLE_BYTES:
            bits += np.packbits(batch.reshape(-1), bitorder="little").tobytes()
            used = 0
    bits += np.packbits(batch[:used].reshape(-1), bitorder="little").tobytes()
    return bytes(bits) + b"\0" * (len(bits) % 2)


def run_lengths(boxes: Iterable[NDArray[np.uint8]], canvas: Canvas) -> bytes:
    """Each frame's labels as RLE Lossless (PS3.5 G), encapsulated."""
    frame = np.zeros((canvas.rows, canvas.columns), dtype=np.uint8)
    frames = []
    for box in boxes:
        frame[canvas.place(box)] = box
        frames.append(
            RLELosslessEncoder.encode(
                frame,
                rows=canvas.rows,
                columns=canvas.columns,
                samples_per_pixel=1,
                bits_allocated=8,
                bits_stored=8,
                pixel_representation=0,
                photometric_interpretation="MONOCHROME2",
                number_of_frames=1,
                encoding_plugin=_RLE_PLUGIN,
            )
        )
    return encapsulate(frames)
