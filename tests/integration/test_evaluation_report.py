"""The evaluation's report: from prepared studies and predictions to a page that a browser shows without complaint."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.bundle import bundle_folder, load_bundle
from inference.dataset.prepared import PreparedStudy, SliceBox, save_prepared, study_path
from inference.evaluation.drift_record import read_records
from inference.evaluation.predictions import LEVEL_COLUMNS, Predictions, write_predictions
from inference.preprocess import PatientGrid
from tests.builders.commands import cspine_node
from tests.builders.predictions import made_facts, made_predictions, made_truth
from tests.peers import require

STUDIES = 40


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `evaluate predictions` writes for two models on a folder of tiny prepared phantoms."""
    folder = tmp_path_factory.mktemp("evaluation")
    truth, validation = made_truth(STUDIES), made_truth(80, seed=9)
    validation = Predictions(uids=tuple(f"v{uid}" for uid in validation.uids), values=validation.values)
    (folder / "test").mkdir()
    facts = made_facts(truth)
    for uid, row in zip(truth.uids, truth.values, strict=True):
        save_prepared(study_path(folder / "test", uid), tiny_study(uid, row, facts[uid]))
    write_predictions(folder / "val" / "truth.csv", validation)
    words: list[str] = []
    for model, skill in (("good", 4.0), ("poor", 1.0)):
        write_predictions(folder / f"{model}.csv", made_predictions(truth, skill=skill))
        write_predictions(folder / "val" / f"{model}.csv", made_predictions(validation, skill=skill))
        words += ["--validation", str(folder / "val" / f"{model}.csv")]
    ran = cspine_node(
        "evaluate", "predictions", str(folder / "good.csv"), str(folder / "poor.csv"), *words,
        "--validation-truth", str(folder / "val" / "truth.csv"), "--truth", str(folder / "test"),
        "--out", str(folder / "out"), "--draws", "60",
    )  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    assert ", worse" in ran.out
    return folder / "out"


def tiny_study(uid: str, row: np.ndarray, facts: dict) -> PreparedStudy:
    """A block of bone in air; the fractured levels have a dark zone, boxed."""
    hu, zone = np.full((16, 20, 20), 70, np.uint8), np.zeros((16, 20, 20), np.uint8)
    hu[:, 6:14, 6:14] = 200
    for level in np.flatnonzero(row[1:]) + 1:
        zone[2 * level, 8:12, 8:12] = level
    hu[zone > 0] = 90
    boxes = tuple(
        SliceBox(z=int(2 * k), y_low=7.0, y_high=13.0, x_low=7.0, x_high=13.0) for k in np.flatnonzero(row[1:]) + 1
    )
    return PreparedStudy(
        study_instance_uid=uid,
        patient=uid,
        source="phantom",
        hu=hu,
        grid=PatientGrid(origin_lps_mm=(0.0, 0.0, 0.0), spacing_mm_zyx=(3.0, 2.0, 2.0), shape_zyx=hu.shape),
        levels=None,
        levels_from=None,
        fracture=zone,
        boxes=boxes,
        truth=tuple(int(v) for v in row),
        facts=facts,
    )


def test_a_report_comes_with_numbers_tables_and_submissions_beside_it(out: Path) -> None:
    per_model = {f"{m}.{end}" for m in ("good", "poor") for end in ("submission.csv", "operating-points.json")}
    wanted = {"report.html", "metrics.json", "comparison.md", "comparison.html", "comparison.json"}
    assert {path.name for path in out.iterdir()} == wanted | per_model
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["models"][0]["operating_points"]["validation_studies"] == 80
    assert metrics["models"][0]["by_fracture"]
    assert metrics["hollow"][0]["says"] == "the best constants of 80 other studies"
    assert len((out / "good.submission.csv").read_text().splitlines()) == 1 + 8 * STUDIES


def test_a_report_is_one_file_without_scripts_and_every_picture_has_words(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert "Synthetic CT only" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 2 * (3 + 10)
    assert all('alt="' in image and 'alt=""' not in image for image in images)
    for table in re.findall(r"<table>.*?</table>", page, flags=re.DOTALL):
        assert "<caption>" in table
        assert 'scope="col"' in table


def test_prepared_studies_become_records_and_a_reference(out: Path) -> None:
    records, reference = out.parent / "records.csv", out.parent / "reference.json"
    words = [str(out.parent / "good.csv"), "--data", str(out.parent / "test"), "--out", str(records)]
    ran = cspine_node("evaluate", "records", *words, "--bundle", "good 1")
    assert (ran.status, ran.err) == (0, "")
    rows = read_records(records)
    assert len(rows) == STUDIES
    assert {(r["levels_assessed"], r["slices"], r["slice_spacing_mm"], r["pixel_mm"]) for r in rows} == {(7, 16, 3, 2)}
    assert {r["bone_hu"] for r in rows} == {200 * 8 - 512}
    assert cspine_node("evaluate", "drift-reference", str(records), "--out", str(reference)).status == 0
    same = cspine_node("evaluate", "drift", str(reference), str(records))
    assert same.out.startswith("stable: 40 studies beside 40")
    again = cspine_node("evaluate", "records", *words, "--bundle", "good 1")
    assert again.status == 2
    assert "exists" in again.err


def test_a_browser_shows_the_report_and_its_tables_do_not_widen_the_page(out: Path, tmp_path: Path) -> None:
    chromium = require("chromium", "chromium")
    picture = tmp_path / "report.png"
    ran = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars", "--window-size=1200,1600",
         f"--screenshot={picture}", (out / "report.html").as_uri()],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert [line for line in ran.stderr.splitlines() if "CONSOLE" in line] == []
    with Image.open(picture) as shown:
        grey = np.array(shown.convert("L"))
    assert grey.shape == (1600, 1200)
    # The paper is white, something is written on it, and nothing runs into the right margin.
    assert np.median(grey) == 255
    assert (grey < 100).mean() > 0.01
    assert (grey[:, -12:] < 200).sum() == 0


def test_a_bundles_numbers_are_measured_at_its_thresholds_and_stand_in_its_manifest(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(bundle_folder("default"), bundle)
    truth = made_truth(60, seed=3)
    said = made_predictions(truth, skill=3.0)
    write_predictions(tmp_path / "truth.csv", truth)
    write_predictions(tmp_path / "said.csv", said)
    command = ("evaluate", "predictions", str(tmp_path / "said.csv"), "--truth", str(tmp_path / "truth.csv"))
    more = ("--out", str(tmp_path / "out"), "--note", "sixty made-up studies", "--draws", "40")
    assert cspine_node(*command, *more, "--record").status == 2
    ran = cspine_node(*command, *more, "--bundle", str(bundle), "--record")
    assert ran.status == 0, ran.err
    kept = load_bundle(str(bundle)).manifest["metrics"]["fractures"]
    assert kept["note"] == "sixty made-up studies; 95 % intervals"
    assert kept["studies"] == 60
    thresholds = load_bundle("default").fractures.points.thresholds
    for column, (name, head) in enumerate(kept["heads"].items()):
        assert name == LEVEL_COLUMNS[column]
        assert head["threshold"] == pytest.approx(thresholds[column])
        broken = truth.values[:, column] > 0.5
        called = said.values[:, column] >= thresholds[column]
        assert head["positives"] == broken.sum()
        assert head["sensitivity"]["value"] == pytest.approx(called[broken].mean(), abs=1e-4)
        assert head["specificity"]["value"] == pytest.approx((~called)[~broken].mean(), abs=1e-4)
