"""Every experiment from prepared studies to a bundle by its own command, in its tiny setting on the CPU."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.evaluation.predictions import read_predictions
from inference.experiments.bundle import load_experiment_bundle
from inference.experiments.settings import FOLDER, experiment_names, read_experiment
from tests.builders.commands import Ran, cspine_node
from tests.builders.necks_prepared import neck, write_necks

SINGLE = tuple(name for name in experiment_names() if not read_experiment(name).is_ensemble)
EXPLAINS_SLICES = {"slice-effnet", "unet25d-bigru", "vertebra-crop"}


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Six studies to train on and four to validate on."""
    home = tmp_path_factory.mktemp("prepared")
    write_necks(home / "train", 6)
    write_necks(home / "held", 4, first=20)
    return home / "train", home / "held"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the members of the ensembles are shared."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(name: str, caches: tuple[Path, Path], out: Path, *more: object) -> Ran:
    data = ("--data", caches[0], "--validation", caches[1])
    return cspine_node("train", name, *data, "--out", out, "--tiny", "--device", "cpu", *more)


@pytest.mark.parametrize("name", SINGLE)
def test_an_experiment_trains_predicts_and_loads_from_one_command_each(
    name: str, caches: tuple[Path, Path], runs: Path, tmp_path: Path
) -> None:
    ran = train(name, caches, runs / name)
    assert ran.status == 0, ran.err
    assert f"{runs / name / 'bundle'}: version 0.1.0; on 4 validation studies competition loss" in ran.out
    with (runs / name / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [6, 12]
    assert list((runs / name / "tensorboard").glob("events.*"))

    table = tmp_path / "pred.csv"
    ran = cspine_node("predict", runs / name, "--data", caches[1], "--out", table, "--device", "cpu")
    assert ran.status == 0, ran.err
    found = read_predictions(table)
    bundle = load_experiment_bundle(runs / name)
    raw = read_predictions(runs / name / "validation_predictions.csv")
    assert found.uids == raw.uids
    # What was measured at the end of the training is what the loaded bundle answers.
    assert np.allclose(found.values, bundle.points.calibrated(raw.values), atol=2e-4)
    score = bundle.predict(neck(broken=(3,), seed=99))
    assert set(score.slices) == (set(range(1, 8)) if name in EXPLAINS_SLICES - {"unet25d-bigru"} else set(score.slices))
    assert bool(score.maps) == (name == "vertebra-crop")


@pytest.mark.parametrize("name", ["neckfrac-ensemble", "default"])
def test_an_ensemble_trains_what_is_missing_and_weighs_its_members(
    name: str, caches: tuple[Path, Path], runs: Path, tmp_path: Path
) -> None:
    members = read_experiment(name).members
    there = {m: (runs / m / "bundle" / "manifest.json").stat().st_mtime_ns for m in members if (runs / m).exists()}
    ran = train(name, caches, tmp_path / "run", "--members", runs)
    assert ran.status == 0, ran.err
    assert {m: (runs / m / "bundle" / "manifest.json").stat().st_mtime_ns for m in there} == there
    bundle = load_experiment_bundle(tmp_path / "run")
    assert bundle.points.rule == "f2"
    assert 1 <= len(bundle.members) <= len(members)
    assert sum(m.overall_weight for m in bundle.members) == pytest.approx(1.0, abs=1e-3)
    raw = read_predictions(tmp_path / "run" / "validation_predictions.csv")
    study = neck(f"1.2.{20}", seed=20)
    assert np.allclose(bundle.predict(study).probabilities, bundle.points.calibrated(raw.values[0]), atol=2e-4)


def test_the_slice_models_table_has_a_row_for_each_slice(caches: tuple[Path, Path], runs: Path, tmp_path: Path) -> None:
    if not (runs / "slice-effnet" / "bundle").exists():
        assert train("slice-effnet", caches, runs / "slice-effnet").status == 0
    table = tmp_path / "slices.csv"
    command = ("predict", runs / "slice-effnet", "--data", caches[1], "--out", tmp_path / "pred.csv")
    assert cspine_node(*command, "--slices", table, "--device", "cpu").status == 0
    with table.open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["StudyInstanceUID", "z_mm", *(f"C{k}" for k in range(1, 8))]
    heights = [float(row[1]) for row in rows[1:] if row[0] == "1.2.20"]
    assert heights[0] == pytest.approx(-75.0)
    assert np.allclose(np.diff(heights), 3.2)


def test_a_model_that_knows_no_slices_says_so(caches: tuple[Path, Path], runs: Path, tmp_path: Path) -> None:
    if not (runs / "volume-3dcnn" / "bundle").exists():
        assert train("volume-3dcnn", caches, runs / "volume-3dcnn").status == 0
    command = ("predict", runs / "volume-3dcnn", "--data", caches[1], "--out", tmp_path / "pred.csv")
    ran = cspine_node(*command, "--slices", tmp_path / "slices.csv", "--device", "cpu")
    assert ran.status == 2
    assert "does not say which vertebrae a slice shows" in ran.err
    assert not list(tmp_path.glob("*.csv"))


def test_a_finished_run_and_one_asked_for_otherwise_are_left_alone(caches: tuple[Path, Path], runs: Path) -> None:
    if not (runs / "volume-3dcnn" / "bundle").exists():
        assert train("volume-3dcnn", caches, runs / "volume-3dcnn").status == 0
    files = [file for file in (runs / "volume-3dcnn").rglob("*") if file.is_file() and "tensorboard" not in file.parts]
    before = {file: file.stat().st_mtime_ns for file in files}
    assert train("volume-3dcnn", caches, runs / "volume-3dcnn", "--cache-mib", 50).status == 0
    ran = train("volume-3dcnn", caches, runs / "volume-3dcnn", "--seed", 5)
    assert ran.status == 2
    assert "holds a run with other settings ([training])" in ran.err
    assert {file: file.stat().st_mtime_ns for file in files} == before


def test_a_model_that_needs_levels_names_the_study_without_them(tmp_path: Path) -> None:
    write_necks(tmp_path / "train", 2, levels=False)
    write_necks(tmp_path / "held", 2, first=20)
    ran = train("vertebra-crop", (tmp_path / "train", tmp_path / "held"), tmp_path / "run")
    assert ran.status == 2
    assert "has no vertebral levels, which vertebra-crop needs; prepare it again with --localise" in ran.err


def test_members_are_an_ensembles(tmp_path: Path) -> None:
    ran = cspine_node("train", "volume-3dcnn", "--data", tmp_path, "--out", tmp_path / "run", "--members", tmp_path)
    assert ran.status == 2
    assert "volume-3dcnn has no members" in ran.err


def test_nothing_to_train_on_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = cspine_node("train", "volume-3dcnn", "--data", tmp_path / "empty", "--out", tmp_path / "run")
    assert ran.status == 2
    assert "holds no prepared study" in ran.err
    assert not (tmp_path / "run").exists()


def test_the_manifest_tells_what_the_bundle_is_made_of(caches: tuple[Path, Path], runs: Path) -> None:
    if not (runs / "sagittal-9" / "bundle").exists():
        assert train("sagittal-9", caches, runs / "sagittal-9").status == 0
    manifest = json.loads((runs / "sagittal-9" / "bundle" / "manifest.json").read_text())
    assert manifest["data"]["sources"] == ["phantom"]
    assert manifest["data"]["train_studies"] == 6
    assert manifest["training"]["steps"] == 12
    assert manifest["metrics"]["note"].endswith("not a test")
    assert manifest["experiment_sha256"] == read_experiment("sagittal-9", tiny=True).digest()


def test_a_training_starts_from_the_weights_of_another_and_says_whose(
    caches: tuple[Path, Path], runs: Path, tmp_path: Path
) -> None:
    if not (runs / "volume-3dcnn" / "bundle").exists():
        assert train("volume-3dcnn", caches, runs / "volume-3dcnn").status == 0
    more = ("--start-from", runs / "volume-3dcnn", "--learning-rate", 1e-7, "--steps", 6)
    ran = train("volume-3dcnn", caches, tmp_path / "run", *more)
    assert ran.status == 0, ran.err
    before, after = (load_experiment_bundle(folder) for folder in (runs / "volume-3dcnn", tmp_path / "run"))
    source = {"name": "volume-3dcnn", "version": "0.1.0", "sha256": before.sha256, "experiment": "volume-3dcnn"}
    assert after.manifest["training"]["started_from"] == source
    assert before.manifest["training"]["started_from"] is None
    # A training with next to no learning rate ends where it started.
    theirs, own = (list(b.members[0].model.network.parameters()) for b in (before, after))
    assert all(torch.allclose(a, b, atol=2e-3) for a, b in zip(own, theirs, strict=True))
    assert train("volume-3dcnn", caches, tmp_path / "run", *more).status == 0
    ran = train("volume-3dcnn", caches, tmp_path / "run", *more[2:])
    assert ran.status == 2
    assert "holds a run with other settings (start)" in ran.err


def test_a_start_that_does_not_fit_leaves_no_run(caches: tuple[Path, Path], runs: Path, tmp_path: Path) -> None:
    if not (runs / "volume-3dcnn" / "bundle").exists():
        assert train("volume-3dcnn", caches, runs / "volume-3dcnn").status == 0
    ran = train("sagittal-9", caches, tmp_path / "run", "--start-from", runs / "volume-3dcnn")
    assert ran.status == 2
    assert "it holds volume-3dcnn, and sagittal-9 is sagittal-9" in ran.err
    ran = train("default", caches, tmp_path / "run", "--start-from", runs / "volume-3dcnn")
    assert ran.status == 2
    assert "default has no weights of its own" in ran.err
    ran = train("sagittal-9", caches, tmp_path / "run", "--start-from", tmp_path / "nothing")
    assert ran.status == 2
    assert not (tmp_path / "run").exists()


def test_what_validates_through_another_scanner_predicts_through_it_alike(
    caches: tuple[Path, Path], tmp_path: Path
) -> None:
    text = (FOLDER / "volume-3dcnn.toml").read_text().replace("[training]", '[training]\nvalidate_as = ["coarse"]')
    (tmp_path / "mine.toml").write_text(text)
    ran = train("volume-3dcnn", caches, tmp_path / "run", "--settings", tmp_path / "mine.toml")
    assert ran.status == 0, ran.err
    tables = {}
    for name in ("as-is", "coarse"):
        command = ("predict", tmp_path / "run", "--data", caches[1], "--out", tmp_path / f"{name}.csv")
        assert cspine_node(*command, "--rescan", name, "--device", "cpu").status == 0
        tables[name] = read_predictions(tmp_path / f"{name}.csv").values
    raw = read_predictions(tmp_path / "run" / "validation_predictions.csv")
    points = load_experiment_bundle(tmp_path / "run").points
    assert np.allclose(tables["coarse"], points.calibrated(raw.values), atol=2e-4)
    assert not np.allclose(tables["coarse"], tables["as-is"], atol=1e-6)


def test_a_rescan_that_there_is_not_is_an_error_of_one_line(
    caches: tuple[Path, Path], runs: Path, tmp_path: Path
) -> None:
    if not (runs / "volume-3dcnn" / "bundle").exists():
        assert train("volume-3dcnn", caches, runs / "volume-3dcnn").status == 0
    command = ("predict", runs / "volume-3dcnn", "--data", caches[1], "--out", tmp_path / "pred.csv")
    ran = cspine_node(*command, "--rescan", "hard")
    assert ran.status == 2
    assert "there is no rescan hard; there are as-is, soft" in ran.err
    assert not list(tmp_path.glob("*.csv"))
