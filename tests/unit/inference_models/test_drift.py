"""Drift: the same distribution is stable, a shifted one drifts, five studies say nothing."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from inference.bundle import load_bundle
from inference.bundle_files import BundleError
from inference.evaluation.drift import (
    DriftReferenceError,
    Finding,
    Reference,
    compare,
    make_reference,
    overall,
    psi,
    read_reference,
)
from inference.evaluation.drift_record import (
    COLUMNS,
    InputFacts,
    append_record,
    input_facts,
    noise_hu,
    read_records,
    record_of,
)
from inference.evaluation.predictions import LEVEL_COLUMNS, PredictionsError
from tests.builders.commands import cspine_node
from tests.unit.inference_models.builders import write_toy_bundle

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def made_records(count: int, seed: int, *, noise: float = 60.0, missing: float = 0.05) -> list[dict]:
    """Records of `count` studies from one site; `noise` is the median of their noise."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(count):
        levels = {name: None if rng.random() < missing else float(rng.beta(0.4, 4)) for name in LEVEL_COLUMNS[1:]}
        inputs = InputFacts(
            slices=int(rng.integers(200, 400)),
            slice_spacing_mm=float(rng.choice([0.5, 0.6, 1.0])),
            pixel_mm=0.35,
            soft_tissue_hu=float(rng.normal(45, 8)),
            bone_hu=float(rng.normal(480, 60)),
            bone_share=float(rng.normal(0.08, 0.01)),
            noise_hu=float(noise * rng.lognormal(0, 0.3)),
        )
        probabilities = {"patient_overall": float(rng.beta(0.5, 1)), **levels}
        records.append(
            record_of(study=str(number), analysed_at=NOON, bundle="1", probabilities=probabilities, inputs=inputs)
        )
    return records


REFERENCE = make_reference(made_records(300, 1), made_from="300 validation studies")


def found(records: list[dict]) -> dict[str, Finding]:
    return {finding.quantity: finding for finding in compare(REFERENCE, records)}


@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("count", [30, 100, 500])
def test_studies_of_the_same_kind_are_stable(seed: int, count: int) -> None:
    assert overall(compare(REFERENCE, made_records(count, seed))) == "stable"


def test_a_noisier_scanner_drifts_and_only_its_noise_does() -> None:
    findings = found(made_records(100, 2, noise=110.0))
    assert findings["noise_hu"].verdict == "drifted"
    assert findings["noise_hu"].observed_median > findings["noise_hu"].reference_median * 1.5
    assert {f.verdict for name, f in findings.items() if name != "noise_hu"} == {"stable"}
    assert overall(findings.values()) == "drifted"


def test_a_slight_shift_is_watched() -> None:
    assert found(made_records(400, 2, noise=68.0))["noise_hu"].verdict == "watch"


def test_five_studies_are_too_few_however_strange() -> None:
    findings = compare(REFERENCE, made_records(5, 2, noise=900.0))
    assert {finding.verdict for finding in findings} == {"too few"}
    assert overall(findings) == "too few"


def test_levels_that_are_no_longer_assessed_are_noticed() -> None:
    findings = found(made_records(100, 2, missing=0.5))
    assert findings["p_C3"].verdict == "drifted"
    assert findings["p_C3"].observed_missing > 0.3
    assert findings["p_patient_overall"].verdict == "stable"


def test_a_value_that_was_always_the_same_and_now_is_another_drifts() -> None:
    changed = [record | {"pixel_mm": 0.5} for record in made_records(60, 2)]
    assert found(changed)["pixel_mm"].verdict == "drifted"
    assert found(changed)["pixel_mm"].ks == 1.0


def test_a_new_slice_spacing_between_the_known_ones_drifts() -> None:
    changed = [record | {"slice_spacing_mm": 0.8} for record in made_records(60, 2)]
    assert found(changed)["slice_spacing_mm"].verdict == "drifted"


def test_the_index_is_that_of_the_formula() -> None:
    # 200 reference studies of which half say 0 and half 1; observed 30 and 70; bins beyond the ends are empty.
    records = [dict.fromkeys(COLUMNS) | {"levels_assessed": k % 2} for k in range(200)]
    known = make_reference(records, made_from="-").quantities["levels_assessed"]
    index, excess = psi(known, np.array([0.0] * 30 + [1.0] * 70))
    first, second = 30.5 / 101, 70.5 / 101
    by_hand = (first - 0.5) * math.log(first / 0.5) + (second - 0.5) * math.log(second / 0.5)
    assert index == pytest.approx(by_hand)
    assert excess == pytest.approx(by_hand - (1 / 200 + 1 / 100))


def test_a_reference_survives_a_bundle_and_holds_no_study() -> None:
    text = json.dumps(REFERENCE.to_json())
    again = read_reference(text)
    records = made_records(80, 3)
    for before, after in zip(compare(REFERENCE, records), compare(again, records), strict=True):
        assert after.psi == pytest.approx(before.psi, abs=0.02)
        assert after.verdict == before.verdict
    assert len(text) < 120_000
    assert "study" not in {key for d in REFERENCE.to_json()["quantities"].values() for key in d}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"format": 7}, "format 7"),
        ({"format": 1, "made_from": "-", "studies": 3}, "'quantities'"),
        (
            {"format": 1, "made_from": "-", "studies": 3, "quantities": {"noise_hu": {
                "known": 3, "missing": 0, "edges": [1], "counts": [3], "values": [1], "cdf": [1]}}},
            "noise_hu does not fit",
        ),
        ([], "lacks or misstates"),
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(data: object, complaint: str) -> None:
    with pytest.raises(DriftReferenceError, match=complaint):
        Reference.from_json(data)


def test_a_reference_needs_thirty_studies() -> None:
    with pytest.raises(DriftReferenceError, match="29 records are too few"):
        make_reference(made_records(29, 1), made_from="-")


def test_records_are_read_back_with_what_is_missing(tmp_path: Path) -> None:
    path, records = tmp_path / "records.csv", made_records(3, 4, missing=0.4)
    for record in records:
        append_record(path, record)
    again = read_records(path)
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert [r["study"] for r in again] == ["0", "1", "2"]
    assert [r["p_C1"] for r in again] == [r["p_C1"] for r in records]
    assert again[0]["levels_assessed"] == sum(records[0][f"p_C{k}"] is not None for k in range(1, 8))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a,b\n1,2\n", "none of the columns"),
        ("study,noise_hu\n1,loud\n", "line 2: noise_hu is 'loud'"),
        ("study,noise_hu\n1,nan\n", "not a finite number"),
    ],
)
def test_a_table_of_records_that_cannot_be_used_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(PredictionsError, match=complaint):
        read_records(tmp_path / "r.csv")


def test_a_record_says_how_many_levels_were_assessed_and_refuses_nonsense() -> None:
    inputs = input_facts(np.zeros((4, 40, 40), np.int16), (1.0, 0.5, 0.5))
    given = {"patient_overall": 0.4, "C2": 0.1, "C3": None}
    record = record_of(study="k", analysed_at=NOON, bundle="1", probabilities=given, inputs=inputs)
    assert (record["levels_assessed"], record["p_C2"], record["p_C3"], record["p_C7"]) == (1, 0.1, None, None)
    assert tuple(record) == COLUMNS
    for probabilities, moment, complaint in (
        ({"C9": 0.1}, NOON, "unknown heads C9"),
        ({"C1": 1.5}, NOON, "C1 is 1.5"),
        ({}, datetime(2026, 5, 1), "aware"),
    ):
        with pytest.raises(ValueError, match=complaint):
            record_of(study="k", analysed_at=moment, bundle="1", probabilities=probabilities, inputs=inputs)


def test_the_noise_of_soft_tissue_is_measured_and_edges_and_bone_are_not() -> None:
    rng = np.random.default_rng(3)
    hu = np.full((6, 96, 96), -1000.0)
    hu[:, 10:86, 10:86] = 40
    hu[:, 30:50, 30:50] = 900
    hu += rng.normal(0, 25, hu.shape)
    assert noise_hu(hu.astype(np.int16)) == pytest.approx(25, rel=0.06)


def test_input_facts_are_medians_of_tissue_and_leave_out_air_and_padding() -> None:
    hu = np.full((10, 64, 64), -3024, np.int16)
    hu[:, 8:56, 8:56] = 50
    hu[:, 20:40, 20:40] = 600
    facts = input_facts(hu, (0.6, 0.35, 0.35))
    assert (facts.slices, facts.slice_spacing_mm, facts.pixel_mm) == (10, 0.6, 0.35)
    assert (facts.soft_tissue_hu, facts.bone_hu, facts.noise_hu) == (50.0, 600.0, 0.0)
    assert facts.bone_share == pytest.approx(400 / 2304, abs=1e-3)


def test_a_volume_of_air_has_no_tissue_to_speak_of() -> None:
    facts = input_facts(np.full((3, 32, 32), -1000, np.int16), (1.0, 1.0, 1.0))
    assert (facts.soft_tissue_hu, facts.bone_hu, facts.bone_share, facts.noise_hu) == (None, None, None, None)


def written_records(path: Path, records: list[dict]) -> Path:
    for record in records:
        append_record(path, record)
    return path


def test_the_command_makes_a_reference_and_says_what_drifted(tmp_path: Path) -> None:
    validation = written_records(tmp_path / "validation.csv", made_records(120, 1))
    seen = written_records(tmp_path / "seen.csv", made_records(60, 2, noise=150.0))
    reference = tmp_path / "bundle" / "reference.json"
    made = cspine_node("evaluate", "drift-reference", str(validation), "--out", str(reference))
    assert (made.status, made.err) == (0, "")
    assert "16 quantities of 120 studies" in made.out
    ran = cspine_node("evaluate", "drift", str(reference), str(seen))
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("drifted: 60 studies beside 120 (validation.csv)")
    line = next(line for line in ran.out.splitlines() if line.startswith("noise_hu"))
    assert "drifted" in line
    data = cspine_node("evaluate", "drift", str(reference), str(seen), "--json").json
    assert data["verdict"] == "drifted"
    assert {q["quantity"] for q in data["quantities"] if q["verdict"] != "stable"} == {"noise_hu"}


def test_a_bundle_holds_its_reference_and_is_verified_with_it(tmp_path: Path) -> None:
    bundle = write_toy_bundle(tmp_path / "toy")
    validation = written_records(tmp_path / "validation.csv", made_records(120, 1))
    made = cspine_node("evaluate", "drift-reference", str(validation), "--bundle", str(bundle))
    assert (made.status, made.err) == (0, "")
    ran = cspine_node("evaluate", "drift", str(bundle), str(validation))
    assert ran.out.startswith("stable: 120 studies beside 120")
    assert load_bundle(bundle).manifest["files"]["reference.json"]
    (bundle / "reference.json").write_text("{}")
    with pytest.raises(BundleError, match=r"reference\.json.*wrong SHA-256"):
        load_bundle(bundle)


def test_a_reference_goes_to_a_file_or_to_a_bundle(tmp_path: Path) -> None:
    validation = written_records(tmp_path / "validation.csv", made_records(120, 1))
    for words in ((), ("--bundle", "default", "--out", str(tmp_path / "r.json"))):
        ran = cspine_node("evaluate", "drift-reference", str(validation), *words)
        assert ran.status == 2
        assert "name either a file or a bundle" in ran.err


def test_only_studies_since_a_day_can_be_asked_for(tmp_path: Path) -> None:
    reference = tmp_path / "reference.json"
    reference.write_text(json.dumps(REFERENCE.to_json()))
    records = [r | {"analysed_at": f"2026-05-0{1 + k % 2}T23:30:00+00:00"} for k, r in enumerate(made_records(40, 2))]
    seen = written_records(tmp_path / "seen.csv", records)
    data = cspine_node("evaluate", "drift", str(reference), str(seen), "--since", "2026-05-02", "--json").json
    assert (data["observed_studies"], data["verdict"]) == (20, "too few")


def test_a_reference_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    seen = written_records(tmp_path / "seen.csv", made_records(2, 2))
    ran = cspine_node("evaluate", "drift", str(tmp_path / "r.json"), str(seen))
    assert ran.status == 2
    assert "a reference that lacks" in ran.err
    assert len(ran.err.splitlines()) == 1
