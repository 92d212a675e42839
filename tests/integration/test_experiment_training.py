"""A training that is killed, shared, ended early, or that must learn something."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.experiments.errors import DataError
from inference.experiments.families import build
from inference.experiments.fine_first import fine_loss, fine_slices
from inference.experiments.running import Run, train_experiment
from inference.experiments.score import collate
from inference.experiments.settings import Experiment, read_experiment
from inference.experiments.studies import study_of
from inference.experiments.watching import Validator
from inference.training import fit
from inference.training.fit import Training
from tests.builders.necks_prepared import neck, write_necks


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("prepared")
    write_necks(home / "train", 4)
    write_necks(home / "held", 2, first=20)
    return home / "train", home / "held"


def a_run(caches: tuple[Path, Path], folder: Path, name: str = "sagittal-9", **changes: object) -> Run:
    return Run(
        experiment=read_experiment(name, tiny=True).with_training(**changes),
        folder=folder,
        data=caches[0],
        validation=caches[1],
        fold=0,
        version="1",
        created="2026-01-02",
    )


class Killed(BaseException):
    """Stands for a process that ends without a word."""


def killed_at(last: int, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a training that saves every other step and dies after step `last` of the one in `folder`."""
    step = Training._step

    def die(self: Training, batch: object, loss: object) -> object:
        if self.folder == folder and self.step == last:
            raise Killed
        return step(self, batch, loss)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(fit, "_SAVE_EVERY", 2)
        patched.setattr(Training, "_step", die)
        with pytest.raises(Killed):
            train_experiment(run)


@pytest.mark.parametrize("name", ["sagittal-9", "volume-3dcnn"])
def test_a_killed_training_ends_with_the_bundle_of_an_uninterrupted_one(
    name: str, caches: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = (a_run(caches, tmp_path / which, name, steps=8) for which in ("whole", "broken"))
    train_experiment(whole)
    killed_at(7, broken, broken.folder, monkeypatch)
    assert torch.load(broken.folder / "last.pt", weights_only=True)["step"] == 6
    assert not broken.bundle.exists()
    train_experiment(broken)
    for file in (f"bundle/{name}.safetensors", "validation.csv", "validation_predictions.csv"):
        assert (whole.folder / file).read_bytes() == (broken.folder / file).read_bytes(), file


def test_a_training_that_is_killed_while_its_fine_path_learns_by_itself_goes_on_there(
    caches: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = (a_run(caches, tmp_path / which, "vertebra-crop", steps=4) for which in ("whole", "broken"))
    train_experiment(whole)
    killed_at(3, broken, broken.folder / "fine", monkeypatch)
    assert torch.load(broken.folder / "fine" / "last.pt", weights_only=True)["step"] == 2
    assert not (broken.folder / "last.pt").exists()
    train_experiment(broken)
    for file in ("bundle/vertebra-crop.safetensors", "validation_predictions.csv"):
        assert (whole.folder / file).read_bytes() == (broken.folder / file).read_bytes(), file


def test_the_whole_network_begins_with_what_its_fine_path_has_learnt_by_itself(
    caches: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = {}
    step = Training._step

    def note(self: Training, batch: object, loss: object) -> object:
        if self.step == 0 and self.folder.name != "fine":
            begun.update({name: value.clone() for name, value in self.net.state_dict().items()})
        return step(self, batch, loss)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "_step", note)
    told: list[tuple[str, int, int]] = []
    run = dataclasses.replace(
        a_run(caches, tmp_path / "run", "vertebra-crop", steps=1),
        tell=lambda name, done, of, text: told.append((name, done, of)),
    )
    train_experiment(run)
    assert told[0] == ("vertebra-crop, its fine path first", 4, 4)
    learnt = torch.load(run.folder / "fine" / "last.pt", weights_only=True)
    assert learnt["step"] == 4
    assert all(torch.equal(begun[f"fine.{name}"], value) for name, value in learnt["average"].items())


def test_a_fine_path_without_a_study_that_says_where_it_is_broken_is_refused(tmp_path: Path) -> None:
    write_necks(tmp_path / "train", 1, first=1, zones=False)
    write_necks(tmp_path / "held", 1, first=3)
    with pytest.raises(DataError, match="shows a vertebra and where it is broken"):
        train_experiment(a_run((tmp_path / "train", tmp_path / "held"), tmp_path / "run", "vertebra-crop"))


def test_half_of_what_a_fine_path_learns_from_is_broken_and_it_learns_which() -> None:
    experiment = _calm(read_experiment("vertebra-crop", tiny=True))
    numbers = experiment.fine_training
    assert numbers is not None
    studies = [study_of(neck(f"1.{i}", broken=(2, 5) if i else (), seed=i)) for i in range(3)]
    torch.manual_seed(0)
    model = build(experiment)
    path = model.network.fine
    parts = [fine_slices(model.sample, "fine", study, 6, np.random.default_rng(i)) for i, study in enumerate(studies)]
    shown = [int((part["zones"].flatten(1).amax(dim=1) > 0).sum()) for part in parts]
    assert shown == [0, 3, 3]
    batch = collate(parts)
    assert batch["images"].shape == (18, 4, 32, 32)
    assert batch["zones"].shape == (18, 16, 16)
    optimizer = torch.optim.AdamW(path.parameters(), lr=1e-2)
    first = last = fine_loss(path, batch, numbers)
    for _ in range(40):
        optimizer.zero_grad()
        last["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        last = fine_loss(path, batch, numbers)
    assert float(last["cells"]) < 0.6 * float(first["cells"])
    assert float(last["slices"]) < 0.3 * float(first["slices"])


def test_what_only_the_coronal_path_sees_is_shown_in_the_axial_map() -> None:
    model = build(read_experiment("vertebra-crop", tiny=True))
    model.network.eval()
    study = study_of(neck())
    for bias, most in ((-20.0, 0.01), (20.0, 1.01)):
        with torch.no_grad():
            model.network.fine.head.bias.fill_(-20.0)
            model.network.coronal.head.bias.fill_(bias)
        assert most - 0.1 < float(model.predict(study).maps[3].values.max()) < most


def test_no_improvement_ends_a_training_and_it_stays_ended(
    caches: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.4, 0.45, 0.41, 0.3])
    monkeypatch.setattr(
        Validator,
        "_trial",
        lambda self, training: {"loss": next(losses), "raw_loss": 0.7, "overall_auc": 0.5, "level_auc": 0.5},
    )
    run = a_run(caches, tmp_path / "run", "volume-3dcnn", steps=50, validate_every=1, patience=2)
    manifest = train_experiment(run)
    assert manifest is not None
    assert manifest["training"]["ended_early"] is True
    assert (manifest["training"]["steps"], manifest["training"]["best_step"]) == (4, 2)
    again = train_experiment(run)
    assert again is not None
    assert again["training"]["steps"] == 4


@pytest.mark.parametrize("name", ["vertebra-crop", "slice-effnet", "unet25d-bigru", "sagittal-9", "volume-3dcnn"])
def test_a_model_can_learn_four_studies_by_heart(name: str) -> None:
    experiment = _calm(read_experiment(name, tiny=True))
    studies = [study_of(neck(f"1.{i}", broken=(1 + i,) if i % 2 else (), seed=i)) for i in range(4)]
    torch.manual_seed(0)
    model = build(experiment)
    batch = collate([model.sample(study, np.random.default_rng(i)) for i, study in enumerate(studies)])
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = model.loss(model.network, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.75 * losses[0], losses


def test_a_flipped_neck_gives_the_slices_and_maps_of_the_flipped_picture() -> None:
    experiment = read_experiment("vertebra-crop", tiny=True)
    both = dataclasses.replace(experiment, input=dataclasses.replace(experiment.input, mirrored=True))
    torch.manual_seed(0)
    model = build(both)
    model.network.eval()
    study = neck(broken=(3,))
    assert study.levels is not None
    flipped = dataclasses.replace(
        study,
        hu=study.hu[..., ::-1].copy(),
        levels=study.levels[..., ::-1].copy(),
        fracture=None if study.fracture is None else study.fracture[..., ::-1].copy(),
    )
    one, other = model.predict(study_of(study)), model.predict(study_of(flipped))
    assert np.allclose(one.probabilities, other.probabilities, atol=1e-5)
    assert np.allclose(one.slices[3].values, other.slices[3].values, atol=1e-5)
    # The fine path may compute in bfloat16.
    assert np.allclose(one.maps[3].values, other.maps[3].values[..., ::-1], atol=5e-3)


def test_two_processes_train_one_network(caches: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "dicom_node", "train", "volume-3dcnn"]
    command += ["--data", str(caches[0]), "--validation", str(caches[1]), "--out", str(tmp_path / "run"), "--tiny"]
    command += ["--steps", "4", "--device", "cpu", "--threads", "1"]
    ran = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    manifest = json.loads((tmp_path / "run" / "bundle" / "manifest.json").read_text())
    assert manifest["training"]["processes"] == 2
    assert manifest["training"]["steps"] == 4
    assert ran.stdout.count("competition loss") == 1


def _calm(experiment: Experiment) -> Experiment:
    """Without the changes that hide from a few steps what there is to learn."""
    still = dataclasses.replace(experiment.augmentation, turn_deg=0.0, scale=0.0, shift_mm=0.0, cut_level=0.0)
    return dataclasses.replace(experiment, augmentation=still)
