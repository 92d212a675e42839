"""Suspected regions: on the right voxels, in bands that a reader can use, never outside their level."""

from pathlib import Path

import numpy as np
import pytest

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import Finding, LevelStatus, ResultKind
from dicom_node.results.identity import identify
from dicom_node.results.provenance import Equipment
from dicom_node.results.seg import Mask
from dicom_node.results.sources import read_sources
from dicom_node.results.suspicion import BANDS, SuspicionMap, read_maps, suspected_regions
from dicom_node.results.suspicion_seg import build_suspicion
from tests.builders.ct import affine_lps, make_ct_series
from tests.builders.results import BUNDLE, source_slices
from tests.unit.results.test_identity import RESULT

SHAPE = (12, 30, 30)
SPACING = (2.0, 0.5, 0.5)


def mask_of(tilt: float = 0.0) -> Mask:
    """C2 over C3, touching; C2 fills z 6-9."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[6:10, 8:22, 8:22] = 2
    labels[2:6, 8:22, 8:22] = 3
    return Mask(labels=labels, affine_lps=affine_lps(*SHAPE, SPACING, tilt))


def finding(level: str, key: tuple[int, int, int] | None, *, probability: float = 0.9) -> Finding:
    return Finding(level=level, status=LevelStatus.ASSESSED, threshold=0.5, probability=probability, key_index_zyx=key)


def blob(mask: Mask, centre_zyx: tuple[int, int, int], *, peak: float = 0.8, radius_mm: float = 3.0) -> SuspicionMap:
    """A cone on a 1 mm grid along the patient's axes, whose peak lies at that voxel of the mask's grid."""
    z, y, x = centre_zyx
    point = (mask.affine_lps @ (x, y, z, 1))[:3]
    affine = np.eye(4)
    affine[:3, 3] = point - 10
    steps = np.stack(np.meshgrid(*(np.arange(21) - 10.0,) * 3, indexing="ij"))
    values = peak * np.clip(1 - np.linalg.norm(steps, axis=0) / (2 * radius_mm), 0, 1)
    return SuspicionMap(values=values.astype(np.float32), affine_lps=affine)


def voxels(regions, level: str, band: str) -> set[tuple[int, int, int]]:
    numbers = [k for k, (own, has) in enumerate(regions.parts, 1) if (own, has.name) == (level, band)]
    return {
        tuple(int(v) for v in place)
        for number in numbers
        for place in np.argwhere(regions.labels.values == number) + regions.labels.start_zyx
    }


@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_bands_lie_around_the_peak_in_order(tilt):
    mask = mask_of(tilt)
    regions = suspected_regions({"C2": blob(mask, (8, 15, 14))}, [finding("C2", (8, 15, 14))], mask)
    assert [(level, band.name) for level, band in regions.parts] == [("C2", band.name) for band in BANDS]
    to_mm = mask.affine_lps[:3, :3]
    for band in BANDS:
        apart = [np.linalg.norm(to_mm @ (x - 14, y - 15, z - 8)) for z, y, x in voxels(regions, "C2", band.name)]
        # The cone falls to 25 % at 4.5 mm, 50 % at 3 mm, 75 % at 1.5 mm.
        assert min(apart) >= 6 * (1 - band.to_share) - 0.5
        assert max(apart) <= 6 * (1 - band.from_share) + 0.5
        assert len(apart) > 5


def test_a_positive_level_has_its_key_voxel_in_the_highest_band_whatever_its_map_says():
    mask, key = mask_of(), (7, 9, 9)
    silent = SuspicionMap(values=np.zeros((3, 3, 3), np.float32), affine_lps=np.eye(4))
    far_off = SuspicionMap(values=np.ones((3, 3, 3), np.float32), affine_lps=np.eye(4))
    for maps in ({}, {"C2": silent}, {"C2": far_off}, {"C2": blob(mask, (9, 20, 20))}):
        regions = suspected_regions(maps, [finding("C2", key)], mask)
        assert key in voxels(regions, "C2", "high")


def test_a_faint_map_has_the_same_bands_as_a_strong_one():
    mask = mask_of()
    strong, faint = (
        suspected_regions({"C2": blob(mask, (8, 15, 15), peak=peak)}, [finding("C2", (8, 15, 15))], mask)
        for peak in (0.9, 0.02)
    )
    np.testing.assert_array_equal(strong.labels.values > 0, faint.labels.values > 0)


def test_the_bone_of_a_neighbour_is_never_suspected_for_another_level():
    mask = mask_of()
    regions = suspected_regions({"C2": blob(mask, (6, 15, 15))}, [finding("C2", (6, 15, 15))], mask)
    z, y, x = np.array([place for band in BANDS for place in voxels(regions, "C2", band.name)]).T
    assert not (mask.labels[z, y, x] == 3).any()
    assert (mask.labels[z, y, x] == 2).any()


def test_two_levels_share_no_voxel_and_each_keeps_its_key():
    mask = mask_of()
    maps = {"C2": blob(mask, (6, 15, 15), radius_mm=5), "C3": blob(mask, (5, 15, 15), radius_mm=5)}
    regions = suspected_regions(maps, [finding("C2", (6, 15, 15)), finding("C3", (5, 15, 15))], mask)
    assert (6, 15, 15) in voxels(regions, "C2", "high")
    assert (5, 15, 15) in voxels(regions, "C3", "high")
    assert [level for level, _ in regions.parts] == ["C2"] * 3 + ["C3"] * 3


def test_negative_levels_are_not_shown():
    mask = mask_of()
    quiet = finding("C2", (8, 15, 15), probability=0.1)
    assert suspected_regions({"C2": blob(mask, (8, 15, 15))}, [quiet], mask) is None


def test_a_positive_level_without_place_and_map_has_no_region():
    assert suspected_regions({}, [finding("C2", None)], mask_of()) is None


def test_a_region_at_the_edge_of_the_volume_is_cut_there():
    mask = mask_of()
    regions = suspected_regions({"C2": blob(mask, (11, 0, 0))}, [finding("C2", (11, 0, 0))], mask)
    assert (11, 0, 0) in voxels(regions, "C2", "high")


def test_segments_name_level_and_band_and_are_tracked_like_the_level(tmp_path: Path):
    mask = mask_of()
    regions = suspected_regions({"C2": blob(mask, (8, 15, 14))}, [finding("C2", (8, 15, 14))], mask)
    files = make_ct_series(tmp_path, n=SHAPE[0], rows=SHAPE[1], columns=SHAPE[2], spacing=SPACING)
    sources = read_sources(source_slices(files), study_instance_uid="1.2.3")
    identity = identify(ResultKind.SUSPICION_SEG, RESULT, revision=1)
    equipment = Equipment(manufacturer="m", software_version="1", device_serial="1")
    made = build_suspicion(regions, sources, BUNDLE, equipment, identity)
    assert [item.SegmentLabel for item in made.SegmentSequence] == [f"C2 suspicion {band.name}" for band in BANDS]
    for item in made.SegmentSequence:
        assert item.TrackingUID == identity.tracking["C2"]
        assert item.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "72704001"
        assert item.AnatomicRegionSequence[0].CodeValue == "39976000"
        assert "not the outline" in item.SegmentDescription
    numbers = [
        g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in made.PerFrameFunctionalGroupsSequence
    ]
    assert sorted(set(numbers)) == [1, 2, 3]


def test_maps_come_back_as_the_analysis_wrote_them(tmp_path: Path):
    values = np.random.default_rng(0).random((2, 3, 4), np.float32)
    np.savez(tmp_path / "s.npz", C5_values=values, C5_affine=np.eye(4))
    found = read_maps(tmp_path / "s.npz")
    assert list(found) == ["C5"]
    np.testing.assert_array_equal(found["C5"].values, values)


@pytest.mark.parametrize(
    "arrays",
    [
        {"C2_values": np.zeros((2, 2), np.float32), "C2_affine": np.eye(4)},
        {"C2_values": np.zeros((2, 2, 2), np.float32), "C2_affine": np.eye(3)},
        {"C2_values": np.full((2, 2, 2), np.nan, np.float32), "C2_affine": np.eye(4)},
        {"C2_values": np.zeros((2, 2, 2), np.float32)},
    ],
)
def test_maps_that_are_not_as_agreed_are_refused(tmp_path: Path, arrays):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(EncodingInvalid, match=r"s\.npz"):
        read_maps(tmp_path / "s.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path):
    (tmp_path / "s.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(EncodingInvalid, match=r"s\.npz"):
        read_maps(tmp_path / "s.npz")
