"""An analysis of a phantom that finds what the phantom's truth holds, whatever the shipped weights would say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.analysis.study import open_study
from dicom_node.analysis.viewer_volume import write_viewer_volume
from dicom_node.analysis.views import write_views
from dicom_node.core.finding import LEVELS, AnalysisResult, Finding, LevelStatus, Outcome, SelectionRecord, SourceSlice
from dicom_node.demo.phantom_study import parse_fracture, write_phantom_study
from inference.reading import SeriesVolume, read_series
from inference.synthetic import Phantom, draw_spec, make_phantom
from tests.builders.results import BUNDLE, write_suspicion

THRESHOLD = 0.3


def make_phantom_result(
    folder: Path,
    *,
    fractures: tuple[str, ...],
    seed: int = 7,
    slices: int = 60,
    spacing_mm: float = 2.5,
    slice_mm: float = 2.5,
    matrix: int = 256,
) -> AnalysisResult:
    """A phantom's CT in `folder`/dicom and beside it mask, suspicion, views and the viewer's CT, as they are left.

    Fractured levels have probability 0.91, the others 0.02 to 0.08.
    """
    scanner = {"spacing_mm": spacing_mm, "slice_mm": slice_mm, "tilt_deg": 0.0}
    broken = tuple(parse_fracture(text) for text in fractures)
    phantom = make_phantom(draw_spec(seed, fractures=broken, decoys=(), scanner=scanner, slices=slices, matrix=matrix))
    study = write_phantom_study(phantom, folder / "dicom", seed=seed, localizer=False)
    headers = open_study(study.study_instance_uid, study.files).series[study.series_instance_uids[0]]
    series = read_series(headers)
    assert np.allclose(series.volume.affine_lps, phantom.volume.affine_lps, atol=1e-3), "the labels fit the images"
    mask = np.where(phantom.labels <= len(LEVELS), phantom.labels, 0).astype(np.uint8)
    findings = tuple(_finding(row, phantom, mask) for row in phantom.truth["levels"])
    mask_path = folder / "mask.npz"
    np.savez_compressed(mask_path, mask=mask, affine_lps=series.volume.affine_lps)
    return AnalysisResult(
        study_instance_uid=study.study_instance_uid,
        outcome=Outcome.ANALYSED,
        reason=None,
        selection=SelectionRecord(chosen=study.series_instance_uids[0]),
        bundle=BUNDLE,
        device="cpu",
        findings=findings,
        overall_probability=0.93 if broken else 0.07,
        overall_threshold=0.4,
        mask_path=mask_path,
        slices=_sources(series),
        views_path=write_views(series.volume, mask, findings, folder / "views"),
        viewer_path=write_viewer_volume(series.volume, mask, folder / "viewer"),
        suspicion_path=write_suspicion(folder / "suspicion.npz", findings, series.volume.affine_lps),
    )


def _finding(row: dict, phantom: Phantom, mask: NDArray[np.uint8]) -> Finding:
    label = LEVELS.index(row["level"]) + 1
    fractured = bool(row["fractured"])
    place = phantom.fracture_mask == label if fractured else mask == label
    z, y, x = _middle(place)
    return Finding(
        level=row["level"],
        status=LevelStatus.ASSESSED,
        threshold=THRESHOLD,
        probability=0.91 if fractured else 0.01 + 0.01 * label,
        location_mm_lps=tuple(row["centre_lps_mm"]),
        key_index_zyx=(z, y, x),
    )


def _middle(region: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The voxel of the region that is nearest to its centre."""
    voxels = np.argwhere(region)
    z, y, x = voxels[np.argmin(np.linalg.norm(voxels - voxels.mean(axis=0), axis=1))].tolist()
    return z, y, x


def _sources(series: SeriesVolume) -> tuple[SourceSlice, ...]:
    return tuple(
        SourceSlice(
            sop_instance_uid=source.sop_instance_uid,
            sop_class_uid=source.sop_class_uid,
            file=source.file,
            frame_number=source.frame_number,
        )
        for source in series.slices
    )
