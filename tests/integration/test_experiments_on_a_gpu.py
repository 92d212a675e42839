"""One answer on either device, and a bundle made on one used on the other. Without a GPU there is nothing to test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.experiments.bundle import Member, load_experiment_bundle, rounded, save_bundle
from inference.experiments.changes import NO_CHANGE, Window, look
from inference.experiments.families import build
from inference.experiments.settings import experiment_names, read_experiment
from inference.experiments.studies import study_of
from tests.builders.commands import cspine_node
from tests.builders.necks_prepared import SPACING_MM_ZYX, neck, write_necks
from tests.unit.experiments.test_bundle import POINTS

SINGLE = tuple(name for name in experiment_names() if not read_experiment(name).is_ensemble)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", SINGLE)
def test_cpu_and_gpu_agree_within_a_hundredth(name: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = build(read_experiment(name, tiny=True))
    model.network = rounded(model.network).eval()
    save_bundle(tmp_path / "bundle", [Member(model=model)], POINTS, {"name": name, "version": "1"})
    cpu, gpu = (load_experiment_bundle(tmp_path / "bundle", device) for device in ("cpu", "cuda"))
    for study in (neck(broken=(2, 5)), neck(seed=3)):
        assert np.abs(cpu.predict(study).probabilities - gpu.predict(study).probabilities).max() < 0.01


@pytest.mark.parametrize("name", SINGLE)
def test_a_bundle_trained_on_a_gpu_answers_the_same_on_a_cpu(name: str, tmp_path: Path) -> None:
    write_necks(tmp_path / "train", 4)
    write_necks(tmp_path / "held", 2, first=20)
    data = ("--data", tmp_path / "train", "--validation", tmp_path / "held", "--out", tmp_path / "run")
    ran = cspine_node("train", name, *data, "--tiny", "--device", "cuda")
    assert ran.status == 0, ran.err
    assert json.loads((tmp_path / "run" / "bundle" / "manifest.json").read_text())["training"]["device"] == "cuda"
    cpu, gpu = (load_experiment_bundle(tmp_path / "run", device) for device in ("cpu", "cuda"))
    study = neck(broken=(2,))
    assert np.abs(cpu.predict(study).probabilities - gpu.predict(study).probabilities).max() < 0.01


def test_a_window_is_the_same_on_either_device() -> None:
    study = study_of(neck(broken=(2,)))
    window = Window(centre_zyx=np.array([30.4, 17.0, 20.3]), spacing_mm_zyx=SPACING_MM_ZYX, shape_zyx=(20, 24, 24))
    one, other = look(study, window, NO_CHANGE), look(study.to("cuda"), window, NO_CHANGE)
    assert torch.allclose(one.hu, other.hu.cpu(), atol=0.5)
    assert float((one.levels != other.levels.cpu()).float().mean()) < 0.01
