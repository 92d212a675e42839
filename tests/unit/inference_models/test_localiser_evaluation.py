"""The numbers of the localiser's evaluation, on a made-up column whose answers can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.evaluation.held_out import Study, TrueLevel, held_out
from inference.evaluation.localiser import dice_at_1_mm, score, shift, status_right
from inference.evaluation.localiser_summary import summarise
from inference.evaluation.localiser_text import phantoms_text
from inference.evaluation.recording import record_metrics
from inference.evaluation.resumable import OtherRun, run
from inference.postprocess import ASSESSED, LEVELS, NOT_ASSESSED, PARTLY, Column
from inference.preprocess import PatientGrid
from inference.spine import LocatedLevel, Spine
from inference.volume import Volume

FACTS = {"coverage": "cspine", "slices": 60, "slice_mm": 1.0, "spacing_mm": 2.0, "pixel_mm": 2.0, "kernel": "bone"}
Mask = NDArray[np.uint8]


def _volume(shape: tuple[int, int, int] = (60, 20, 20), spacing_mm: float = 2.0) -> Volume:
    return Volume(hu=np.zeros(shape, np.int16), affine_lps=np.diag([spacing_mm] * 3 + [1.0]))


def _labels(first: int = 1) -> Mask:
    """Eight blocks of 6 x 10 x 10 voxels, one voxel apart, downwards from the top: `first`, `first` + 1, ..."""
    labels = np.zeros((60, 20, 20), np.uint8)
    for place in range(8):
        top = 57 - 7 * place
        labels[top - 6 : top, 5:15, 5:15] = first + place
    return labels


def _centre(labels: Mask, number: int) -> tuple[float, float, float]:
    z, y, x = np.argwhere(labels == number).mean(axis=0) * 2.0
    return float(x), float(y), float(z)


def _study(**changes: str) -> Study:
    """All of C1 to C7 in view, T1 below; `changes` gives a level another status."""
    labels = _labels()
    levels = tuple(
        TrueLevel(
            level=name,
            status=changes.get(name, "complete"),
            centre_lps_mm=_centre(labels, number),
            in_view=1.0,
            edge_mm=30.0,
        )
        for number, name in enumerate(LEVELS, 1)
    )
    return Study(volume=_volume(), labels=labels, levels=levels, facts=FACTS)


def _answer(mask: Mask, statuses: dict[str, str] | None = None) -> Spine:
    """What a localiser with this mask would say."""
    levels = []
    for number, name in enumerate(LEVELS, 1):
        status = (statuses or {}).get(name, ASSESSED if (mask == number).any() else NOT_ASSESSED)
        centre = None if status == NOT_ASSESSED else _centre(mask, number)
        levels.append(LocatedLevel(level=name, status=status, centre_lps_mm=centre, box=None, evidence=None))  # type: ignore[arg-type]
    grid = PatientGrid(origin_lps_mm=(0, 0, 0), spacing_mm_zyx=(2.0, 2.0, 2.0), shape_zyx=(60, 20, 20))
    return Spine(mask=mask, column=Column(grid=grid, labels=mask, evidence={}), levels=tuple(levels))


def _cervical(labels: Mask) -> Mask:
    return np.where(labels <= 7, labels, 0).astype(np.uint8)


def _row(spine: Spine | None, study: Study | None = None, *, group: str = "spine", seed: int = 1) -> dict[str, Any]:
    return {"group": group, "seed": seed, **score(study or _study(), spine), "seconds": {"render": 1.0, "locate": 0.5}}


def test_a_perfect_localiser_scores_one_and_meets_every_target() -> None:
    rows = [_row(_answer(_cervical(_labels())), seed=k) for k in range(3)] + [_row(None, group="without")]
    for level in rows[-1]["levels"]:
        level["truth"] = "absent"
    metrics = summarise(rows)
    levels = metrics["levels"]
    assert levels["complete_named_right"]["count"] == levels["complete"] == 21
    assert [levels[k]["value"] for k in ("complete_named_right", "reported_named_right", "status_right")] == [1, 1, 1]
    assert levels["dice_mean"] == {"value": 1.0, "ci95": [1.0, 1.0]}
    assert levels["centre_error_mm_p99"]["value"] == 0.0
    assert metrics["false_cervical_spine"]["count"] == metrics["studies"]["spine_missed"]["count"] == 0
    assert all(target["met"] for target in metrics["targets"])
    assert "on 3 held-out phantoms and 1 without" in phantoms_text(metrics)


def test_a_column_named_one_too_high_shows_as_shifted_with_no_level_right() -> None:
    # What is C2 is called C1, ... T1 is called C7.
    row = _row(_answer(_cervical(_labels(first=0))))
    assert row["shift"] == 1
    assert [v["covers"] for v in row["levels"]] == [2, 3, 4, 5, 6, 7, 8]
    assert row["levels"][2]["centre_error_mm"] == pytest.approx(14.0)
    assert row["levels"][2]["dice"] == 0.0
    metrics = summarise([row])
    assert metrics["levels"]["complete_named_right"]["count"] == 0
    assert metrics["studies"]["column_misnamed_by_a_count"]["count"] == 1
    assert metrics["worst"][0]["misnamed"] == 7
    assert metrics["targets"][0]["met"] is False


def test_one_misnamed_level_is_no_shift() -> None:
    assert shift({1: 1, 2: 2, 3: 4, 4: 4, 5: 5}) == 0
    assert shift({3: 2, 4: 3}) == -1
    assert shift({3: 2}) == 0
    assert shift({1: 0, 2: 0}) == 0


def test_a_missed_complete_level_counts_against_naming_but_not_among_the_reported() -> None:
    mask = _cervical(_labels())
    mask[mask == 7] = 0
    levels = summarise([_row(_answer(mask))])["levels"]
    assert (levels["complete_named_right"]["count"], levels["complete_named_right"]["of"]) == (6, 7)
    assert (levels["reported_named_right"]["count"], levels["reported_named_right"]["of"]) == (6, 6)
    assert levels["complete_missed"]["count"] == 1
    assert levels["status_table"] == {"complete": {ASSESSED: 6, NOT_ASSESSED: 1}}


def test_a_spine_that_is_not_found_is_missed_and_one_in_an_abdomen_is_false() -> None:
    found_none = _row(None)
    found_one = _row(_answer(_cervical(_labels())), group="without", seed=2)
    metrics = summarise([found_none, found_one])
    assert metrics["studies"]["spine_missed"]["count"] == 1
    assert metrics["false_cervical_spine"]["count"] == 1
    assert metrics["worst"][0]["seed"] == 2
    assert metrics["levels"]["dice_mean"]["value"] is None


def test_dice_at_1_mm_is_that_of_the_masks_by_hand() -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    said = truth.copy()
    truth[5:15, 5:15, 5:15] = 1
    said[5:15, 5:15, 10:20] = 1  # half of it overlaps: 2 * 500 / (1000 + 1000)
    volume = _volume((20, 20, 20), spacing_mm=1.0)
    assert dice_at_1_mm(volume, truth, said, [1]) == {1: 0.5}
    assert dice_at_1_mm(volume, truth, np.zeros_like(said), [1]) == {1: 0.0}
    assert dice_at_1_mm(volume, truth, said, []) == {}
    # Anisotropic voxels weigh by their millimetres: 4 mm slices beside 1 mm rows.
    coarse = Volume(hu=np.zeros((20, 20, 20), np.int16), affine_lps=np.diag([1.0, 1.0, 4.0, 1.0]))
    assert dice_at_1_mm(coarse, truth, said, [1])[1] == pytest.approx(0.5, abs=0.02)


def test_only_levels_that_are_complete_in_truth_have_dice_and_centre() -> None:
    row = _row(_answer(_cervical(_labels())), _study(C7="partial"))
    assert row["levels"][6]["dice"] is None
    assert row["levels"][6]["centre_error_mm"] is None
    assert row["levels"][5]["dice"] == 1.0


@pytest.mark.parametrize(
    ("truth", "in_view", "edge_mm", "status", "right"),
    [
        ("complete", 1.0, 20.0, ASSESSED, True),
        ("complete", 1.0, 20.0, PARTLY, False),
        ("complete", 1.0, 3.0, PARTLY, True),
        ("complete", 1.0, 3.0, NOT_ASSESSED, False),
        ("partial", 0.6, 0.0, PARTLY, True),
        ("partial", 0.6, 0.0, ASSESSED, False),
        ("partial", 0.6, 0.0, NOT_ASSESSED, False),
        ("partial", 0.1, 0.0, NOT_ASSESSED, True),
        ("absent", 0.0, None, NOT_ASSESSED, True),
        ("absent", 0.0, None, PARTLY, False),
    ],
)
def test_a_status_is_right_within_the_stated_margins(
    truth: str, in_view: float, edge_mm: float | None, status: str, right: bool
) -> None:
    true = TrueLevel(level="C4", status=truth, centre_lps_mm=(0, 0, 0), in_view=in_view, edge_mm=edge_mm)
    assert status_right(true, status) is right


def test_the_two_groups_of_held_out_studies_share_no_seed() -> None:
    cases = held_out(950_000, 300, 100)
    assert len({case.seed for case in cases}) == len({case.key for case in cases}) == 400
    with pytest.raises(ValueError, match="seeds"):
        held_out(0, 30_000, 1)


@dataclass(frozen=True)
class _Case:
    key: str


def _measure_until(last: int, seen: list[str]) -> Callable[[_Case], dict[str, Any]]:
    """Measures that many cases, then is killed."""

    def measure(case: _Case) -> dict[str, Any]:
        if len(seen) == last:
            raise KeyboardInterrupt
        seen.append(case.key)
        return {"length": len(case.key)}

    return measure


def test_a_second_call_goes_on_where_the_first_was_killed(tmp_path: Path) -> None:
    cases = [_Case(f"spine-{'x' * k}") for k in range(5)]
    work, seen, heard = tmp_path / "work.jsonl", [], []
    kept = {"header": {"weights": "a"}, "work": work, "workers": 1, "on_row": heard.append}
    with pytest.raises(KeyboardInterrupt):
        run(cases, _measure_until(3, seen), **kept)
    with work.open("a") as file:
        file.write('{"key": "spine-xxx", "len')  # a line cut short by the kill
    heard.clear()
    rows = run(cases, _measure_until(9, seen), **kept)
    assert [row["key"] for row in rows] == [case.key for case in cases]
    assert seen == [case.key for case in cases]
    assert len(heard) == 5
    assert len(work.read_text().splitlines()) == 6
    assert run(cases, _measure_until(0, []), **kept) == rows


def test_rows_of_other_weights_are_never_mixed_in(tmp_path: Path) -> None:
    work = tmp_path / "work.jsonl"
    cases = [_Case("spine-1")]
    common = {"work": work, "workers": 1, "on_row": lambda row: None}
    run(cases, _measure_until(1, []), header={"localiser_sha256": "a", "device": "cpu"}, **common)
    with pytest.raises(OtherRun, match="another localiser_sha256; remove it"):
        run(cases, _measure_until(1, []), header={"localiser_sha256": "b", "device": "cpu"}, **common)


def test_recorded_numbers_stand_in_the_manifest_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "toy", "metrics": {"evaluation": {"a": 1}}}))
    record_metrics(str(tmp_path), "localiser", {"phantoms": 300})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["metrics"] == {"evaluation": {"a": 1}, "localiser": {"phantoms": 300}}
