"""The shipped bundle on phantoms that no training has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.bundle import load_bundle
from inference.evaluation.metrics import dice
from inference.localise import NetworkLocaliser
from inference.pipeline import Pipeline, Prediction
from inference.synthetic import Grid, Phantom, build_anatomy, default_grid, draw_spec, make_phantom
from inference.volume import Volume

_SEED = 990_001


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(load_bundle("default"), "cpu", threads=2)


def _phantom(coverage: str, seed: int = _SEED, voxel_mm: float = 1.25) -> Phantom:
    """A sound spine on a coarse grid, which keeps the test short."""
    spec = draw_spec(seed, fractures=(), coverage=coverage, cut_top=0.6, cut_bottom=0.6)
    spec = replace(spec, scanner=replace(spec.scanner, tilt_deg=0.0))
    own = default_grid(spec, build_anatomy(spec))
    factor = np.maximum(1.0, voxel_mm / own.spacing_mm_xyz)
    shape = np.maximum((np.array(own.shape_zyx) / factor[::-1]).astype(int), 1)
    affine = own.affine_lps.copy()
    affine[:3, :3] *= factor
    return make_phantom(spec, grid=Grid(shape_zyx=(int(shape[0]), int(shape[1]), int(shape[2])), affine_lps=affine))


def _centre_errors_mm(phantom: Phantom, prediction: Prediction) -> list[float]:
    """C2 to C7: the truth of C1 is its ring's centre, in the canal, where no point of the vertebra can be."""
    truth = {v["level"]: v for v in phantom.truth["levels"][1:] if v["status"] == "complete"}
    return [
        float(np.linalg.norm(np.subtract(level.centre_lps_mm, truth[level.level]["centre_lps_mm"])))
        for level in prediction.levels
        if level.level in truth and level.centre_lps_mm is not None
    ]


def test_every_vertebra_of_a_neck_is_named_and_placed(pipeline: Pipeline) -> None:
    phantom = _phantom("cspine")
    prediction = pipeline.predict(phantom.volume)
    assert [v.status for v in prediction.levels] == ["assessed"] * 7
    assert max(_centre_errors_mm(phantom, prediction)) < 5
    for number, level in enumerate(prediction.levels, start=1):
        assert level.key_index_zyx is not None
        # A bone's edge is found to about a voxel: the dens is that near to the arch of C1.
        around = tuple(slice(max(0, i - 2), i + 3) for i in level.key_index_zyx)
        assert number in phantom.labels[around]


def test_bfloat16_and_float32_name_the_same_levels_in_the_same_places() -> None:
    bundle, volume = load_bundle("default"), _phantom("cspine").volume
    full, half = (
        NetworkLocaliser(
            bundle.localiser, torch.device("cpu"), precision, place_net=bundle.place, shape_net=bundle.shape
        ).locate(volume)
        for precision in ("float32", "bfloat16")
    )
    assert full is not None
    assert half is not None
    for a, b in zip(full.levels, half.levels, strict=True):
        assert (a.level, a.status) == (b.level, b.status)
        if a.centre_lps_mm is not None and b.centre_lps_mm is not None:
            assert np.linalg.norm(np.subtract(a.centre_lps_mm, b.centre_lps_mm)) < 1.0
    assert dice(full.mask > 0, half.mask > 0) > 0.97


def test_a_whole_body_scan_that_holds_a_neck_is_analysed(pipeline: Pipeline) -> None:
    phantom = _phantom("wholebody", voxel_mm=2.0)
    prediction = pipeline.predict(phantom.volume)
    assert prediction.cervical_spine_found
    errors = _centre_errors_mm(phantom, prediction)
    assert len(errors) >= 4
    assert float(np.median(errors)) < 10


@pytest.mark.parametrize("coverage", ["chest", "abdomen"])
def test_a_scan_without_a_neck_has_no_cervical_spine(pipeline: Pipeline, coverage: str) -> None:
    prediction = pipeline.predict(_phantom(coverage, voxel_mm=2.0).volume)
    assert not prediction.cervical_spine_found


def test_the_same_voxels_give_the_same_answer(pipeline: Pipeline) -> None:
    volume = _phantom("cspine").volume
    first, second = pipeline.predict(volume), pipeline.predict(volume)
    assert first.levels == second.levels
    assert np.array_equal(first.mask, second.mask)
    for one, other in zip(first.levels, second.levels, strict=True):
        assert (one.suspicion is None) == (other.suspicion is None)
        if one.suspicion is not None and other.suspicion is not None:
            assert np.array_equal(one.suspicion.values, other.suspicion.values)


def test_slices_stored_in_a_tilted_stack_give_the_same_places(pipeline: Pipeline) -> None:
    phantom = _phantom("cspine")
    straight = pipeline.predict(phantom.volume)
    # The same voxels sheared in memory and sheared back by the affine: the patient has not moved.
    shear = 2
    hu = np.stack([np.roll(s, -(k // shear), axis=0) for k, s in enumerate(phantom.volume.hu)])
    affine = phantom.volume.affine_lps.copy()
    affine[:3, 2] += affine[:3, 1] / shear
    tilted = pipeline.predict(Volume(hu=hu, affine_lps=affine))
    for a, b in zip(straight.levels[1:6], tilted.levels[1:6], strict=True):
        assert a.centre_lps_mm is not None
        assert b.centre_lps_mm is not None
        assert np.linalg.norm(np.subtract(a.centre_lps_mm, b.centre_lps_mm)) < 6
