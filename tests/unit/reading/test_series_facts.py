"""What selection is told about the kinds of series that come with a CT study."""

from __future__ import annotations

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

from inference.series_facts import is_bone_kernel, series_facts
from tests.builders.stored_ct import header

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def facts(count: int = 4, **fields: object):  # type: ignore[no-untyped-def]
    return series_facts([header([0, 0, 1.5 * k], number=k, **fields) for k in range(count)])


def test_an_axial_series_in_figures() -> None:
    found = facts(10, slice_thickness_mm=2.0, convolution_kernel="BONE")
    assert (found.is_ct, found.is_localizer, found.is_secondary, found.is_bone_kernel) == (True, False, False, True)
    assert (found.orientation, found.angle_deg, found.tilt_deg) == ("axial", 0, 0)
    assert (found.image_count, found.slice_thickness_mm, found.spacing_mm) == (10, 2.0, 1.5)
    assert (found.coverage_mm, found.largest_gap_mm, found.duplicate_count) == (15.0, 1.5, 0)
    assert found.geometry_problem == ""


def test_a_series_without_modality_is_ct_by_its_class() -> None:
    found = facts(modality="")
    assert (found.is_ct, found.modality) == (True, "CT")


def test_a_series_without_modality_and_class_is_ct_by_its_rescale() -> None:
    assert facts(modality="", sop_class_uid="", rescale_intercept=-1024.0).is_ct
    assert not facts(modality="", sop_class_uid="").is_ct


@pytest.mark.parametrize("fields", [{"sop_class_uid": str(MRImageStorage)}, {"sop_class_uid": "", "modality": "MR"}])
def test_another_modality_is_not_ct(fields: dict[str, str]) -> None:
    assert not facts(**fields).is_ct


@pytest.mark.parametrize(
    ("image_type", "description", "expected"),
    [
        (("ORIGINAL", "PRIMARY", "LOCALIZER"), "", True),
        (("DERIVED", "SECONDARY", "SCOUT"), "", True),
        (("ORIGINAL", "PRIMARY"), "Topogram 0.6", True),
        (("ORIGINAL", "PRIMARY", "AXIAL"), "scout, then neck", False),
        (("ORIGINAL", "PRIMARY", "AXIAL"), "C-SPINE", False),
    ],
)
def test_a_localizer_is_known_by_its_image_type(image_type: tuple[str, ...], description: str, expected: bool) -> None:
    assert facts(2, image_type=image_type, series_description=description).is_localizer is expected


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        (("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"), True),
        (("ORIGINAL", "PRIMARY", "AXIAL", "CSA MPR"), True),
        (("DERIVED", "PRIMARY", "MPR"), True),
        (("DERIVED", "SECONDARY", "SCREEN SAVE"), True),
        (("ORIGINAL", "PRIMARY", "OTHER", "CT_SOM5 PROT"), False),
        (("DERIVED", "PRIMARY", "AXIAL"), False),
        (("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"), False),
        ((), False),
    ],
)
def test_secondary_images_are_known_by_their_image_type(image_type: tuple[str, ...], expected: bool) -> None:
    found = facts(image_type=image_type)
    assert found.is_secondary is expected
    assert bool(found.secondary_reason) is expected


def test_a_secondary_capture_is_secondary_whatever_its_image_type() -> None:
    assert facts(sop_class_uid=str(SecondaryCaptureImageStorage)).secondary_reason == "a Secondary Capture"


def test_one_localizer_among_axial_slices_makes_a_geometry_problem_not_a_localizer() -> None:
    axial = [header([0, 0, float(k)], number=k) for k in range(5)]
    scout = header([0, 0, 0], SAGITTAL, 9, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    found = series_facts([*axial, scout])
    assert not found.is_localizer
    assert found.orientation == "mixed"
    assert "mixed orientations" in found.geometry_problem


def test_a_report_has_no_geometry_and_is_no_ct() -> None:
    report = header(
        [0, 0, 0], frames=(), rows=None, columns=None, modality="SR", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33"
    )
    found = series_facts([report])
    assert (found.is_ct, found.image_count, found.orientation, found.spacing_mm) == (False, 0, "", None)
    assert found.geometry_problem


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        *[(name, True) for name in ("B60s", "B70f", "Br64d\\3", "Hr60", "H70h", "BONE", "BONEPLUS", "EDGE", "HD BONE")],
        *[(name, True) for name in ("YC", "YD", "E", "D", "FC30", "FC35", "FC81", "Bone Sharp")],
        *[
            (name, False)
            for name in ("B30s", "Br40", "Bl64", "STANDARD", "SOFT", "LUNG", "C", "B", "YA", "FC08", "FC52")
        ],
        *[(name, None) for name in ("", "UNKNOWN", "FILTER 7")],
    ],
)
def test_bone_kernels_of_the_vendors(kernel: str, expected: bool | None) -> None:
    assert is_bone_kernel(kernel) is expected


def test_the_classes_of_ct_are_read() -> None:
    assert facts(sop_class_uid=str(CTImageStorage), modality="OT").is_ct
