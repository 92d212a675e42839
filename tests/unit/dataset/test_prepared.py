"""Prepared studies survive the disk unchanged, and what is wrong with one is said by name."""

import zipfile

import numpy as np
import pytest

from inference.dataset.prepared import (
    PreparedFileUnusable,
    PreparedFolder,
    SliceBox,
    load_head,
    load_prepared,
    real_hu,
    save_prepared,
    stored_hu,
    study_path,
)
from tests.unit.dataset.builders import grid, study

ARRAYS = ("hu", "levels", "fracture", "true_levels")


def test_a_study_comes_back_from_its_file_as_it_was(tmp_path):
    path = tmp_path / "a.study"
    before = study(true_levels=np.full((6, 5, 4), 8, np.uint8))
    save_prepared(path, before)
    after = load_prepared(path)
    assert after.head == before.head
    assert all(np.array_equal(getattr(after, name), getattr(before, name)) for name in ARRAYS)


def test_what_nobody_has_drawn_stays_none(tmp_path):
    path = tmp_path / "a.study"
    save_prepared(path, study(levels=None, levels_from=None, fracture=None, boxes=(), truth=None))
    after = load_prepared(path)
    assert after.levels is after.fracture is after.true_levels is after.truth is None


def test_the_head_is_read_without_the_voxels(tmp_path):
    path = tmp_path / "a.study"
    save_prepared(path, study())
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("hu.npy").header_offset
    raw[start + 40 : start + 60] = bytes(20)
    path.write_bytes(raw)
    assert load_head(path) == study().head
    with pytest.raises(PreparedFileUnusable, match=r"a\.study"):
        load_prepared(path)


def test_a_file_that_a_kill_cut_short_is_refused_by_name(tmp_path):
    path = tmp_path / "a.study"
    save_prepared(path, study())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PreparedFileUnusable, match=r"a\.study.*prepare it again"):
        load_head(path)


def test_a_failed_write_leaves_neither_the_file_nor_a_part_of_it(tmp_path):
    with pytest.raises(TypeError):
        save_prepared(tmp_path / "a.study", study(facts={"no": object()}))
    assert not list(tmp_path.iterdir())


def test_hounsfield_units_survive_within_half_a_step_and_are_cut_off_beyond():
    hu = np.array([-1024.0, -512.0, -3.9, 0.0, 99.0, 1528.0, 3071.0])
    assert np.allclose(real_hu(stored_hu(hu)), [-512, -512, 0, 0, 96, 1528, 1528])
    inside = np.linspace(-512, 1528, 999)
    assert np.abs(real_hu(stored_hu(inside)) - inside).max() <= 4.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hu": np.zeros((6, 5, 4), np.int16)}, "hu is int16"),
        ({"grid": grid((6, 5, 5))}, r"expected uint8 \(6, 5, 5\)"),
        ({"levels": np.full((6, 5, 4), 9, np.uint8)}, "levels has the value 9"),
        ({"fracture": np.full((6, 5, 4), 8, np.uint8)}, "fracture has the value 8"),
        ({"levels_from": None}, "levels_from None"),
        ({"source": "web"}, "source 'web'"),
        ({"truth": (1, 0)}, "not 8 values"),
        ({"truth": (2, 0, 0, 0, 0, 0, 0, 0)}, "0 or 1"),
        ({"boxes": (SliceBox(z=6, y_low=0, y_high=1, x_low=0, x_high=1),)}, "outside the grid's 6 planes"),
    ],
)
def test_a_study_whose_parts_do_not_fit_each_other_cannot_be_made(changes, says):
    with pytest.raises(ValueError, match=says):
        study(**changes)


def test_a_folder_gives_truth_and_patients_in_the_order_of_its_studies(tmp_path):
    for uid in ("1.3", "1.2"):
        save_prepared(study_path(tmp_path, uid), study(uid))
    folder = PreparedFolder(tmp_path)
    assert folder.uids == ("1.2", "1.3")
    assert list(folder.truth.items()) == [(uid, (1, 0, 0, 0, 0, 1, 0, 0)) for uid in folder.uids]
    assert folder.patients == {"1.2": "p1.2", "1.3": "p1.3"}
    assert folder.load("1.3").study_instance_uid == "1.3"
    assert folder.folds == {}


def test_folds_that_lack_a_study_are_refused(tmp_path):
    for uid in ("1.2", "1.3"):
        save_prepared(study_path(tmp_path, uid), study(uid))
    table = tmp_path / "folds.csv"
    table.write_text("StudyInstanceUID,patient,fold\n1.2,p,0\n1.3,q,4\n")
    assert PreparedFolder(tmp_path).folds == {"1.2": 0, "1.3": 4}
    table.write_text("StudyInstanceUID,patient,fold\n1.2,p,0\n")
    with pytest.raises(ValueError, match=r"no fold for 1 of 2 studies, the first 1\.3"):
        _ = PreparedFolder(tmp_path).folds


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="cspine-node prepare"):
        PreparedFolder(tmp_path)


@pytest.mark.parametrize("uid", ["", "../1", "1/2", ".1", "a b"])
def test_a_uid_that_is_no_file_name_is_refused(tmp_path, uid):
    with pytest.raises(ValueError, match="no file name"):
        study_path(tmp_path, uid)
