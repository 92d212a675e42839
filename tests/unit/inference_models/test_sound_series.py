"""False alarms on a series without a fracture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from inference.evaluation.sound_series import evaluate_sound, mirrored, sound_text, sound_trials
from inference.pipeline import LevelPrediction, Prediction
from inference.volume import Volume


def _volume() -> Volume:
    hu = np.full((12, 20, 24), 40, dtype=np.int16)
    hu[4:8, 6:10, 3:9] = 700
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-20.0, -15.0, 8.0)
    return Volume(hu=hu, affine_lps=affine)


class _AlarmedBySide:
    """Calls C3 where the dense block lies on the patient's left."""

    bundle = SimpleNamespace(folder=Path())

    def predict(self, volume: Volume) -> Prediction:
        x = np.argwhere(volume.hu > 400)[:, 2].mean()
        left = volume.to_lps_mm(np.array([0.0, 0.0, x]))[0] > volume.to_lps_mm(np.array([0.0, 0.0, 11.5]))[0]
        levels = tuple(
            LevelPrediction(
                level=f"C{k}",
                status="assessed" if k < 6 else "not_assessed",
                probability=(0.9 if left and k == 3 else 0.1) if k < 6 else None,
                threshold=0.5,
                centre_lps_mm=None,
                key_index_zyx=None,
                box_lps_mm=None,
            )
            for k in range(1, 8)
        )
        return Prediction(
            cervical_spine_found=True,
            reason=None,
            levels=levels,
            overall_probability=0.2,
            overall_threshold=0.5,
            mask=np.zeros(volume.hu.shape, dtype=np.uint8),
        )


def test_every_variant_is_looked_at_and_a_call_in_one_of_them_is_told() -> None:
    rows = list(evaluate_sound(_volume(), _AlarmedBySide()))  # type: ignore[arg-type]
    assert [row["variant"] for row in rows] == [trial.name for trial in sound_trials()]
    assert {row["variant"] for row in rows if row["false_alarms"]} == {"left for right"}
    assert rows[1]["false_alarms"] == ["C3"]
    text = sound_text(rows)
    assert "0.90!" in text
    assert f"1 of {5 * len(rows)} assessed levels, 0 of {len(rows)} patients" in text


def test_a_mirrored_point_keeps_its_height_and_depth_and_changes_sides() -> None:
    volume = _volume()
    variant = mirrored(volume)
    block = volume.to_lps_mm(np.argwhere(volume.hu > 400)).mean(axis=0)
    assert np.allclose(
        variant.volume.to_lps_mm(np.argwhere(variant.volume.hu > 400)).mean(axis=0), variant.moved(block)
    )
    assert np.allclose(variant.moved(block)[1:], block[1:])
