"""Analyses of the hand-made CT series, as the analysis adapter would hand them to encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from dicom_node.core.finding import (
    LEVELS,
    AnalysisResult,
    BundleIdentity,
    Finding,
    LevelStatus,
    Outcome,
    SelectionRecord,
    SeriesRejection,
    SourceSlice,
)
from tests.builders.ct import affine_lps, make_ct_series

BUNDLE = BundleIdentity(name="cspine-test", version="1.0", sha256="ab" * 32)


def make_mask(n: int, rows: int, columns: int, levels: tuple[str, ...] = LEVELS) -> NDArray[np.uint8]:
    """Stacked boxes, C1 on top (highest z), each touching the next, with an odd shape so that flips show."""
    mask = np.zeros((n, rows, columns), dtype=np.uint8)
    height = (n - 4) / len(LEVELS)
    for label, level in enumerate(LEVELS, 1):
        if level not in levels:
            continue
        top = round(n - 2 - (label - 1) * height)
        bottom = round(n - 2 - label * height)
        row, column = rows // 3 + label, columns // 3
        mask[bottom:top, row : row + rows // 6, column : column + columns // 4 + label] = label
        mask[bottom:top, row : row + 2, column - 3] = label
    return mask


def make_result(
    folder: Path,
    *,
    levels: tuple[str, ...] = LEVELS,
    unseen: dict[str, LevelStatus] | None = None,
    n: int = 24,
    rows: int = 64,
    columns: int = 64,
    spacing: tuple[float, float, float] = (2.0, 0.5, 0.5),
    positive: tuple[str, ...] = ("C2",),
    **series: Any,
) -> AnalysisResult:
    """A CT series in `folder`/ct, a mask of `levels` beside it, and findings for every level but those `unseen`.

    Each positive level has a suspicion map, a cone of 5 mm around its key voxel.
    """
    files = make_ct_series(folder / "ct", n=n, rows=rows, columns=columns, spacing=spacing, **series)
    mask = make_mask(n, rows, columns, levels)
    affine = affine_lps(n, rows, columns, spacing, series.get("tilt", 0.0), series.get("oblique", 0.0))
    mask_path = folder / "mask.npz"
    np.savez_compressed(mask_path, mask=mask, affine_lps=affine)
    unseen = unseen or {}
    findings = tuple(_finding(level, mask, unseen.get(level), level in positive) for level in LEVELS)
    header = dcmread(files[0], stop_before_pixels=True)
    return AnalysisResult(
        study_instance_uid=str(header.StudyInstanceUID),
        outcome=Outcome.ANALYSED,
        reason=None,
        selection=SelectionRecord(
            chosen=str(header.SeriesInstanceUID),
            rejected=(SeriesRejection(series_instance_uid="1.2.3", rule="localizer", detail="1 image"),),
        ),
        bundle=BUNDLE,
        device="cpu",
        findings=findings,
        overall_probability=0.93 if positive else 0.07,
        overall_threshold=0.4,
        mask_path=mask_path,
        suspicion_path=write_suspicion(folder / "suspicion.npz", findings, affine),
        slices=source_slices(files),
        quality=("slice spacing 2.0 mm",),
        timings_s=(("read", 0.5), ("localise", 1.25), ("total", 1.75)),
    )


def write_suspicion(file: Path, findings: tuple[Finding, ...], affine: NDArray[np.float64]) -> Path | None:
    """A map for each positive finding with a key voxel: 1 mm voxels, from 0.9 at the key to nothing 5 mm away."""
    steps = np.stack(np.meshgrid(*(np.arange(15) - 7.0,) * 3, indexing="ij"))
    cone = (0.9 * np.clip(1 - np.linalg.norm(steps, axis=0) / 5, 0, 1)).astype(np.float32)
    arrays: dict[str, Any] = {}
    for finding in findings:
        if finding.is_positive and finding.key_index_zyx is not None:
            place = np.eye(4)
            place[:3, 3] = (affine @ (*finding.key_index_zyx[::-1], 1))[:3] - 7
            arrays |= {f"{finding.level}_values": cone, f"{finding.level}_affine": place}
    if not arrays:
        return None
    np.savez_compressed(file, **arrays)
    return file


def source_slices(files: list[Path]) -> tuple[SourceSlice, ...]:
    """The instances, or the frames of a multiframe file, in the order of z."""
    slices = []
    for file in files:
        header = dcmread(file, stop_before_pixels=True)
        frames = range(1, int(header.NumberOfFrames) + 1) if "NumberOfFrames" in header else (None,)
        for frame in frames:
            slices.append(
                SourceSlice(
                    sop_instance_uid=str(header.file_meta.MediaStorageSOPInstanceUID),
                    sop_class_uid=str(header.file_meta.MediaStorageSOPClassUID),
                    file=file,
                    frame_number=frame,
                )
            )
    return tuple(slices)


def _finding(level: str, mask: NDArray[np.uint8], status: LevelStatus | None, positive: bool) -> Finding:
    label = LEVELS.index(level) + 1
    if status is not None:
        return Finding(level=level, status=status, threshold=0.3)
    voxels = np.argwhere(mask == label)
    z, y, x = (voxels[len(voxels) // 2] if len(voxels) else np.array([5, 20, 20])).tolist()
    return Finding(
        level=level,
        status=LevelStatus.ASSESSED,
        threshold=0.3,
        probability=0.9123 if positive else 0.01 * label,
        location_mm_lps=(0.0, 0.0, 0.0),
        key_index_zyx=(z, y, x),
    )
