"""Files of a series become a volume: repairs, refusals and what is noted about them."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian

from inference.errors import GeometryUnsupported, PixelDataUnreadable, UnreadableInstance
from inference.headers import read_header, scan_folder
from inference.reading import read_series
from inference.series_facts import series_facts
from tests.builders.stored_ct import ct_slice, enhanced_ct, item, write, write_slices
from tests.peers import REAL_CT

RAMP = np.arange(5 * 4 * 6, dtype=np.int16).reshape(5, 4, 6)


def test_slices_come_in_order_of_position_with_their_references(tmp_path: Path) -> None:
    for k, plane in enumerate(RAMP):
        write(ct_slice(plane, k, InstanceNumber=9 - k), tmp_path / f"{(k * 3) % 5}.dcm")
    scan = scan_folder(tmp_path)
    series = read_series(scan.instances)
    np.testing.assert_array_equal(series.volume.hu, RAMP)
    assert series.volume.frame_of_reference_uid.endswith(".9.3")
    assert series.notes == ()
    for k, source in enumerate(series.slices):
        assert source.sop_instance_uid.endswith(f".{1000 + k}")
        assert source.frame_number is None
        assert read_header(source.file).image_position == (-10, -20, k)


def test_the_affine_agrees_with_simpleitk(tmp_path: Path) -> None:
    tilt = np.radians(15)
    orientation = [1, 0, 0, 0, round(np.cos(tilt), 6), round(-np.sin(tilt), 6)]
    for k, plane in enumerate(RAMP):
        # Along the normal: SimpleITK's affine cannot hold a shear.
        place = np.array([-3.0, 5, 7]) + k * 1.25 * np.cross(orientation[:3], orientation[3:])
        position = [f"{value:.6f}" for value in place]
        slice_ = ct_slice(plane, k, ImagePositionPatient=position, ImageOrientationPatient=orientation)
        write(slice_, tmp_path / f"{k}.dcm")
    volume = read_series(sorted(tmp_path.iterdir())).volume
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()

    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.hu)
    for index in [(0, 0, 0), (5, 3, 4), (2, 1, 3)]:
        expected = image.TransformContinuousIndexToPhysicalPoint([float(value) for value in index])
        np.testing.assert_allclose((volume.affine_lps @ [*index, 1])[:3], expected, atol=1e-4)


def test_gantry_tilt_lies_in_the_third_column(tmp_path: Path) -> None:
    tilt = np.radians(20)
    orientation = [1, 0, 0, 0, round(np.cos(tilt), 9), round(-np.sin(tilt), 9)]
    files = [
        write(
            ct_slice(plane, k, ImagePositionPatient=[0, 0, 2 * k], ImageOrientationPatient=orientation),
            tmp_path / f"{k}",
        )
        for k, plane in enumerate(RAMP)
    ]
    affine = read_series(files).volume.affine_lps
    np.testing.assert_allclose(affine[:3, 2], [0, 0, 2], atol=1e-9)
    np.testing.assert_allclose(affine[:3, 1], 0.5 * np.array([0, np.cos(tilt), -np.sin(tilt)]), atol=1e-6)


def test_missing_slices_are_interpolated_and_noted(tmp_path: Path) -> None:
    files = write_slices(tmp_path, np.stack([np.full((4, 6), 10 * k, np.int16) for k in range(20)]))
    series = read_series(files[:8] + files[12:])
    assert series.volume.hu[:, 0, 0].tolist() == list(range(0, 200, 10))
    np.testing.assert_allclose(series.volume.affine_lps[:3, 2], [0, 0, 1])
    assert series.notes == (
        "gap of 5.0 mm between slices 8 and 9, spacing elsewhere 1.00 mm",
        "uneven spacing: 16 slices put on a regular grid of 20 planes, 4 of them interpolated",
    )
    nearest = [int(source.file.stem) for source in series.slices]
    assert nearest == [*range(8), 7, 7, 12, 12, *range(12, 20)]


def test_uneven_slices_are_resampled_to_where_the_affine_puts_them(tmp_path: Path) -> None:
    z_mm = np.array([0.0, 1, 2, 2.5, 3.7, 5, 6, 7])
    files = [
        write(ct_slice(np.full((4, 6), round(100 * z), np.int16), k, ImagePositionPatient=[0, 0, z]), tmp_path / f"{k}")
        for k, z in enumerate(z_mm)
    ]
    series = read_series(files)
    volume = series.volume
    for k, value in enumerate(volume.hu[:, 0, 0]):
        # A slice within 0.2 mm of a plane is taken for that plane.
        assert volume.to_lps_mm(np.array([k, 0.0, 0.0]))[2] == pytest.approx(value / 100, abs=0.2)
    assert series.notes[-1].startswith("uneven spacing: 8 slices put on a regular grid of 8 planes")


def test_an_identical_duplicate_is_dropped_with_a_note(tmp_path: Path) -> None:
    files = write_slices(tmp_path, RAMP)
    copy = write(ct_slice(RAMP[2], 2, SOPInstanceUID="1.2.3.4", InstanceNumber=0), tmp_path / "copy.dcm")
    series = read_series([copy, *files])
    np.testing.assert_array_equal(series.volume.hu, RAMP)
    assert series.notes == ("1 duplicate slices with identical pixels dropped",)
    assert series.slices[2].file == files[2]


def test_of_two_acquisitions_at_the_same_places_the_later_one_is_read(tmp_path: Path) -> None:
    first = write_slices(tmp_path / "1", RAMP, AcquisitionNumber=1)
    second = []
    for k, plane in enumerate(RAMP):
        later = ct_slice(plane + np.int16(500), k, AcquisitionNumber=2, SOPInstanceUID=f"1.2.3.{k}")
        second.append(write(later, tmp_path / "2" / f"{k}"))
    calls: list[tuple[str, int, int]] = []
    series = read_series([*second, *first], progress=lambda *call: calls.append(call))
    np.testing.assert_array_equal(series.volume.hu, RAMP + 500)
    assert len(series.notes) == 1
    assert series.notes[0].startswith("5 slices dropped that share a position")
    assert calls == [("read", done, 10) for done in range(1, 11)]


def test_rescale_is_each_slices_own(tmp_path: Path) -> None:
    files = [
        write(ct_slice(plane, k, RescaleSlope=f"{1 + 0.5 * k}", RescaleIntercept=-10 * k), tmp_path / f"{k}")
        for k, plane in enumerate(RAMP)
    ]
    expected = np.rint(RAMP * (1 + 0.5 * np.arange(5))[:, None, None] - 10 * np.arange(5)[:, None, None])
    np.testing.assert_array_equal(read_series(files).volume.hu, expected)


def test_without_rescale_stored_values_are_taken_with_a_note(tmp_path: Path) -> None:
    files = write_slices(tmp_path, RAMP, RescaleSlope=None, RescaleIntercept=None)
    series = read_series(files)
    np.testing.assert_array_equal(series.volume.hu, RAMP)
    assert series.notes == ("5 slices without Rescale Slope or Intercept: 1 and 0 taken",)


def test_monochrome1_is_read_as_it_is_with_a_note(tmp_path: Path) -> None:
    series = read_series(write_slices(tmp_path, RAMP, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(series.volume.hu, RAMP)
    assert "MONOCHROME1" in series.notes[0]


def test_padding_in_the_corners_becomes_air(tmp_path: Path) -> None:
    stored = np.full((2, 8, 8), 1064, np.uint16)
    stored[:, 0, :3] = stored[:, -1, :] = 4000
    stored[:, 4, 4] = 63536
    plain = {"PixelRepresentation": 0, "RescaleIntercept": -1024}
    common = write_slices(tmp_path / "a", stored, PixelPaddingValue=4000, **plain)
    hu = read_series(common).volume.hu
    assert hu[0, 0].tolist() == [-1024] * 3 + [40] * 5
    assert (hu[:, -1] == -1024).all()

    outside = write_slices(tmp_path / "b", stored, PixelPaddingValue=63536, BitsStored=12, HighBit=11, **plain)
    hu = read_series(outside).volume.hu
    assert hu[0, 4, 4] == -1024
    assert hu[0, 0, 0] == 4000 - 1024


def test_a_padding_value_that_pads_nothing_leaves_the_patient_whole(tmp_path: Path) -> None:
    stored = np.full((2, 8, 8), -1000, np.int16)
    stored[:, 3:6, 3:6] = 0
    series = read_series(write_slices(tmp_path, stored, PixelPaddingValue=0))
    assert (series.volume.hu[:, 4, 4] == 0).all()
    assert series.notes == ("2 slices hold their Pixel Padding Value inside the image only: taken as measured",)


def test_enhanced_ct_is_read_by_its_functional_groups(tmp_path: Path) -> None:
    dataset = enhanced_ct(RAMP, [[1, 2, -2.0 * k] for k in range(5)])
    for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        groups.PixelValueTransformationSequence = [item(RescaleSlope=2, RescaleIntercept=k, RescaleType="HU")]
    file = write(dataset, tmp_path / "enhanced.dcm")
    series = read_series([file])
    expected = 2 * RAMP + np.arange(5)[:, None, None]
    np.testing.assert_array_equal(series.volume.hu, expected[::-1])
    assert [source.frame_number for source in series.slices] == [5, 4, 3, 2, 1]
    np.testing.assert_allclose(series.volume.affine_lps[:3], [[0.25, 0, 0, 1], [0, 0.5, 0, 2], [0, 0, 2, -8]])
    facts = series_facts([read_header(file)])
    assert (facts.instance_count, facts.image_count, facts.spacing_mm, facts.is_ct) == (1, 5, 2.0, True)


def test_of_several_stacks_and_time_points_the_largest_is_read(tmp_path: Path) -> None:
    dataset = enhanced_ct(RAMP, [[0, 0, float(z)] for z in (0, 1, 0, 1, 2)])
    for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        groups.FrameContentSequence[0].StackID = "A" if k < 2 else "B"
        groups.FrameContentSequence[0].TemporalPositionIndex = 1
    series = read_series([write(dataset, tmp_path / "enhanced.dcm")])
    np.testing.assert_array_equal(series.volume.hu, RAMP[2:])
    assert series.notes == ("2 stacks or time points in the series: stack B, time point 1 with 3 of 5 frames was read",)


def test_a_truncated_multiframe_is_an_error(tmp_path: Path) -> None:
    file = write(enhanced_ct(RAMP, [[0, 0, float(k)] for k in range(5)]), tmp_path / "enhanced.dcm")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(PixelDataUnreadable, match="truncated: 230 of 240 bytes"):
        read_series([file])


def test_a_header_as_poor_as_in_the_rsna_collection_is_enough(tmp_path: Path) -> None:
    poor = dict.fromkeys(("Modality", "SOPClassUID", "ImageType", "FrameOfReferenceUID", "HighBit"))
    files = write_slices(tmp_path, RAMP, **poor, WindowCenter=[350, 50], WindowWidth=[2000, 400])
    scan = scan_folder(tmp_path)
    assert [header.sop_class_uid for header in scan.instances] == ["1.2.840.10008.5.1.4.1.1.2"] * 5
    assert {header.modality for header in scan.instances} == {""}
    assert series_facts(scan.instances).is_ct
    series = read_series(files)
    np.testing.assert_array_equal(series.volume.hu, RAMP)
    assert series.slices[0].sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert series.volume.frame_of_reference_uid == ""


def test_mixed_series_are_refused(tmp_path: Path) -> None:
    files = write_slices(tmp_path, RAMP)
    other = write(ct_slice(RAMP[0], 9, SeriesInstanceUID="1.9"), tmp_path / "other.dcm")
    with pytest.raises(GeometryUnsupported, match="2 series given"):
        read_series([*files, other])


def test_colour_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PixelDataUnreadable, match="3 samples per pixel, expected 1"):
        read_series(write_slices(tmp_path, RAMP, SamplesPerPixel=3, PhotometricInterpretation="RGB"))


def test_a_folder_is_scanned_whatever_lies_in_it(tmp_path: Path) -> None:
    write_slices(tmp_path / "deep" / "er", RAMP[:2])
    write(ct_slice(RAMP[0], 7, StudyInstanceUID="1.7", SeriesInstanceUID="1.8"), tmp_path / "deep" / "no_extension")
    bare = ct_slice(RAMP[0], 8)
    bare.save_as(tmp_path / "bare.dcm", implicit_vr=True, little_endian=True)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "deep/er/000.dcm").read_bytes()[:200])
    shutil.copy(str(get_testdata_file("DICOMDIR")), tmp_path)

    scan = scan_folder(tmp_path)

    assert [header.file.name for header in scan.instances] == ["bare.dcm", "no_extension", "000.dcm", "001.dcm"]
    assert scan.instances[0].transfer_syntax_uid == ImplicitVRLittleEndian
    assert {series: len(members) for series, members in scan.by_series().items()} == {
        "1.2.826.0.1.3680043.10.1338.9.2": 3,
        "1.8": 1,
    }
    reasons = {file.name: why for file, why in scan.unreadable}
    assert reasons["notes.txt"] == reasons["empty"] == "not a DICOM file"
    assert reasons["DICOMDIR"] == "a DICOMDIR, not an instance"
    assert "cut.dcm" in reasons
    assert len(reasons) == 4


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInstance, match="no such file or folder"):
        scan_folder(tmp_path / "nowhere")


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    files = []
    for k, plane in enumerate(RAMP):
        file = tmp_path / f"{k}"
        ct_slice(plane, k).save_as(file, implicit_vr=bool(k % 2), little_endian=True)
        files.append(file)
    np.testing.assert_array_equal(read_series(files).volume.hu, RAMP)


def test_reading_holds_one_copy_of_the_series(tmp_path: Path) -> None:
    files = write_slices(tmp_path, np.zeros((40, 128, 128), np.int16))
    tracemalloc.start()
    hu = read_series(files, threads=2).volume.hu
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * hu.nbytes + 2_000_000


@pytest.mark.skipif(not REAL_CT.is_dir(), reason="the shared CT series is not in this checkout")
def test_a_real_series_agrees_with_simpleitk() -> None:
    volume = read_series(scan_folder(REAL_CT).instances).volume
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(REAL_CT)))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.hu)
    for index in [(0, 0, 0), (255, 10, 93)]:
        expected = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine_lps @ [*index, 1])[:3], expected, atol=1e-6)
