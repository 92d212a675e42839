"""TotalSegmentator behind a fake of its interface, in a process of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from inference.errors import (
    LocaliserAnswerUnusable,
    LocaliserCrashed,
    LocaliserNotInstalled,
    LocaliserWeightsMissing,
)
from inference.preprocess import PatientGrid, grid_covering
from inference.totalsegmentator import SPACING_MM, TotalSegmentatorLocaliser, by_name, column_of
from inference.totalsegmentator_process import TotalSegmentator, probe
from inference.volume import Volume
from tests.builders.fake_totalsegmentator import install

# The order of the task vertebrae_pp, and that of the task total, which counts upwards.
DOWNWARDS = {k: f"vertebrae_C{k}" for k in range(1, 8)} | {8: "vertebrae_T1"}
UPWARDS = {43: "vertebrae_T1"} | {51 - k: f"vertebrae_C{k}" for k in range(1, 8)}


def neck() -> tuple[Volume, PatientGrid, NDArray[np.uint8]]:
    """Seven blocks of bone, 18 mm apart, a dens on the second; the grid TotalSegmentator gets and its labels on it."""
    grid = PatientGrid(origin_lps_mm=(-30.0, -40.0, -200.0), spacing_mm_zyx=(SPACING_MM,) * 3, shape_zyx=(110, 40, 34))
    labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
    for level in range(1, 8):
        z = 98 - 12 * level
        labels[z : z + 9, 12:28, 8:26] = level
    labels[86:89, 16:24, 12:22] = 0  # the ring of C1 is open where the dens stands
    labels[83:93, 16:20, 14:20] = 2
    hu = np.where(labels > 0, 700, 40).astype(np.int16)
    volume = Volume(hu=hu, affine_lps=grid.affine_lps())
    assert grid_covering(volume, SPACING_MM) == grid
    return volume, grid, labels


def written(path: Path, labels: NDArray[np.uint8], grid: PatientGrid, codes: dict[int, str]) -> Path:
    table = np.zeros(256, dtype=np.uint8)
    for code, name in codes.items():
        if name.startswith("vertebrae_C"):
            table[int(name[-1])] = code
    image = sitk.GetImageFromArray(table[labels])
    image.SetOrigin(grid.origin_lps_mm)
    image.SetSpacing(grid.spacing_mm_zyx[::-1])
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs the fake so that a child of this process finds it; returns where it leaves what it saw."""

    def put(**how) -> Path:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
        how.setdefault("names", DOWNWARDS)
        how.setdefault("labels", tmp_path / "labels.nii.gz")
        return install(tmp_path / "site", **how)

    return put


def work_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("task", "names", "weights"),
    [("vertebrae_pp", DOWNWARDS, (803,)), ("total", UPWARDS, (291, 292, 293, 294, 295, 298))],
)
def test_levels_are_taken_by_name_whatever_their_number(tmp_path: Path, installed, task, names, weights) -> None:
    volume, grid, labels = neck()
    seen = installed(
        task=task, names=names, weights=weights, labels=written(tmp_path / "l.nii.gz", labels, grid, names)
    )
    localiser = TotalSegmentatorLocaliser(TotalSegmentator(task=task), work_dir(tmp_path))
    spine = localiser.locate(volume)
    assert spine is not None
    assert [level.status for level in spine.levels] == ["assessed"] * 7
    for number, level in enumerate(spine.levels, start=1):
        middle = grid.to_lps_mm(np.argwhere(labels == number)).mean(axis=0)
        assert np.linalg.norm(np.array(level.centre_lps_mm) - middle) < 6.0
    overlap = 2 * ((spine.mask == labels) & (labels > 0)).sum() / ((spine.mask > 0).sum() + (labels > 0).sum())
    assert overlap > 0.97
    assert spine.notes == ()
    assert localiser.identity == f"TotalSegmentator 2.18.0 {task}"
    called = json.loads(seen.with_suffix(".json").read_text())
    assert called["roi_subset"] == ([f"vertebrae_C{k}" for k in range(1, 8)] if task == "total" else None)


def test_the_image_it_gets_is_upright_and_in_place_and_nobody_else_can_read_it(tmp_path: Path, installed) -> None:
    volume, grid, labels = neck()
    seen = installed(labels=written(tmp_path / "l.nii.gz", labels, grid, DOWNWARDS))
    TotalSegmentatorLocaliser(TotalSegmentator(), work_dir(tmp_path)).locate(volume)
    image = sitk.ReadImage(str(seen))
    assert image.GetOrigin() == pytest.approx(grid.origin_lps_mm, abs=1e-3)
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.hu)
    called = json.loads(seen.with_suffix(".json").read_text())
    assert called["mode"] == "0o700"
    assert called["settings"]["send_usage_stats"] is False
    assert not Path(called["folder"]).exists()
    assert list(work_dir(tmp_path).iterdir()) == []


def test_a_tilted_series_reaches_it_upright(tmp_path: Path, installed) -> None:
    volume, _, labels = neck()
    affine = volume.affine_lps.copy()
    affine[1, 2] = 0.4  # each slice 0.4 mm further back
    tilted = Volume(hu=volume.hu, affine_lps=affine)
    grid = grid_covering(tilted, SPACING_MM)
    index = np.round(tilted.to_index_zyx(grid.to_lps_mm(np.argwhere(np.ones(grid.shape_zyx))))).astype(int)
    inside = np.all((index >= 0) & (index < labels.shape), axis=1)
    upright = np.zeros(len(index), dtype=np.uint8)
    upright[inside] = labels[tuple(index[inside].T)]
    upright = upright.reshape(grid.shape_zyx)
    installed(labels=written(tmp_path / "l.nii.gz", upright, grid, DOWNWARDS))
    spine = TotalSegmentatorLocaliser(TotalSegmentator(), work_dir(tmp_path)).locate(tilted)
    assert spine is not None
    assert ((spine.mask == labels) & (labels > 0)).sum() / (labels > 0).sum() > 0.93


def test_labels_on_another_grid_are_refused(tmp_path: Path, installed) -> None:
    volume, grid, labels = neck()
    moved = replace(grid, origin_lps_mm=(-30.0, -40.0, -197.0))
    installed(labels=written(tmp_path / "l.nii.gz", labels, moved, DOWNWARDS))
    with pytest.raises(LocaliserAnswerUnusable, match="another grid"):
        TotalSegmentatorLocaliser(TotalSegmentator(), work_dir(tmp_path)).locate(volume)


def test_a_crash_is_told_with_its_last_words(tmp_path: Path, installed) -> None:
    installed(mode="crash")
    with pytest.raises(LocaliserCrashed, match="no kernel image is available"):
        TotalSegmentatorLocaliser(TotalSegmentator(), work_dir(tmp_path)).locate(neck()[0])
    assert list(work_dir(tmp_path).iterdir()) == []


def test_a_killed_process_is_a_crash(tmp_path: Path, installed) -> None:
    installed(mode="killed")
    with pytest.raises(LocaliserCrashed, match="status -9"):
        TotalSegmentatorLocaliser(TotalSegmentator(), work_dir(tmp_path)).locate(neck()[0])


def test_missing_weights_are_said_before_anything_runs_and_never_fetched(tmp_path: Path, installed) -> None:
    seen = installed(weights=())
    with pytest.raises(LocaliserWeightsMissing, match=r"data set 803.*totalseg_download_weights -t vertebrae_pp"):
        TotalSegmentatorLocaliser(TotalSegmentator(), work_dir(tmp_path)).locate(neck()[0])
    assert not seen.exists()


def test_it_reaches_no_other_machine(tmp_path: Path, installed) -> None:
    installed(mode="download")
    with pytest.raises(LocaliserWeightsMissing, match=r"wanted to fetch from weights.invalid"):
        TotalSegmentatorLocaliser(TotalSegmentator(), work_dir(tmp_path)).locate(neck()[0])


def test_an_environment_without_it_is_said_to_lack_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(LocaliserNotInstalled, match=r"cannot import TotalSegmentator.*Install"):
        probe(TotalSegmentator())


def test_an_interpreter_that_is_not_there_is_named() -> None:
    with pytest.raises(LocaliserNotInstalled, match="/no/such/python cannot be started"):
        probe(TotalSegmentator(python="/no/such/python"))


def test_a_version_without_the_task_is_not_enough(installed) -> None:
    installed(task="total", names=UPWARDS)
    with pytest.raises(LocaliserNotInstalled, match="has no task vertebrae_pp"):
        probe(TotalSegmentator())


def test_a_probe_tells_the_version_and_loads_no_model(installed) -> None:
    seen = installed()
    assert probe(TotalSegmentator()).version == "2.18.0"
    assert not seen.exists()


def test_labels_without_names_of_levels_are_not_guessed_at() -> None:
    with pytest.raises(LocaliserAnswerUnusable, match="names no cervical vertebra"):
        by_name(np.ones((2, 2, 2), dtype=np.int16), {1: "spleen", 2: "vertebrae_T1"})


def test_the_largest_piece_of_a_level_is_kept() -> None:
    _, grid, labels = neck()
    labels[2:5, 2:5, 2:5] = 3
    column = column_of(labels, grid)
    assert column is not None
    assert (column.labels == 3).sum() == (labels == 3).sum() - 27


def test_fragments_of_two_levels_are_no_cervical_spine() -> None:
    _, grid, labels = neck()
    labels[labels > 1] = 0
    labels[0:3, 10:20, 10:20] = 7
    assert column_of(labels, grid) is None


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({4: 0}, "Levels missing between C1 and C7: C4"),
        ({3: 4, 4: 3}, "C4 below C3"),
        ({1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6}, "C2 has no dens"),
        ({1: 0, 2: 0}, "The count starts at C3 although the scan goes on above it"),
    ],
)
def test_a_count_that_does_not_hold_is_noted_and_not_mended(change: dict[int, int], note: str) -> None:
    _, grid, labels = neck()
    table = np.arange(8, dtype=np.uint8)
    table[list(change)] = list(change.values())
    column = column_of(table[labels], grid)
    assert column is not None
    assert set(np.unique(column.labels)) == set(np.unique(table[labels]))
    assert note in " ".join(column.notes)


def test_a_scan_that_starts_below_c2_says_that_the_count_cannot_be_checked() -> None:
    _, grid, labels = neck()
    cut = labels[:70]
    cut[cut < 3] = 0
    column = column_of(cut, replace(grid, shape_zyx=cut.shape))
    assert column is not None
    assert column.notes == ("C2 is not in the scan: nothing but the localiser's word says which level is which.",)
