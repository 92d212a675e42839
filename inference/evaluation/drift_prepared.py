"""Records of prepared studies, for the reference of a bundle that looks at prepared studies.

The HU of a prepared study are cropped to the spine, resampled and cut off at -512: a reference made of them is compared
with records of prepared studies, never with records of whole series. What the scanner did (slices, spacings) stands in
the study's facts and is that of the series.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import numpy as np

from inference.dataset.prepared import PreparedFolder, PreparedStudy, real_hu
from inference.evaluation.drift_record import InputFacts, Record, input_facts, record_of
from inference.evaluation.predictions import LEVEL_COLUMNS, Predictions, PredictionsError


def prepared_facts(study: PreparedStudy) -> InputFacts:
    """The facts of a prepared study's voxels, with the series' own slices and spacings where they are known."""
    found = input_facts(real_hu(study.hu), study.grid.spacing_mm_zyx)
    spacing, slices = study.facts.get("spacing_mm_zyx"), study.facts.get("slices")
    if spacing is not None:
        found = replace(found, slice_spacing_mm=float(spacing[0]), pixel_mm=float(spacing[2]))
    return replace(found, slices=int(slices)) if slices is not None else found


def records_of_prepared(
    folder: PreparedFolder, predictions: Predictions, *, analysed_at: datetime, bundle: str
) -> Iterator[Record]:
    """A record for each prediction, one study in memory at a time; PredictionsError where a study is not there.

    A level of which no voxel is drawn counts as not assessed, where the levels are drawn at all.
    """
    missing = [uid for uid in predictions.uids if uid not in set(folder.uids)]
    if missing:
        raise PredictionsError(f"{folder.folder} lacks {len(missing)} of the predicted studies, the first {missing[0]}")
    for uid, row in zip(predictions.uids, predictions.values, strict=True):
        study = folder.load(uid)
        drawn = range(1, 8) if study.levels is None else np.unique(study.levels)
        said = {
            name: float(value) if number == 0 or number in drawn else None
            for number, (name, value) in enumerate(zip(LEVEL_COLUMNS, row, strict=True))
        }
        yield record_of(
            study=uid, analysed_at=analysed_at, bundle=bundle, probabilities=said, inputs=prepared_facts(study)
        )
