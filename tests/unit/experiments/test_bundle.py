"""A bundle of an experiment: what is kept, what is refused and with which reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.bundle_files import BundleError
from inference.evaluation.operating import fit_operating_points, logit, sigmoid
from inference.experiments import bundle as bundles
from inference.experiments.bundle import Member, blended, load_experiment_bundle, rounded, save_bundle
from inference.experiments.ensemble import best_weights, seen_as, weigh
from inference.experiments.families import build
from inference.experiments.score import FractureModel
from inference.experiments.settings import read_experiment
from inference.experiments.studies import study_of
from tests.builders.commands import cspine_node
from tests.builders.necks_prepared import neck

POINTS = fit_operating_points(np.eye(8), np.full((8, 8), 0.3))


@pytest.fixture
def model() -> FractureModel:
    torch.manual_seed(1)
    built = build(read_experiment("volume-3dcnn", tiny=True))
    built.network = rounded(built.network).eval()
    return built


@pytest.fixture
def folder(tmp_path: Path, model: FractureModel) -> Path:
    save_bundle(tmp_path / "bundle", [Member(model=model)], POINTS, {"name": "volume-3dcnn", "version": "1"})
    return tmp_path / "bundle"


def manifest(folder: Path, **changes: Any) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_loaded_bundle_answers_what_the_model_answered(folder: Path, model: FractureModel) -> None:
    study = study_of(neck(broken=(4,)))
    loaded = load_experiment_bundle(folder)
    raw = model.predict(study).probabilities
    assert np.allclose(loaded.predict(study).probabilities, POINTS.calibrated(raw), atol=1e-12)
    assert np.allclose(loaded.predict(neck(broken=(4,))).probabilities, loaded.predict(study).probabilities, atol=1e-12)
    assert loaded.points == POINTS
    assert (loaded.name, loaded.version) == ("volume-3dcnn", "1")


def test_bundle_inspect_shows_an_experiments_bundle_and_verifies_it(folder: Path) -> None:
    shown = cspine_node("bundle", "inspect", folder, "--json").json
    assert shown["name"] == "volume-3dcnn"
    assert shown["sha256"] == load_experiment_bundle(folder).sha256
    assert shown["manifest"]["members"][0]["weights"] == "volume-3dcnn.safetensors"
    (folder / "volume-3dcnn.safetensors").write_bytes(b"")
    ran = cspine_node("bundle", "inspect", folder)
    assert ran.status != 0
    assert "has changed" in ran.err


def test_a_run_is_loaded_by_its_folder(folder: Path) -> None:
    assert load_experiment_bundle(folder.parent).sha256 == load_experiment_bundle(folder).sha256


def test_saving_again_replaces_the_whole_folder(folder: Path, model: FractureModel) -> None:
    (folder / "stray.txt").write_text("left over")
    save_bundle(folder, [Member(model=model)], POINTS, {"name": "volume-3dcnn", "version": "2"})
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "volume-3dcnn.safetensors"]
    assert load_experiment_bundle(folder).version == "2"


def test_weights_that_have_changed_are_refused(folder: Path) -> None:
    file = folder / "volume-3dcnn.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"volume-3dcnn\.safetensors of bundle .* has changed"):
        load_experiment_bundle(folder)


def test_weights_that_are_gone_are_named(folder: Path) -> None:
    (folder / "volume-3dcnn.safetensors").unlink()
    with pytest.raises(BundleError, match=r"lacks volume-3dcnn\.safetensors"):
        load_experiment_bundle(folder)


def test_another_preprocessing_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "PREPROCESSING", {**bundles.PREPROCESSING, "revision": 2})
    with pytest.raises(BundleError, match="trained with another preprocessing"):
        load_experiment_bundle(folder)


def test_an_input_that_was_edited_is_another_preprocessing(folder: Path) -> None:
    members = json.loads((folder / "manifest.json").read_text())["members"]
    members[0]["experiment"]["input"]["windows_hu"] = [[0.0, 1400.0]]
    manifest(folder, members=members)
    with pytest.raises(BundleError, match="trained with another preprocessing"):
        load_experiment_bundle(folder)


def test_another_network_than_the_weights_is_refused(folder: Path) -> None:
    members = json.loads((folder / "manifest.json").read_text())["members"]
    members[0]["experiment"]["network"]["hidden"] = 24
    manifest(folder, members=members)
    with pytest.raises(BundleError, match="does not hold the weights its manifest describes"):
        load_experiment_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "other"}, "no bundle of a fracture experiment"),
        ({"format_version": 9}, "format version 9; this program reads 1"),
        ({"members": []}, "lists no members"),
        ({"files": {}}, "does not list its files"),
        ({"operating_points": {"format": 1}}, "lacks or misstates"),
        ({"version": None, "operating_points": None}, "lacks or misstates"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    manifest(folder, **changes)
    with pytest.raises(BundleError, match=said):
        load_experiment_bundle(folder)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is no bundle: it has no readable manifest\.json"):
        load_experiment_bundle(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="is not JSON"):
        load_experiment_bundle(tmp_path)


def test_members_are_blended_by_the_mean_of_their_logits(model: FractureModel) -> None:
    one = Member(model=model, overall_weight=0.25, level_weight=1.0)
    other = Member(model=model, overall_weight=0.75, level_weight=0.0)
    a, b = np.full((1, 8), 0.2), np.full((1, 8), 0.9)
    mixed = blended([one, other], [a, b])
    assert mixed[0, 0] == pytest.approx(float(sigmoid(0.25 * logit(a[0, 0]) + 0.75 * logit(b[0, 0]))))
    assert mixed[0, 1:] == pytest.approx(0.2)


def test_weights_go_to_who_knows_and_a_member_without_weight_is_left_out(model: FractureModel) -> None:
    rng = np.random.default_rng(2)
    truth = (rng.random((200, 8)) < 0.4).astype(float)
    knows = np.clip(truth * 0.8 + 0.1 + rng.normal(0, 0.03, truth.shape), 0.01, 0.99)
    guesses = rng.random(truth.shape)
    weights = best_weights([knows, guesses], truth, slice(0, 1))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] > 0.9
    members = [Member(model=model, points=fit_operating_points(truth, p)) for p in (knows, guesses)]
    kept, values = weigh(members, [knows, guesses], truth)
    assert [m.points for m in kept] == [members[0].points]
    assert (kept[0].overall_weight, kept[0].level_weight) == (1.0, 1.0)
    assert values.shape == truth.shape


def test_stored_weights_are_what_was_measured(model: FractureModel) -> None:
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    again = rounded(model.network).state_dict()
    assert all(torch.equal(before[k], again[k]) for k in before)
    kernels = [v for v in before.values() if v.ndim > 1]
    assert all(torch.equal(v, v.half().float()) for v in kernels)


def test_an_ensembles_validation_studies_are_seen_as_its_members_were() -> None:
    plain, wide = read_experiment("volume-3dcnn"), read_experiment("vertebra-crop")
    assert wide.training is not None
    assert len(set(wide.training.validate_as)) > 1
    assert seen_as([plain, wide]) == wide.training.validate_as
    assert seen_as([plain, read_experiment("vertebra-crop", tiny=True)]) == ()
