"""The maps of the assessed levels are kept as the result promises."""

from pathlib import Path

import numpy as np

from dicom_node.analysis.study import _save_suspicion
from dicom_node.results.suspicion import read_maps
from inference.pipeline import LevelPrediction
from inference.preprocess import PatientGrid
from inference.suspicion import SuspicionMap


def level(name: str, suspicion: SuspicionMap | None) -> LevelPrediction:
    return LevelPrediction(
        level=name,
        status="assessed" if suspicion else "not_assessed",
        probability=0.5 if suspicion else None,
        threshold=0.5,
        centre_lps_mm=None,
        key_index_zyx=None,
        box_lps_mm=None,
        suspicion=suspicion,
    )


def test_the_encoder_reads_the_map_that_the_model_drew(tmp_path: Path):
    grid = PatientGrid(origin_lps_mm=(1.0, 2.0, 3.0), spacing_mm_zyx=(1.6, 1.5, 2.0), shape_zyx=(2, 3, 4))
    values = np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)
    file = _save_suspicion(
        [level("C2", SuspicionMap(values=values, grid=grid)), level("C7", None)], tmp_path / "suspicion.npz"
    )
    maps = read_maps(file)
    assert list(maps) == ["C2"]
    np.testing.assert_array_equal(maps["C2"].values, values)
    z, y, x = 1, 2, 3
    np.testing.assert_allclose((maps["C2"].affine_lps @ (x, y, z, 1))[:3], grid.to_lps_mm(np.array([z, y, x])))
    assert maps["C2"].at(np.array([[7.0, 5.0, 4.6]]))[0] == values[z, y, x]


def test_without_any_map_there_is_no_file(tmp_path: Path):
    assert _save_suspicion([level("C2", None)], tmp_path / "suspicion.npz") is None
    assert not (tmp_path / "suspicion.npz").exists()
