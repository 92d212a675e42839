"""The picture of a case: the right slices, seen as radiologists see them, with what is known drawn in."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from inference.dataset.prepared import PreparedStudy, SliceBox
from inference.evaluation.case_picture import case_picture
from inference.preprocess import PatientGrid

SHAPE = (10, 20, 30)  # 1 mm voxels: every voxel is two by two pixels in the picture
SAGITTAL_WIDTH, GAP = 40, 6


def study(*, fracture: np.ndarray | None = None, boxes: tuple[SliceBox, ...] = (), hu: np.ndarray | None = None):
    return PreparedStudy(
        study_instance_uid="1.2",
        patient="p",
        source="phantom",
        hu=np.zeros(SHAPE, np.uint8) if hu is None else hu,
        grid=PatientGrid(origin_lps_mm=(0.0, 0.0, 0.0), spacing_mm_zyx=(1.0, 1.0, 1.0), shape_zyx=SHAPE),
        levels=None,
        levels_from=None,
        fracture=fracture,
        boxes=boxes,
    )


def pixels(png: bytes) -> np.ndarray:
    return np.array(Image.open(BytesIO(png)))


def test_the_head_is_up_the_front_left_and_the_patient_s_left_at_the_right() -> None:
    hu = np.zeros(SHAPE, np.uint8)
    hu[9, 0, 15] = 255  # top, front, in the middle plane
    hu[5, 0, 29] = 255  # middle slice, front, patient's left
    shown = pixels(case_picture(study(hu=hu), None))[..., 0].astype(int)
    assert shown.shape == (40, SAGITTAL_WIDTH + GAP + 60)
    sagittal, axial = shown[10:30, :SAGITTAL_WIDTH], shown[:, SAGITTAL_WIDTH + GAP :]
    bright = np.argwhere(sagittal > 100)
    assert bright.max() <= 2
    assert np.argwhere(axial > 100).min(axis=0).tolist()[1] >= 56
    assert np.argwhere(axial > 100).max(axis=0).tolist()[0] <= 2


def test_the_slices_go_through_the_level_that_was_missed_and_its_zone_is_outlined() -> None:
    zone = np.zeros(SHAPE, np.uint8)
    zone[2, 4:9, 20:25] = 5
    zone[8, 4:9, 3:8] = 2
    shown = pixels(case_picture(study(fracture=zone), "C5"))
    axial = shown[:, SAGITTAL_WIDTH + GAP :]
    orange = np.argwhere((axial[..., 0] > 200) & (axial[..., 2] < 50))
    assert orange.min(axis=0).tolist() == [8, 40]
    assert orange.max(axis=0).tolist() == [17, 49]
    assert not (axial[12, 44] == axial[8, 44]).all()  # an outline, not a patch


def test_boxes_of_the_slice_are_drawn_and_show_where_to_look() -> None:
    shown = pixels(case_picture(study(boxes=(SliceBox(z=7, y_low=2, y_high=6, x_low=10, x_high=14),)), "C3"))
    blue = np.argwhere((shown[..., 2] > 200) & (shown[..., 0] < 150))
    assert blue.min(axis=0).tolist() == [4, SAGITTAL_WIDTH + GAP + 20]
    assert blue.max(axis=0).tolist() == [12, SAGITTAL_WIDTH + GAP + 28]
