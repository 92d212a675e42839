"""Variants of a scan: what happens to its voxels, and that its marks go where the tissue goes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.evaluation import variants
from inference.evaluation.localiser_text import real_text
from inference.evaluation.marks import read_marks
from inference.evaluation.picture import MOST_BYTES, tinted, write_picture
from inference.evaluation.real_series import Trial, judge, read_volume, summary, trials
from inference.evaluation.variants import Variant, bone_contrast, cropped, noisy, offset, resampled, rotated, unchanged
from inference.postprocess import ASSESSED, LEVELS, NOT_ASSESSED, PARTLY, Column
from inference.preprocess import PatientGrid
from inference.spine import LocatedLevel, Spine
from inference.volume import Volume

MARKS = read_marks()
POINT_MM = np.array([-46.0, -38.0, 86.0])


def _with_a_ball(at_lps_mm: np.ndarray = POINT_MM) -> Volume:
    """A 1000 HU ball of 6 mm radius in soft tissue; 2 x 1.5 x 1.5 mm, away from the origin and rotated headers."""
    affine = np.diag([1.5, 1.5, 2.0, 1.0])
    affine[:3, 3] = (-80.0, -70.0, 50.0)
    volume = Volume(hu=np.full((36, 48, 48), 40, np.int16), affine_lps=affine)
    zyx = np.stack(np.meshgrid(*(np.arange(n) for n in volume.hu.shape), indexing="ij"), axis=-1)
    near = np.linalg.norm(volume.to_lps_mm(zyx) - at_lps_mm, axis=-1) < 6.0
    volume.hu[near] = 1000
    return volume


def _ball_mm(volume: Volume) -> np.ndarray:
    return volume.to_lps_mm(np.argwhere(volume.hu > 500)).mean(axis=0)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [-15.0, 15.0])
def test_marks_turn_with_the_tissue(axis: variants.Axis, degrees: float) -> None:
    volume = _with_a_ball()
    variant = rotated(volume, axis, degrees, np.array([-44.0, -30.0, 80.0]))
    assert _ball_mm(variant.volume) == pytest.approx(variant.moved(_ball_mm(volume)), abs=0.4)
    assert variant.volume.hu.min() == -1024  # what was outside the scan is air
    assert np.array_equal(variant.volume.affine_lps, volume.affine_lps)


def test_turning_is_right_handed_about_the_patient_axes() -> None:
    # From +x (left) towards +y (posterior) about +z (superior).
    variant = rotated(_with_a_ball(), "z", 90.0, np.zeros(3))
    assert variant.moved(np.array([10.0, 0.0, 5.0])) == pytest.approx([0.0, 10.0, 5.0])


@pytest.mark.parametrize("spacing", [(0.6, 0.6, 0.6), (3.0, 3.0, 3.0), (3.0, 1.5, 1.5)])
def test_new_voxels_leave_the_patient_where_it_is(spacing: tuple[float, float, float]) -> None:
    volume = _with_a_ball()
    variant = resampled(volume, spacing)
    assert variant.volume.spacing_mm_zyx == pytest.approx(spacing)
    assert variant.moved(POINT_MM) == pytest.approx(POINT_MM)
    assert _ball_mm(variant.volume) == pytest.approx(_ball_mm(volume), abs=0.5)
    covered = np.array(variant.volume.hu.shape) * spacing
    assert covered == pytest.approx(np.array(volume.hu.shape) * volume.spacing_mm_zyx, abs=max(spacing) / 2)


def test_thick_slices_average_and_do_not_pick() -> None:
    volume = Volume(hu=np.zeros((30, 8, 8), np.int16), affine_lps=np.eye(4))
    volume.hu[::2] = 1000
    assert abs(int(resampled(volume, (4.0, 1.0, 1.0)).volume.hu[3, 4, 4]) - 500) < 40


def test_cropping_keeps_the_slices_between_the_heights_where_they_were() -> None:
    volume = _with_a_ball()
    kept = cropped(volume, lowest_z_mm=60.0, highest_z_mm=90.0).volume
    heights = kept.to_lps_mm(np.array([[0, 0, 0], [kept.hu.shape[0] - 1, 0, 0]]))[:, 2]
    assert heights == pytest.approx([60.0, 90.0])
    assert np.array_equal(kept.hu, volume.hu[5:21])
    with pytest.raises(ValueError, match="at least two are needed"):
        cropped(volume, lowest_z_mm=500.0)


def test_brightness_changes_tissue_and_leaves_air() -> None:
    volume = Volume(hu=np.array([[[-1024, -400, 40, 700, 3000]]], np.int16), affine_lps=np.eye(4))
    assert offset(volume, 200).volume.hu.ravel().tolist() == [-1024, -400, 240, 900, 3200]
    assert offset(volume, -200).volume.hu.ravel().tolist() == [-1024, -400, -160, 500, 2800]
    assert bone_contrast(volume, 900).volume.hu.ravel().tolist() == [-1024, -400, 40, 900, 3967]
    assert bone_contrast(volume, 500).volume.hu.ravel().tolist() == [-1024, -400, 40, 500, 2033]


def test_noise_has_the_stated_sd_and_is_the_same_twice() -> None:
    volume = Volume(hu=np.full((20, 40, 40), 100, np.int16), affine_lps=np.eye(4))
    once, again = (noisy(volume, 60.0, seed=3).volume.hu for _ in range(2))
    assert np.array_equal(once, again)
    assert float(once.std()) == pytest.approx(60.0, rel=0.03)


def test_the_marks_go_down_the_neck_and_agree_with_their_second_reading() -> None:
    heights = [float(MARKS.centres_lps_mm[f"C{k}"][2]) for k in range(1, 7)]
    gaps = -np.diff(heights)
    assert np.all((gaps > 10.0) & (gaps < 20.0))
    assert max(MARKS.apart_mm.values()) < 2.0
    assert list(MARKS.expected_status) == list(LEVELS)
    assert MARKS.expected_status["C6"] == PARTLY


def test_marks_whose_readings_differ_in_their_levels_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "marks.toml"
    file.write_text("[first_lps_mm]\nC1 = [0, 0, 0]\n[second_lps_mm]\nC2 = [0, 0, 0]\n")
    with pytest.raises(ValueError, match="mark the same levels twice"):
        read_marks(file)


def _spine(centres: dict[str, np.ndarray], statuses: dict[str, str]) -> Spine:
    levels = tuple(
        LocatedLevel(
            level=name,
            status=statuses[name],  # type: ignore[arg-type]
            centre_lps_mm=None if statuses[name] == NOT_ASSESSED else tuple(map(float, centres[name])),  # type: ignore[arg-type]
            box=None,
            evidence=None,
        )
        for name in LEVELS
    )
    mask = np.zeros((36, 48, 48), np.uint8)
    mask[10:14, 20:30, 20:30] = 3
    grid = PatientGrid(origin_lps_mm=(0, 0, 0), spacing_mm_zyx=(2.0, 2.0, 2.0), shape_zyx=(36, 48, 48))
    return Spine(mask=mask, column=Column(grid=grid, labels=mask, evidence={}), levels=levels)


def _trial(name: str) -> Trial:
    return next(trial for trial in trials(MARKS) if trial.name == name)


def _same(move: np.ndarray | None = None) -> Variant:
    return Variant(volume=_with_a_ball(), to_variant=np.eye(4) if move is None else move)


def test_the_marks_themselves_are_a_right_answer_in_every_variant_that_moves_them() -> None:
    move = np.eye(4)
    move[:3, 3] = (5.0, -3.0, 8.0)
    moved = {level: mark + move[:3, 3] for level, mark in MARKS.centres_lps_mm.items()}
    row = judge(_trial("as it is"), _same(move), MARKS, _spine(moved, MARKS.expected_status))
    assert row["right"]
    assert (row["assessable_right"], row["assessable"]) == (5, 5)
    assert {v["centre_error_mm"] for v in row["levels"]} == {0.0, None}


def test_an_answer_one_level_off_is_wrong_though_every_status_is_right() -> None:
    names = list(MARKS.centres_lps_mm)
    lower = {a: MARKS.centres_lps_mm[b] for a, b in zip(names, [*names[1:], "C6"], strict=True)}
    row = judge(_trial("as it is"), _same(), MARKS, _spine(lower, MARKS.expected_status))
    assert not row["right"]
    assert row["assessable_right"] == 0
    assert row["levels"][1]["nearest_mark"] == "C3"


def test_a_cut_level_must_not_be_assessed_and_nothing_found_is_wrong() -> None:
    whole = _spine(MARKS.centres_lps_mm, MARKS.expected_status)
    row = judge(_trial("cut at mid-C2, nothing above"), _same(), MARKS, whole)
    assert [v["right"] for v in row["levels"]] == [False, False, True, True, True, True, True]
    nothing = judge(_trial("as it is"), _same(), MARKS, None)
    assert (nothing["found"], nothing["right"], nothing["assessable_right"]) == (False, False, 0)


def test_a_cut_level_may_lie_off_its_mark_but_not_by_a_vertebra() -> None:
    for down_mm, right in ((10.0, True), (20.0, False)):
        moved = {**MARKS.centres_lps_mm, "C6": MARKS.centres_lps_mm["C6"] - [0, 0, down_mm]}
        row = judge(_trial("as it is"), _same(), MARKS, _spine(moved, MARKS.expected_status))
        assert row["levels"][5]["right"] is right
        assert row["assessable_right"] == 5


def test_the_report_names_each_variant_and_flags_what_is_wrong() -> None:
    right = judge(_trial("as it is"), _same(), MARKS, _spine(MARKS.centres_lps_mm, MARKS.expected_status))
    wrong = judge(_trial("3 mm voxels"), _same(), MARKS, None)
    text = real_text(summary([right, wrong], MARKS))
    assert "1 of 2 variants right; 5 of 10 assessable levels right" in text
    assert "+0.0" in text
    assert "-!" in text


def test_every_variant_of_the_issue_is_tried() -> None:
    names = [trial.name for trial in trials(MARKS)]
    assert len(names) == len(set(names)) == 18
    assert all(set(trial.right) == set(LEVELS) for trial in trials(MARKS))
    cut = _trial("cut at mid-C2, nothing below").right
    assert cut["C1"] == (ASSESSED,)
    assert cut["C2"] == (PARTLY,)
    assert cut["C3"] == (NOT_ASSESSED,)


def test_a_folder_that_is_not_one_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 DICOM series"):
        read_volume(tmp_path)


def test_labels_tint_the_picture_and_bone_stays_grey() -> None:
    picture = tinted(np.array([[1100.0, 1100.0]]), np.array([[0, 1]]))
    assert picture[0, 0].tolist() == [1.0, 1.0, 1.0]
    assert picture[0, 1, 0] > picture[0, 1, 1]


@pytest.mark.parametrize("found", [True, False])
def test_the_picture_is_a_small_png(tmp_path: Path, found: bool) -> None:
    spine = _spine(MARKS.centres_lps_mm, MARKS.expected_status) if found else None
    file = tmp_path / "docs" / "picture.png"
    write_picture(file, _with_a_ball(), MARKS, spine)
    data = file.read_bytes()
    assert len(data) <= MOST_BYTES
    assert Image.open(io.BytesIO(data)).width > 600


def test_the_unchanged_scan_is_the_scan() -> None:
    volume = _with_a_ball()
    assert unchanged(volume).volume is volume
