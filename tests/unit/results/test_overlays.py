"""The viewer's overlays say what the SEGs say."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicom_node.analysis.viewer_volume import write_viewer_volume
from dicom_node.app.viewing import GRID, STUDY, SUSPICION, VERTEBRAE, read_viewing
from dicom_node.core.finding import ResultKind
from dicom_node.results.encoder import DicomResultEncoder
from inference.volume import Volume
from tests.builders.results import make_result

AT = datetime(2026, 1, 2, tzinfo=UTC)
ENCODER = DicomResultEncoder(manufacturer="m", software_version="1", device_serial="s")


@pytest.fixture
def result(tmp_path: Path):
    made = make_result(tmp_path / "study", n=24)
    with np.load(made.mask_path) as arrays:
        mask, affine = arrays["mask"], arrays["affine_lps"]
    volume = Volume(hu=np.zeros(mask.shape, dtype=np.int16), affine_lps=affine)
    return replace(made, viewer_path=write_viewer_volume(volume, mask, tmp_path / "viewer"))


def labels(folder: Path, name: str) -> np.ndarray:
    shape = json.loads((folder / GRID).read_text())["shape_zyx"]
    return np.frombuffer(gzip.decompress((folder / name).read_bytes())[352:], dtype=np.uint8).reshape(shape)


def test_encoding_completes_the_folder_with_the_vertebrae_the_bands_and_the_curve(result, tmp_path: Path):
    ENCODER.encode(result, revision=1, created_at=AT, out_dir=tmp_path / "out")
    viewing = read_viewing(result.viewer_path)
    assert viewing is not None
    start, shape = viewing.grid.start_zyx, viewing.grid.shape_zyx
    with np.load(result.mask_path) as arrays:
        mask = arrays["mask"]
    box = mask[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))]
    assert viewing.grid.step_zyx == (1, 1, 1)
    assert np.array_equal(labels(result.viewer_path, VERTEBRAE), box)
    bands = labels(result.viewer_path, SUSPICION)
    assert set(np.unique(bands)) == {0, 1, 2, 3}
    assert set(np.unique(box[bands > 0])) <= {0, 2}, "no band in another level's bone"
    (positive,) = (finding for finding in result.findings if finding.is_positive)
    key = positive.key_index_zyx[0]
    assert len(viewing.curve) == len(mask)
    assert int(np.argmax(viewing.curve)) == key
    assert viewing.curve[key] == pytest.approx(positive.probability, abs=1e-3)
    assert {place.level: place.slice_index for place in viewing.levels}[positive.level] == key


def test_a_negative_study_has_no_bands_and_no_file_of_them(result, tmp_path: Path):
    findings = tuple(replace(finding, probability=0.01) for finding in result.findings)
    negative = replace(result, findings=findings, suspicion_path=None, overall_probability=0.01)
    ENCODER.encode(negative, revision=1, created_at=AT, out_dir=tmp_path / "out")
    viewing = read_viewing(result.viewer_path)
    assert viewing is not None
    assert not viewing.has_suspicion
    assert not (result.viewer_path / SUSPICION).exists()
    assert max(viewing.curve) == 0


@pytest.mark.parametrize("text", ["{", "{}", '{"start_zyx": [0, 0, 0], "step_zyx": [9, 9, 9]}'])
def test_a_grid_that_is_not_as_agreed_costs_the_overlays_and_no_result(result, tmp_path: Path, text: str):
    (result.viewer_path / GRID).write_text(text)
    made = ENCODER.encode(result, revision=1, created_at=AT, out_dir=tmp_path / "out")
    assert ResultKind.SEG in {each.kind for each in made}
    assert not (result.viewer_path / STUDY).exists()
