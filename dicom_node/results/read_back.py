"""Reads SEG and SR as a receiver would, to say what they carry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np

PROBABILITY = "122157"
LEVEL_OF_SITE = {f"C{number} vertebra": f"C{number}" for number in range(1, 8)}


@dataclass(frozen=True, kw_only=True)
class ReadBack:
    """`segments` are the SEG's labels with their voxel counts; `probabilities` the SR's, by level, in [0, 1]."""

    segments: dict[str, int]
    probabilities: dict[str, float]


def read_back(seg: Path, sr: Path) -> ReadBack:
    """What the two objects say. Raises ValueError, OSError or pydicom's errors where they cannot be read."""
    return ReadBack(segments=_segments(seg), probabilities=_probabilities(sr))


def _segments(file: Path) -> dict[str, int]:
    segmentation = highdicom.seg.segread(file)
    pixels = segmentation.pixel_array
    frames = pixels.reshape(-1, *pixels.shape[-2:])
    counts: dict[str, int] = {str(item.SegmentLabel): 0 for item in segmentation.SegmentSequence}
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in segmentation.SegmentSequence}
    for groups, frame in zip(segmentation.PerFrameFunctionalGroupsSequence, frames, strict=True):
        # With a single segment its identification is shared by all frames.
        holder = groups if "SegmentIdentificationSequence" in groups else segmentation.SharedFunctionalGroupsSequence[0]
        number = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        counts[labels[number]] += int(np.count_nonzero(frame))
    return counts


def _probabilities(file: Path) -> dict[str, float]:
    report = highdicom.sr.MeasurementReport.from_sequence([highdicom.sr.srread(file)])
    found: dict[str, float] = {}
    for group in report.get_planar_roi_measurement_groups():
        sites = [LEVEL_OF_SITE.get(site.value.meaning) for site in group.finding_sites]
        numbers = [m.value for m in group.get_measurements() if m.name.value == PROBABILITY]
        if sites and sites[0] and numbers:
            found[sites[0]] = float(numbers[0]) / 100.0
    return found
