import numpy as np
import pytest

from inference.synthetic import DECOYS, FRACTURE_KINDS, LEVELS, Fracture
from tests.unit.synthetic.necks import neck, picture

SEED = 6


@pytest.mark.parametrize("kind", sorted(FRACTURE_KINDS))
def test_a_fracture_changes_its_own_level_and_marks_where(kind):
    level = "C5" if "C5" in FRACTURE_KINDS[kind] else FRACTURE_KINDS[kind][0]
    whole = picture(neck(SEED), level)
    broken = picture(neck(SEED, (Fracture(level=level, kind=kind, severity=0.6),)), level)
    number = LEVELS.index(level) + 1
    assert set(np.unique(broken.fracture_mask)) == {0, number}
    changed = np.abs(broken.hu.astype(int) - whole.hu) > 120
    own = (whole.labels == number) | (broken.labels == number)
    assert changed[own].sum() >= 4
    others = (whole.labels > 0) & ~own
    assert changed[others].mean() < 0.02
    marked = broken.fracture_mask > 0
    assert changed[marked].mean() > max(0.3, changed[own & ~marked].mean())


def test_a_gap_stays_dark_between_fragments():
    fracture = Fracture(level="C7", kind="spinous", severity=0.9)
    whole, broken = (
        picture(neck(SEED, f), "C7", spacing_mm=0.8, size_mm=(20, 40, 36), behind_mm=34) for f in ((), (fracture,))
    )
    marked = broken.fracture_mask > 0
    assert np.percentile(broken.hu[marked], 20) < 150
    assert np.percentile(whole.hu[marked], 20) > 230


def test_decoys_are_not_fractures():
    out = picture(neck(SEED, (), DECOYS), "C5")
    plain = picture(neck(SEED), "C5")
    assert not out.fracture_mask.any()
    assert np.abs(out.hu.astype(int) - plain.hu).max() > 300
