"""No patient in two folds, every label evenly, and nothing that has a fold loses it."""

import numpy as np
import pytest

from inference.dataset.errors import TableError
from inference.dataset.folds import Member, assign_folds, read_folds, write_folds

# Shares of broken levels in the public labels.
SHARES = (0.0723, 0.1412, 0.0362, 0.0535, 0.0802, 0.1372, 0.1947)


def members(studies=2019, patients=1800, seed=1):
    rng = np.random.default_rng(seed)
    out = []
    for k in range(studies):
        levels = tuple(int(v) for v in rng.random(7) < SHARES)
        who = str(k if k < patients else int(rng.integers(patients)))
        out.append(Member(study_instance_uid=f"1.{k}", patient=who, truth=(max(levels), *levels)))
    return out


def test_no_patient_is_in_two_folds():
    chosen = members()
    folds = assign_folds(chosen, 5)
    of_patient = {}
    for member in chosen:
        of_patient.setdefault(member.patient, set()).add(folds[member.study_instance_uid])
    assert len(of_patient) == 1800
    assert all(len(found) == 1 for found in of_patient.values())


def test_studies_and_each_levels_positives_are_spread_evenly():
    chosen = members()
    folds = assign_folds(chosen, 5)
    counts = np.zeros((5, 9))
    for member in chosen:
        counts[folds[member.study_instance_uid]] += (1, *member.truth)
    # A fold has 404 studies, and of each level's 13 to 82 positives at most two more than another.
    assert np.ptp(counts[:, 0]) <= 2
    assert np.ptp(counts[:, 2:], axis=0).max() <= 2
    assert np.ptp(counts[:, 1]) <= 0.08 * counts[:, 1].mean()


def test_the_same_seed_gives_the_same_folds_whatever_the_order():
    chosen = members(300, 280)
    folds = assign_folds(chosen, 5, seed=3)
    assert assign_folds(chosen[::-1], 5, seed=3) == folds
    assert assign_folds(chosen, 5, seed=4) != folds


def test_what_has_a_fold_keeps_it_and_a_known_patients_new_study_joins_it():
    chosen = members(400, 400)
    back = Member(study_instance_uid="1.400", patient="3", truth=(0,) * 8)
    before = assign_folds(chosen[:370], 5)
    after = assign_folds([*chosen, back], 5, kept=before)
    assert {uid: after[uid] for uid in before} == before
    assert after["1.400"] == before["1.3"]
    assert np.ptp(np.bincount(list(after.values()), minlength=5)) <= 2


def test_studies_without_a_truth_are_spread_as_well():
    unknown = [Member(study_instance_uid=f"1.{k}", patient=str(k), truth=None) for k in range(10)]
    assert np.bincount(list(assign_folds(unknown, 5).values())).tolist() == [2] * 5


@pytest.mark.parametrize(
    ("count", "kept", "says"),
    [
        (1, {}, "1 folds"),
        (5, {"1.0": 7}, "is in fold 7, but there are 5"),
        (5, {"1.0": 1, "1.1": 2}, "one patient are in the folds 1 and 2"),
    ],
)
def test_folds_that_make_no_sense_are_refused(count, kept, says):
    same = [Member(study_instance_uid=f"1.{k}", patient="p", truth=None) for k in range(2)]
    with pytest.raises(ValueError, match=says):
        assign_folds(same, count, kept=kept)


def test_folds_survive_the_disk_and_another_table_is_refused(tmp_path):
    chosen = members(20, 18)
    folds = assign_folds(chosen, 5)
    path = tmp_path / "folds.csv"
    assert read_folds(path) == {}
    write_folds(path, chosen, folds)
    assert read_folds(path) == folds
    assert path.read_text().startswith("StudyInstanceUID,patient,fold\n1.0,0,")
    path.write_text("a,b\n")
    with pytest.raises(TableError, match="line 1: the header is 'a,b'"):
        read_folds(path)
    path.write_text("StudyInstanceUID,patient,fold\n1.0,p,x\n")
    with pytest.raises(TableError, match="line 2"):
        read_folds(path)
