"""Which studies are trained on, held back, drawn and kept in memory."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.dataset.prepared import FOUND, PreparedFolder, save_prepared, study_path
from inference.experiments.errors import DataError
from inference.experiments.families import build
from inference.experiments.settings import read_experiment
from inference.experiments.studies import Draws, Study, StudyStore, draws_of, split, study_of
from tests.builders.necks_prepared import neck, write_necks


def _folds(folder: PreparedFolder, folds: dict[str, int]) -> PreparedFolder:
    with (folder.folder / "folds.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["StudyInstanceUID", "patient", "fold"])
        writer.writerows([uid, "p", fold] for uid, fold in folds.items())
    return PreparedFolder(folder.folder)


def test_one_fold_is_held_back(tmp_path: Path) -> None:
    folder = write_necks(tmp_path, 4)
    folder = _folds(folder, dict(zip(folder.uids, (0, 1, 2, 1), strict=True)))
    assert split(folder, None, 1) == ([folder.uids[0], folder.uids[2]], [folder.uids[1], folder.uids[3]])
    with pytest.raises(DataError, match="no study to validate on"):
        split(folder, None, 7)


def test_without_folds_another_folder_must_be_named(tmp_path: Path) -> None:
    folder, other = write_necks(tmp_path / "a", 2), write_necks(tmp_path / "b", 2, first=10)
    with pytest.raises(DataError, match="--validation"):
        split(folder, None, 0)
    assert split(folder, other, 0) == (list(folder.uids), list(other.uids))


def test_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    folder, other = write_necks(tmp_path / "a", 3), write_necks(tmp_path / "b", 3, first=2)
    with pytest.raises(DataError, match="1 patients"):
        split(folder, other, 0)


def test_draws_have_the_share_of_fractures_asked_for() -> None:
    draws = Draws(fractured=("a",), sound=("b", "c", "d"), positive_share=0.7)
    drawn = [draws.pick(np.random.default_rng(i)) for i in range(400)]
    assert 240 < drawn.count("a") < 320
    as_they_come = dataclasses.replace(draws, positive_share=-1.0)
    assert 70 < [as_they_come.pick(np.random.default_rng(i)) for i in range(400)].count("a") < 130


def test_studies_without_a_truth_are_not_drawn(tmp_path: Path) -> None:
    folder = write_necks(tmp_path, 3, truth=False)
    with pytest.raises(DataError, match="no study with a known truth"):
        draws_of(folder, folder.uids, 0.5)


def test_the_store_keeps_no_more_than_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_necks(tmp_path, 4)
    loaded: list[str] = []
    load = PreparedFolder.load
    monkeypatch.setattr(PreparedFolder, "load", lambda self, uid: (loaded.append(uid), load(self, uid))[1])
    one = study_of(neck()).nbytes
    assert 2 * one < 2**20 < 4 * one
    store = StudyStore(folder, 1)
    for uid in (*folder.uids[:2], folder.uids[0], folder.uids[3], folder.uids[0], folder.uids[3]):
        assert store[uid].uid == uid
    assert loaded == [folder.uids[0], folder.uids[1], folder.uids[3]]


def test_the_store_shows_a_study_as_it_is_told_to_and_once(tmp_path: Path) -> None:
    folder = write_necks(tmp_path, 2)
    seen: list[str] = []

    def darker(study: Study) -> Study:
        seen.append(study.uid)
        return dataclasses.replace(study, hu=study.hu // 2)

    store = StudyStore(folder, 100, see=darker)
    for uid in (folder.uids[0], folder.uids[0], folder.uids[1]):
        assert int(store[uid].hu.max()) < 128
    assert seen == list(folder.uids[:2])


def test_a_zone_is_known_in_phantoms_in_sound_studies_and_in_boxes_only() -> None:
    assert study_of(neck(broken=(2,))).zone_known
    assert study_of(neck(zones=False)).zone_known
    assert study_of(neck(broken=(2,), zones=False, boxes=True)).zone_known
    assert not study_of(neck(broken=(2,), zones=False)).zone_known
    assert not study_of(neck(zones=False, truth=False)).zone_known


def test_what_a_model_sees_and_what_it_learns_from_may_differ() -> None:
    study = neck()
    assert study.levels is not None
    wrong = np.where(study.levels == 1, np.uint8(2), study.levels)
    both = study_of(dataclasses.replace(study, levels=wrong, levels_from="localiser", true_levels=study.levels))
    assert 1 not in both.boxes
    assert 1 in both.true_levels.unique()
    assert torch.equal(both.levels, torch.from_numpy(wrong))


def test_a_study_without_levels_says_what_to_do() -> None:
    study = study_of(neck(levels=False))
    with pytest.raises(DataError, match=r"study 1.2.3 has no vertebral levels.*--localise"):
        study.need_levels("vertebra-crop")


def test_a_study_in_which_a_localiser_found_nothing_is_not_drawn_for_training(tmp_path: Path) -> None:
    found, lost = neck("1.2.1", broken=(2,)), neck("1.2.2", broken=(3,), levels=False)
    save_prepared(study_path(tmp_path, "1.2.1"), dataclasses.replace(found, facts={FOUND: True}))
    save_prepared(study_path(tmp_path, "1.2.2"), dataclasses.replace(lost, facts={FOUND: False}))
    assert draws_of(PreparedFolder(tmp_path), ("1.2.1", "1.2.2"), -1.0).fractured == ("1.2.1",)


def test_where_a_localiser_found_nothing_the_answer_is_the_same_for_every_level() -> None:
    model = build(read_experiment("vertebra-crop", tiny=True))
    study = study_of(dataclasses.replace(neck(levels=False), facts={FOUND: False}))
    said = model.predict(study).probabilities
    assert len(set(said[1:])) == 1
    assert said[0] == pytest.approx(1 - (1 - said[1]) ** 7)


def test_a_levels_box_leaves_out_stray_voxels() -> None:
    study = neck()
    assert study.levels is not None
    study.levels[0, 0, 0] = 1
    assert study_of(study).boxes[1].tolist() == [[55, 10, 10], [61, 25, 29]]
