"""A training that starts from the weights of another: what fits, what is refused, what is kept of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle_files import BundleError
from inference.evaluation.operating import fit_operating_points
from inference.experiments.bundle import Member, save_bundle
from inference.experiments.claiming import claim
from inference.experiments.errors import RunMismatch, StartRefused
from inference.experiments.families import build
from inference.experiments.running import Run
from inference.experiments.settings import Experiment, read_experiment
from inference.experiments.starting import Start, load_start, start_from

POINTS = fit_operating_points(np.eye(8), np.full((8, 8), 0.3))
SOURCE = {"name": "sagittal-9", "version": "1", "sha256": "ab", "experiment": "sagittal-9"}
STUDIES = {"train": "1", "validation": "2"}


@pytest.fixture(scope="module")
def sagittal() -> Experiment:
    return read_experiment("sagittal-9", tiny=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, sagittal: Experiment) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("run") / "bundle"
    save_bundle(folder, [Member(model=build(sagittal))], POINTS, {"name": "sagittal-9", "version": "1"})
    return folder


def a_run(folder: Path, experiment: Experiment, start: Start | None = None) -> Run:
    return Run(
        experiment=experiment,
        folder=folder,
        data=folder,
        validation=None,
        fold=0,
        version="1",
        created="2026-01-02",
        start=start,
    )


def test_the_weights_of_a_bundle_are_the_ones_a_network_starts_from(bundle: Path, sagittal: Experiment) -> None:
    start = start_from(str(bundle), sagittal)
    network = build(sagittal).network
    load_start(network, start)
    own = network.state_dict()
    assert all(torch.equal(own[key], value) for key, value in start.weights.items())
    assert start.source["name"] == "sagittal-9"
    assert len(start.source["sha256"]) == 64


def test_a_run_is_as_good_as_its_bundle(bundle: Path, sagittal: Experiment) -> None:
    assert start_from(str(bundle.parent), sagittal).source == start_from(str(bundle), sagittal).source


def test_another_family_is_refused_and_named(bundle: Path) -> None:
    with pytest.raises(StartRefused, match="it holds sagittal-9, and volume-3dcnn is volume-3dcnn"):
        start_from(str(bundle), read_experiment("volume-3dcnn", tiny=True))


def test_another_shape_is_refused_with_the_weights_that_do_not_fit(bundle: Path, sagittal: Experiment) -> None:
    wider = dataclasses.replace(sagittal, network=dataclasses.replace(sagittal.network, hidden=24))
    network = build(wider).network
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(StartRefused, match=r"cannot start from sagittal-9 1: .* is \[.*\] there and \[.*\] in the exp"):
        load_start(network, start_from(str(bundle), wider))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_more_or_fewer_weights_are_refused_by_name(bundle: Path, sagittal: Experiment) -> None:
    start = start_from(str(bundle), sagittal)
    name = sorted(start.weights)[0]
    fewer = dataclasses.replace(start, weights={k: v for k, v in start.weights.items() if k != name})
    with pytest.raises(StartRefused, match=f"sagittal-9 1 has no weights {name}"):
        load_start(build(sagittal).network, fewer)
    with pytest.raises(StartRefused, match="the experiment has no weights aaa"):
        load_start(build(sagittal).network, dataclasses.replace(start, weights={**start.weights, "aaa": torch.ones(1)}))


def test_a_network_without_fine_paths_can_start_one_that_has_them_and_not_the_other_way_round(tmp_path: Path) -> None:
    fine = read_experiment("vertebra-crop", tiny=True)
    plain = dataclasses.replace(
        fine,
        network=dataclasses.replace(fine.network, fine=(), coronal=()),
        input=dataclasses.replace(fine.input, coronal_slices=0),
        fine_training=None,
    )
    for name, experiment in (("plain", plain), ("fine", fine)):
        save_bundle(tmp_path / name, [Member(model=build(experiment))], POINTS, {"name": name, "version": "1"})
    start = start_from(str(tmp_path / "plain"), fine)
    network = build(fine).network
    as_made = {key: value.clone() for key, value in network.state_dict().items() if key not in start.weights}
    load_start(network, start)
    own = network.state_dict()
    assert as_made
    assert all(torch.equal(own[key], value) for key, value in {**as_made, **start.weights}.items())
    with pytest.raises(StartRefused, match="the experiment has no weights coronal"):
        load_start(build(plain).network, start_from(str(tmp_path / "fine"), plain))


def test_paths_that_do_not_see_single_pixels_can_start_some_that_do(tmp_path: Path) -> None:
    sharp = read_experiment("vertebra-crop", tiny=True)
    blunt = dataclasses.replace(
        sharp,
        network=dataclasses.replace(sharp.network, fine=sharp.network.fine[1:], coronal=sharp.network.coronal[1:]),
    )
    save_bundle(tmp_path / "blunt", [Member(model=build(blunt))], POINTS, {"name": "blunt", "version": "1"})
    start = start_from(str(tmp_path / "blunt"), sharp)
    network = build(sharp).network
    new = {key for key in network.state_dict() if key not in start.weights}
    load_start(network, start)
    own = network.state_dict()
    assert {key.split(".")[1] for key in new} == {"sharp"}
    assert all(torch.equal(own[key], value) for key, value in start.weights.items())


def test_what_is_no_bundle_is_refused(tmp_path: Path, sagittal: Experiment) -> None:
    with pytest.raises(BundleError):
        start_from(str(tmp_path / "nothing"), sagittal)


def test_a_run_remembers_where_it_started_and_refuses_another_start(tmp_path: Path, sagittal: Experiment) -> None:
    claim(a_run(tmp_path, sagittal, Start(weights={}, source=SOURCE)), STUDIES)
    assert json.loads((tmp_path / "run.json").read_text())["start"] == SOURCE
    claim(a_run(tmp_path, sagittal, Start(weights={}, source=SOURCE)), STUDIES)
    for other in (None, Start(weights={}, source={**SOURCE, "version": "2"})):
        with pytest.raises(RunMismatch, match=r"other settings \(start\)"):
            claim(a_run(tmp_path, sagittal, other), STUDIES)


def test_a_run_from_before_a_setting_existed_counts_it_as_its_default(tmp_path: Path, sagittal: Experiment) -> None:
    claim(a_run(tmp_path, sagittal), STUDIES)
    file = tmp_path / "run.json"
    asked = json.loads(file.read_text())
    del asked["start"], asked["experiment"]["augmentation"]["rescan"], asked["experiment"]["training"]["validate_as"]
    file.write_text(json.dumps(asked))
    claim(a_run(tmp_path, sagittal), STUDIES)
    wide = dataclasses.replace(sagittal, augmentation=dataclasses.replace(sagittal.augmentation, rescan=0.6))
    with pytest.raises(RunMismatch, match=r"other settings \(\[augmentation\]\)"):
        claim(a_run(tmp_path, wide), STUDIES)


def test_a_run_whose_settings_nobody_understands_any_more_is_another_run(tmp_path: Path, sagittal: Experiment) -> None:
    claim(a_run(tmp_path, sagittal), STUDIES)
    file = tmp_path / "run.json"
    asked = json.loads(file.read_text())
    asked["experiment"]["augmentation"]["flip"] = 0.5
    file.write_text(json.dumps(asked))
    with pytest.raises(RunMismatch, match=r"\[name\]"):
        claim(a_run(tmp_path, sagittal), STUDIES)
