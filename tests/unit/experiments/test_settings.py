"""What an experiment's file may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.experiments.errors import SettingsError
from inference.experiments.families import build
from inference.experiments.settings import FOLDER, experiment_from, experiment_names, read_experiment

TABLE = {
    "default",
    "neckfrac-ensemble",
    "sagittal-9",
    "slice-effnet",
    "unet25d-bigru",
    "vertebra-crop",
    "volume-3dcnn",
}


def changed(tmp_path: Path, before: str, after: str, name: str = "volume-3dcnn") -> Path:
    text = (FOLDER / f"{name}.toml").read_text()
    assert before in text
    file = tmp_path / "other.toml"
    file.write_text(text.replace(before, after, 1))
    return file


def test_there_is_one_file_for_each_experiment_and_it_bears_its_name() -> None:
    assert set(experiment_names()) == TABLE
    for name in experiment_names():
        for size in ({}, {"tiny": True}, {"short": True}):
            assert read_experiment(name, **size).name == name


def test_an_ensembles_members_are_experiments_that_are_none_themselves() -> None:
    for name in ("default", "neckfrac-ensemble"):
        members = [read_experiment(member) for member in read_experiment(name).members]
        assert len(members) > 1
        assert not any(member.is_ensemble for member in members)


def test_an_experiment_survives_json() -> None:
    for name in experiment_names():
        experiment = read_experiment(name)
        assert experiment_from(experiment.as_json(), "json") == experiment


def test_the_tiny_setting_changes_what_it_names_and_nothing_else() -> None:
    whole, tiny = read_experiment("volume-3dcnn"), read_experiment("volume-3dcnn", tiny=True)
    assert tiny.training is not None
    assert whole.training is not None
    assert (tiny.training.steps, whole.training.steps) == (12, 6000)
    assert tiny.training.learning_rate == whole.training.learning_rate
    assert tiny.augmentation == whole.augmentation
    assert tiny.digest() != whole.digest()


def test_the_short_setting_is_another_one_and_both_at_once_are_none() -> None:
    short = read_experiment("sagittal-9", short=True)
    assert short.training is not None
    assert short.training.steps == 250
    assert short.network == read_experiment("sagittal-9").network
    with pytest.raises(SettingsError, match="not both"):
        read_experiment("sagittal-9", tiny=True, short=True)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("hidden = 512", "hiden = 512", r"\[network\]: unknown key 'hiden'"),
        ("hidden = 512", "", r"\[network\]: key 'hidden' is missing"),
        ("hidden = 512", 'hidden = "512"', r"\[network\]: hidden is '512', expected int"),
        ("hidden = 512", "hidden = true", "hidden is True, expected int"),
        ("size_yx = [128, 128]", "size_yx = [128]", "size_yx has 1 values, expected 2"),
        ("steps = 6000", "steps = 0", "steps is 0, expected at least 1"),
        ('loss = "competition"', 'loss = "softmax"', "loss is 'softmax', expected one of competition, bce"),
        ('family = "volume-3dcnn"', 'family = "resnet"', "family 'resnet' is none of"),
        ("mirror = 0.5", "flip = 0.5", r"\[augmentation\]: unknown key 'flip'"),
        ("mirror = 0.5", "mirror = 1.5", r"\[augmentation\]: mirror is 1.5, expected a chance from 0 to 1"),
        ("mirror = 0.5", "rescan = -0.1", r"rescan is -0.1, expected a chance from 0 to 1"),
        ("mirror = 0.5", "pixel_mm = -1.0", r"pixel_mm is -1.0, expected at least 0"),
        ("mirror = 0.5", "density = [1.5, 0.5]", r"density is \[1.5, 0.5\], expected two factors above 0 in order"),
        ("mirror = 0.5", "density = [0.0, 0.5]", r"density is \[0.0, 0.5\], expected two factors above 0 in order"),
        ("[tiny.network]", "[tiny.nets]", r"\[tiny.nets\] has no \[nets\]"),
    ],
)
def test_a_file_that_says_something_else_is_refused_by_name(tmp_path: Path, before: str, after: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_experiment(changed(tmp_path, before, after), tiny=before.startswith("[tiny"))


def test_an_ensemble_trains_nothing_and_says_so(tmp_path: Path) -> None:
    file = changed(tmp_path, "members = [", "training = { steps = 3 }\nmembers = [", "default")
    with pytest.raises(SettingsError, match=r"an ensemble has no \[training\]"):
        read_experiment(file)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("fine = [16, 32, 48, 80]\ncoronal = [16, 32, 48, 80]", "", r"\[fine_training\]: the network has no fine path"),
        ("slices = 32", "slices = 1", r"\[fine_training\]: slices is 1, expected at least 2"),
        ("studies = 4", "studies = 0", r"\[fine_training\]: studies is 0, expected at least 1"),
        ("slice_weight = 0.5\n\n[tiny", "\n[tiny", r"\[fine_training\]: key 'slice_weight' is missing"),
    ],
)
def test_a_fine_path_is_trained_first_where_there_is_one(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert read_experiment("vertebra-crop").fine_training is not None
    assert read_experiment("volume-3dcnn").fine_training is None
    with pytest.raises(SettingsError, match=said):
        read_experiment(changed(tmp_path, before, after, "vertebra-crop"))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("coronal = [16, 32, 48, 80]\n", "", r"coronal channels \(\) and 24 coronal slices; both or none"),
        ("coronal_slices = 24\n", "", r"coronal channels \(16, 32, 48, 80\) and 0 coronal slices"),
        ("coronal_rows = 40", "coronal_rows = 36", "expected rows in eights"),
        ("coronal_every = 4", "coronal_every = 3", "an even number of pixels"),
        ("fine = [16, 32, 48, 80]\n", "", "without a fine one"),
        ("coronal_slices = 24", "coronal_slices = 28", "slices that lie within 112"),
    ],
)
def test_coronal_slices_fit_their_path_and_the_crop(tmp_path: Path, before: str, after: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        build(read_experiment(changed(tmp_path, before, after, "vertebra-crop")))


def test_an_unknown_experiment_is_told_which_there_are() -> None:
    with pytest.raises(SettingsError, match="no experiment resnet; there are default, neckfrac-ensemble, sagittal-9"):
        read_experiment("resnet")
