from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inference.bundle import Bundle, load_bundle
from inference.dataset.prepared import PreparedStudy
from inference.evaluation.operating import fit_operating_points
from inference.experiments.score import StudyScore
from inference.pipeline import Pipeline
from inference.suspicion import SuspicionMap
from inference.volume import Volume
from tests.unit.inference_models.builders import write_toy_bundle


class _ReadsHu(nn.Module):
    """A localiser for toy volumes: blocks of HU 310, 320 ... 370 are C1 ... C7."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        label = ((x[:, 0] * 1000 - 300) / 10).round().long().clamp(0, 10)
        label[(label > 7)] = 0
        return nn.functional.one_hot(label, 11).permute(0, 4, 1, 2, 3).float() * 8


class _KeepsHint(nn.Module):
    """A shape network that draws what it was told."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, 2:3] - 0.5) * 40


class _CallsC5:
    """Fracture models that call C5 broken, on the patient's left."""

    points = fit_operating_points(np.zeros((8, 8)), np.full((8, 8), 0.5))

    def move_to(self, device: torch.device) -> None:
        assert device.type == "cpu"

    def predict(self, study: PreparedStudy) -> StudyScore:
        assert study.levels is not None
        maps = {}
        for level in np.unique(study.levels[study.levels > 0]):
            rising = np.broadcast_to(np.linspace(0, 1, study.levels.shape[2]), study.levels.shape)
            values = np.where(study.levels == level, rising, 0).astype(np.float32)
            maps[int(level)] = SuspicionMap(values=values, grid=study.grid)
        return StudyScore(probabilities=np.array([0.9, *np.where(np.arange(1, 8) == 5, 0.9, 0.1)]), maps=maps)


def _toy_volume(levels: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)) -> Volume:
    hu = np.full((64, 48, 48), 40, dtype=np.int16)
    for level in levels:
        z = 60 - 8 * level
        hu[z : z + 5, 14:30, 16:32] = 300 + 10 * level
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-48.0, -48.0, 100.0)
    return Volume(hu=hu, affine_lps=affine)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    bundle = load_bundle(write_toy_bundle(tmp_path / "toy"))
    stub = Bundle(
        **{**vars(bundle), "localiser": _ReadsHu(), "place": None, "shape": _KeepsHint(), "fractures": _CallsC5()}
    )
    return Pipeline(stub, "cpu")


def test_the_broken_level_is_called_and_pointed_at_inside_its_vertebra(pipeline: Pipeline) -> None:
    volume = _toy_volume()
    prediction = pipeline.predict(volume)
    assert [v.level for v in prediction.levels if v.probability and v.probability >= v.threshold] == ["C5"]
    for number, level in enumerate(prediction.levels, start=1):
        assert level.status == "assessed"
        assert level.key_index_zyx is not None
        assert prediction.mask[level.key_index_zyx] == number
        assert volume.hu[level.key_index_zyx] == 300 + 10 * number
    # The suspicion map rises towards the left, +x.
    assert prediction.levels[4].key_index_zyx[2] > 29  # type: ignore[index]


def test_centres_and_boxes_are_in_patient_millimetres(pipeline: Pipeline) -> None:
    level = pipeline.predict(_toy_volume()).levels[2]
    assert level.box_lps_mm == ((-16.0, -20.0, 172.0), (14.0, 10.0, 180.0))
    low, high = np.array(level.box_lps_mm)
    assert np.all(low <= level.centre_lps_mm)
    assert np.all(level.centre_lps_mm <= high)


def test_a_level_outside_the_scan_has_no_probability_and_no_place(pipeline: Pipeline) -> None:
    level = pipeline.predict(_toy_volume((1, 2, 3, 4))).levels[6]
    assert (level.status, level.probability, level.centre_lps_mm, level.key_index_zyx, level.box_lps_mm) == (
        "not_assessed", None, None, None, None,
    )  # fmt: skip


def test_a_volume_without_a_cervical_spine_says_so_and_assesses_nothing(pipeline: Pipeline) -> None:
    prediction = pipeline.predict(_toy_volume(()))
    assert not prediction.cervical_spine_found
    assert prediction.reason == "No cervical spine was found in the volume."
    assert prediction.overall_probability is None
    assert not prediction.mask.any()
    assert {v.status for v in prediction.levels} == {"not_assessed"}


def test_a_long_scan_is_searched_and_gives_the_same_levels(pipeline: Pipeline) -> None:
    short = _toy_volume()
    hu = np.full((300, 48, 48), 40, dtype=np.int16)
    hu[210:274] = short.hu
    affine = short.affine_lps.copy()
    affine[2, 3] -= 210 * 2.0
    long = pipeline.predict(Volume(hu=hu, affine_lps=affine))
    alone = pipeline.predict(short)
    assert [v.status for v in long.levels] == [v.status for v in alone.levels]
    for there, here in zip(long.levels, alone.levels, strict=True):
        # A voxel: the middle of an even number of them is a tie.
        assert np.array(there.centre_lps_mm) == pytest.approx(np.array(here.centre_lps_mm), abs=2.0)


def test_progress_only_ever_rises_within_a_stage(pipeline: Pipeline) -> None:
    seen: list[tuple[str, float]] = []
    pipeline.predict(_toy_volume(), progress=lambda stage, share: seen.append((stage, share)))
    for stage in ("localise", "mask", "classify"):
        shares = [share for name, share in seen if name == stage]
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1.0)
