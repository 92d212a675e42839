"""What the child tells the node arrives as it was said."""

import dataclasses
from pathlib import Path

from dicom_node.analysis.serial import from_json, to_json
from dicom_node.core.finding import (
    AnalysisResult,
    BundleIdentity,
    Finding,
    LevelStatus,
    Outcome,
    SelectionRecord,
    SeriesRejection,
    SourceSlice,
)

SLICE = SourceSlice(sop_instance_uid="1.2", sop_class_uid="1.3", file=Path("/study/1.dcm"), frame_number=4)
FULL = AnalysisResult(
    study_instance_uid="1.2.3",
    outcome=Outcome.ANALYSED,
    reason=None,
    selection=SelectionRecord(
        chosen="1.2.3.4", rejected=(SeriesRejection(series_instance_uid="1.2.3.5", rule="localizer", detail="one"),)
    ),
    bundle=BundleIdentity(name="b", version="1", sha256="00", levels_named_by="another"),
    device="cpu",
    findings=(
        Finding(
            level="C2",
            status=LevelStatus.ASSESSED,
            threshold=0.5,
            probability=0.75,
            location_mm_lps=(1.0, 2.0, 3.0),
            box_mm_lps=((0.0, 0.0, 0.0), (2.0, 4.0, 6.0)),
            key_index_zyx=(1, 2, 3),
        ),
    ),
    overall_probability=0.8,
    mask_path=Path("/data/mask.npz"),
    slices=(SLICE, dataclasses.replace(SLICE, position_mm_lps=(-80.0, -91.5, 12.25), instance_number=17)),
    views_path=Path("/data/views"),
    suspicion_path=Path("/data/suspicion.npz"),
    viewer_path=Path("/data/viewer"),
    representative=SLICE,
    quality=("thick slices",),
    timings_s=(("read", 0.5),),
)


def test_a_full_result_comes_back_equal():
    assert from_json(to_json(FULL)) == FULL


def test_a_result_without_findings_and_files_comes_back_equal():
    bare = dataclasses.replace(
        FULL,
        outcome=Outcome.NOT_APPLICABLE,
        reason="no cervical spine",
        findings=(),
        overall_probability=None,
        mask_path=None,
        slices=(),
        views_path=None,
        suspicion_path=None,
        representative=None,
    )
    assert from_json(to_json(bare)) == bare
