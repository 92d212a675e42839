"""Bits and run lengths of frames: the standard's order, wherever a box lies and however many frames there are."""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import RLELossless

from dicom_node.results.frame_pixels import Canvas, packed, run_lengths

CANVAS = Canvas(rows=7, columns=9, row=2, column=3)  # 63 pixels: frames do not end on whole bytes


def boxes(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 3, (count, 4, 5)).astype(np.uint8)


def frames_with(drawn: np.ndarray) -> np.ndarray:
    whole = np.zeros((len(drawn), CANVAS.rows, CANVAS.columns), np.uint8)
    whole[:, 2:6, 3:8] = drawn
    return whole


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 16, 19])
def test_bits_are_one_run_over_all_frames_of_even_length(count):
    drawn = boxes(count) == 1
    expected = np.packbits(frames_with(drawn).reshape(-1), bitorder="little").tobytes()
    made = packed(iter(drawn), CANVAS)
    assert made[: len(expected)] == expected
    assert len(made) % 2 == 0
    assert len(made) - len(expected) <= 1


def test_a_frame_keeps_nothing_of_the_one_eight_frames_before():
    drawn = np.zeros((9, 4, 5), bool)
    drawn[0] = True
    bits = np.unpackbits(np.frombuffer(packed(iter(drawn), CANVAS), np.uint8), bitorder="little")
    assert bits.sum() == 20


def test_run_lengths_decode_to_the_frames():
    drawn = boxes(3)
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = RLELossless
    image.Rows, image.Columns, image.NumberOfFrames = CANVAS.rows, CANVAS.columns, 3
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = run_lengths(iter(drawn), CANVAS)
    np.testing.assert_array_equal(image.pixel_array, frames_with(drawn))
