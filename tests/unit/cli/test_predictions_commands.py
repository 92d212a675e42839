"""`evaluate compare`, `submission` and the refusals of `evaluate predictions` as a user meets them.

The report itself is in tests/integration/test_evaluation_report.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference.evaluation.predictions import Predictions, write_predictions
from tests.builders.commands import cspine_node
from tests.builders.predictions import made_facts, made_predictions, made_truth

DRAWS = ("--draws", "40")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """test.csv with facts, val.csv of other studies, and two models' predictions of both."""
    for name, first, count in (("test", "t", 60), ("val", "v", 80)):
        made = made_truth(count, seed=count)
        truth = Predictions(uids=tuple(f"{first}{uid}" for uid in made.uids), values=made.values)
        write_predictions(tmp_path / name / "truth.csv", truth)
        (tmp_path / name / "facts.json").write_text(json.dumps(made_facts(truth)))
        for model, skill in (("good", 4.0), ("poor", 1.0)):
            write_predictions(tmp_path / name / f"{model}.csv", made_predictions(truth, skill=skill))
    return tmp_path


def arguments(folder: Path, out: Path) -> list[str]:
    files = [str(folder / "test" / f"{model}.csv") for model in ("good", "poor")]
    return [*files, "--truth", str(folder / "test" / "truth.csv"), "--out", str(out), *DRAWS]


def test_models_are_compared_with_the_operating_points_they_have(folder: Path) -> None:
    from inference.evaluation.operating import fit_operating_points

    truth = made_truth(80, seed=80)
    points = folder / "points.json"
    points.write_text(json.dumps(fit_operating_points(truth.values, made_predictions(truth).values).to_json()))
    ran = cspine_node(
        "evaluate", "compare", *arguments(folder, folder / "out"),
        "--operating-points", str(points), "--operating-points", str(points),
    )  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    comparison = json.loads((folder / "out" / "comparison.json").read_text())
    assert comparison["against"] == "good"
    assert comparison["differences"][0]["competition_loss"]["verdict"] == "worse"
    assert [row["name"] for row in comparison["rows"]][:2] == ["good", "poor"]


def test_a_submission_follows_the_sample(folder: Path) -> None:
    (folder / "sample.csv").write_text("row_id,fractured\nts001_C2,0.5\nts000_patient_overall,0.5\n")
    out = folder / "submission.csv"
    ran = cspine_node(
        "submission", str(folder / "test" / "good.csv"), "--out", str(out), "--sample", str(folder / "sample.csv")
    )
    assert ran.status == 0
    assert "58 predicted studies are not in the sample" in ran.err
    assert [line.split(",")[0] for line in out.read_text().splitlines()] == [
        "row_id", "ts001_C2", "ts000_patient_overall",
    ]  # fmt: skip


def test_constants_are_submitted_only_with_a_warning(folder: Path) -> None:
    truth = made_truth(5)
    write_predictions(folder / "same.csv", Predictions(uids=truth.uids, values=truth.values * 0 + 0.3))
    ran = cspine_node("submission", str(folder / "same.csv"), "--out", str(folder / "s.csv"))
    assert ran.status == 0
    assert "these are constants, not predictions" in ran.err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--validation", "val/good.csv"], "belong together"),
        (
            ["--validation", "val/good.csv", "--validation-truth", "val/truth.csv"],
            "--validation is given 1 times for 2 models",
        ),
        (
            ["--validation", "test/good.csv", "--validation", "test/poor.csv", "--validation-truth", "test/truth.csv"],
            "60 studies are in validation and in the test",
        ),
        (["--operating-points", "val/facts.json", "--operating-points", "val/facts.json"], "operating points lack"),
        (["--facts", "nowhere.json"], "nowhere.json"),
        (["--bundle", "default"], "goes with one file of predictions"),
        (["--record"], "names no bundle to write to"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], complaint: str
) -> None:
    monkeypatch.chdir(folder)
    ran = cspine_node("evaluate", "predictions", *arguments(folder, folder / "out"), *more)
    assert ran.status == 2
    assert complaint in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (folder / "out").exists()


def test_predictions_of_other_studies_name_the_file_and_the_studies(folder: Path) -> None:
    ran = cspine_node(
        "evaluate", "compare", str(folder / "val" / "good.csv"),
        "--truth", str(folder / "test" / "truth.csv"), "--out", str(folder / "out"),
    )  # fmt: skip
    assert ran.status == 2
    assert "val/good.csv" in ran.err
    assert "60 missing: ts000" in ran.err
