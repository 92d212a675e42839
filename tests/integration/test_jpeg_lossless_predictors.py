"""JPEG Lossless as DCMTK writes it: every predictor, with and without a point transform, beside GDCM's answer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from inference import decoding
from inference.decoding import FrameSource
from inference.headers import read_header
from tests.builders.stored_ct import ct_slice, write
from tests.peers import require


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("layout", [(np.uint16, 12), (np.int16, 12), (np.uint16, 16), (np.int16, 16)])
def test_every_predictor_decodes_as_gdcm_decodes_it(tmp_path: Path, monkeypatch, layout) -> None:
    program = require("dcmcjpeg", "dcmtk")
    dtype, bits = layout
    least = -(1 << (bits - 1)) if dtype is np.int16 else 0
    values = np.random.default_rng(bits).integers(least, least + (1 << bits), (24, 32)).astype(dtype)
    values[0, ::2], values[0, 1::2] = least, least + (1 << (bits - 1))  # the largest difference a code has
    plain = write(ct_slice(values, 1, BitsStored=bits, HighBit=bits - 1), tmp_path / "plain.dcm")
    for predictor in range(1, 8):
        for point_transform in (0, 2):
            coded = tmp_path / f"{predictor}{point_transform}.dcm"
            options = ["+el", "+sv", str(predictor), "+pt", str(point_transform)]
            subprocess.run([program, *options, str(plain), str(coded)], check=True, capture_output=True, timeout=60)
            source = FrameSource(read_header(coded))
            here = source.frame(0)
            with monkeypatch.context() as patched:
                patched.setattr(decoding, "decode_in_parallel", lambda frame, syntax, samples: None)
                np.testing.assert_array_equal(here, source.frame(0))
            mask = (1 << bits) - 1
            if point_transform == 0:
                np.testing.assert_array_equal(here & mask, values.view(np.uint16) & mask)
