"""Tables of answers: their order, their rows, and members that were validated on something else."""

from __future__ import annotations

import csv
import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from inference.experiments import ensemble
from inference.experiments.ensemble import train_ensemble
from inference.experiments.errors import DataError
from inference.experiments.predicting import predict_tables, predictions_of, scores_of, workers_for
from inference.experiments.running import Run, open_data
from inference.experiments.score import StudyScore
from inference.experiments.settings import read_experiment
from inference.experiments.studies import Study, StudyStore
from inference.experiments.watching import trial_metrics
from tests.builders.necks_prepared import write_necks


class Names:
    """A model whose answer is the last number of the study's UID, in hundredths; the first asked answers last."""

    def __init__(self, presence: bool = False) -> None:
        self._presence = presence
        self._others = threading.Event()

    def predict(self, study: Study) -> StudyScore:
        number = int(study.uid.rpartition(".")[2])
        if number == 0:
            self._others.wait(timeout=2.0)
        else:
            self._others.set()
        shown = np.full((2, 7), 0.25) if self._presence else None
        return StudyScore(
            probabilities=np.full(8, number / 100),
            presence=shown,
            presence_z_mm=None if shown is None else np.array([-10.0, -8.4]),
        )


def test_several_workers_answer_in_the_order_of_the_studies(tmp_path: Path) -> None:
    folder = write_necks(tmp_path, 9)
    store = StudyStore(folder, 100)
    found = [uid for uid, _ in scores_of(Names(), store, folder.uids, workers=2)]
    assert found == list(folder.uids)
    values = predictions_of(Names(), store, folder.uids, workers=3).values
    assert values[:, 0].tolist() == [int(uid.rpartition(".")[2]) / 100 for uid in folder.uids]


def test_a_cpu_works_on_one_study_at_a_time() -> None:
    assert workers_for("cpu") == 1
    assert 1 <= workers_for("cuda:0") <= 8


def test_slices_become_rows_and_their_file_is_whole_or_not_there(tmp_path: Path) -> None:
    folder = write_necks(tmp_path / "data", 2)
    table, told = tmp_path / "slices.csv", []
    predict_tables(Names(presence=True), StudyStore(folder, 100), folder.uids, table, told.append)
    with table.open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + 2 * 2
    assert rows[1] == [folder.uids[0], "-10.000", *["0.25000"] * 7]
    assert told == [1, 2]
    table.unlink()
    with pytest.raises(DataError, match="does not say which vertebrae a slice shows"):
        predict_tables(Names(), StudyStore(folder, 100), folder.uids, table)
    assert not table.exists()


def test_a_trial_without_positives_of_a_level_still_has_a_loss() -> None:
    truth = np.zeros((4, 8))
    truth[:2, [0, 3]] = 1
    values = np.clip(truth * 0.6 + 0.2, 0, 1)
    metrics = trial_metrics(truth, values)
    assert metrics["overall_auc"] == 1.0
    assert metrics["level_auc"] == 1.0
    assert 0 < metrics["loss"] < metrics["raw_loss"]


def test_a_member_that_was_validated_on_other_studies_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, first in (("train", 0), ("held", 20)):
        write_necks(tmp_path / name, 2, first=first)
    run = Run(
        experiment=read_experiment("neckfrac-ensemble"),
        folder=tmp_path / "run",
        data=tmp_path / "train",
        validation=tmp_path / "held",
        fold=0,
        version="1",
        created="2026-01-02",
    )
    manifest = {"data": {"studies_sha256": {**open_data(run).digest(), "validation": "something else"}}}
    loaded = dataclasses.make_dataclass("Loaded", ["manifest"])(manifest)
    monkeypatch.setattr(ensemble, "load_experiment_bundle", lambda path, device: loaded)
    members = [read_experiment(name) for name in run.experiment.members]
    for member in members:
        (tmp_path / "runs" / member.name / "bundle").mkdir(parents=True)
    with pytest.raises(DataError, match="slice-effnet was validated on other studies than this ensemble"):
        train_ensemble(run, members, tmp_path / "runs")
