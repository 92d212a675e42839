"""A tiny data set in the public layout, through the reader, the cache, the tables and the pictures."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import ndimage

from dicom_node.demo.rsna_dataset import write_rsna_dataset
from inference.dataset import cache as cache_module
from inference.dataset.cache import CacheOptions, DicomJob, PhantomJob, Preparer, fill
from inference.dataset.crop import MARGIN_MM_XYZ
from inference.dataset.dicom_source import prepare_dicom
from inference.dataset.errors import DataSetError, StudyUnusable
from inference.dataset.export_images import Exporter, ExportOptions, export, export_cases
from inference.dataset.metadata import write_metadata
from inference.dataset.phantom_source import index_region, part_of, phantom_spec, phantom_uid, prepare_phantom
from inference.dataset.placing import carried
from inference.dataset.prepared import PreparedFolder, load_prepared, real_hu, study_path
from inference.dataset.rsna import open_rsna
from inference.dataset.rsna_study import load_study
from inference.dataset.slice_predictors import PredictorChoice
from inference.dataset.slices import study_slices
from inference.dataset.splits import PhantomRecipe
from inference.evaluation.localiser_run import bundle_localiser
from inference.postprocess import Column
from inference.preprocess import grid_covering
from inference.spine import Spine
from inference.synthetic import build_anatomy, default_grid, make_phantom
from inference.training.phantoms import coarser_grid
from tests.builders.commands import cspine_node
from tests.builders.rsna_copies import linked_copy, overwrite

SPACING = (1.6, 1.5, 1.5)
COARSE = (3.0, 3.0, 3.0)
TINY = PhantomRecipe(slices=24, matrix=64)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("rsna")
    write_rsna_dataset(root, first_seed=1, studies=3, slices=28, matrix=96, segmented_share=1.0, workers=1)
    return root


@pytest.fixture
def copy(data, tmp_path):
    return linked_copy(data, tmp_path / "copy")


def records(root):
    """The generator's record of each study by UID."""
    found = (json.loads(path.read_text()) for path in (root / "phantom").glob("[0-9]*.json"))
    return {record["train"][0]: record for record in found}


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def preparer(folder, **options):
    chosen = {"spacing_mm_zyx": SPACING, "least_voxel_mm_zyx": COARSE} | options
    return Preparer(folder=folder, options=CacheOptions(**chosen), bundle=None, threads=1)


def jobs(root):
    return [DicomJob(study=study) for study in open_rsna(root).studies]


class Finds:
    """A localiser that calls a block in the middle of every volume C4."""

    def __init__(self, found=True):
        self.found = found

    def locate(self, volume, progress=None):
        if not self.found:
            return None
        mask = np.zeros(volume.hu.shape, np.uint8)
        z, y, x = (n // 2 for n in mask.shape)
        mask[z - 3 : z + 3, y - 9 : y + 9, x - 9 : x + 9] = 4
        grid = grid_covering(volume, 2.0)
        labels = carried(mask, volume.affine_lps, grid.affine_lps(), grid.shape_zyx)
        column = Column(grid=grid, labels=labels, evidence={4: 0.9})
        return Spine(mask=mask, column=column, levels=(), notes=("seen",))


def test_a_study_is_read_with_its_boxes_on_their_slices_and_its_mask_on_the_bone(data):
    for study in open_rsna(data).studies:
        loaded = load_study(study, threads=1)
        assert loaded.patient.isdigit()
        assert loaded.volume.hu.shape == (28, 96, 96)
        mask = loaded.segmentation
        labels = carried(mask.labels, mask.affine_lps, loaded.volume.affine_lps, (28, 96, 96))
        bone = labels > 0
        assert np.median(loaded.volume.hu[bone]) > 200 > np.median(loaded.volume.hu[bone[:, ::-1]])
        assert len(loaded.boxes) == len(study.boxes)
        for plane, box in loaded.boxes:
            assert loaded.files[plane].stem == str(box.slice_number)


def test_a_prepared_study_has_levels_on_bone_and_boxes_about_the_fracture(data):
    known = records(data)
    for study in open_rsna(data).studies:
        prepared = prepare_dicom(study, spacing_mm_zyx=SPACING, threads=1)
        bone = (prepared.levels > 0) & (prepared.levels < 8)
        assert prepared.levels_from == "truth"
        assert np.median(real_hu(prepared.hu)[bone]) > 150
        assert prepared.truth == study.truth
        truth = known[study.study_instance_uid]["truth"]
        broken = [level["fracture_box"]["lps_mm"] for level in truth["levels"] if level["fracture_box"]]
        assert bool(prepared.boxes) == bool(broken)
        middles = [prepared.grid.to_index_zyx(np.mean(box, axis=0)) for box in broken]
        for box in prepared.boxes:
            assert any(box.y_low <= y <= box.y_high and box.x_low <= x <= box.x_high for _, y, x in middles)


def test_the_crop_ends_at_the_margin_around_the_vertebrae_or_at_the_scan(data):
    study = open_rsna(data).studies[0]
    prepared = prepare_dicom(study, spacing_mm_zyx=SPACING, threads=1)
    spot = np.argwhere((prepared.levels > 0) & (prepared.levels < 8))
    room_mm = spot.min(axis=0) * SPACING
    assert np.all(room_mm <= np.array(MARGIN_MM_XYZ[::-1]) + 2 * np.array(SPACING))
    assert room_mm[2] >= MARGIN_MM_XYZ[0] - 2 * SPACING[2]


def test_levels_that_the_truth_names_and_the_localiser_draws_do_not_show_the_fracture():
    """A true mask has a gap where the bone is broken; what is drawn from the scan and the name has not."""
    recipe = PhantomRecipe(fractures="enriched")
    seed = next(s for s in range(100) if any(f.kind == "burst" for f in phantom_spec(s, recipe).fractures))
    localiser = bundle_localiser("default", threads=2)
    drawn = prepare_phantom(
        seed, recipe, draws=localiser, spacing_mm_zyx=(1.0, 1.0, 1.0), least_voxel_mm_zyx=(1.0,) * 3
    )
    assert drawn.levels_from == "drawn"
    whole = [k for k in range(2, 7) if (drawn.true_levels == k).sum() > 5000]
    assert len(whole) >= 4
    for level in whole:
        ours, true = drawn.levels == level, drawn.true_levels == level
        assert 2 * (ours & true).sum() / (ours.sum() + true.sum()) > 0.75
    burst = next(f for f in phantom_spec(seed, recipe).fractures if f.kind == "burst")
    zone = drawn.fracture == int(burst.level[1])
    inside = zone & ndimage.binary_closing(drawn.true_levels == int(burst.level[1]), iterations=3)
    gaps = inside & (drawn.true_levels == 0)
    assert gaps.sum() > 100
    assert (drawn.levels[gaps] > 0).mean() > 0.6


def test_what_was_drawn_and_what_was_localised_do_not_share_a_folder(tmp_path):
    job = [PhantomJob(seed=1, recipe=TINY)]
    fill(job, preparer(tmp_path, drawn_by=None))
    with pytest.raises(DataSetError, match="drawn_by"):
        fill(job, preparer(tmp_path, drawn_by="0" * 64))
    refused = cspine_node("prepare", "--phantoms", "1", "--draw", "--localise", "--out", str(tmp_path / "other"))
    assert refused.status == 2
    assert "--draw" in refused.err


def test_a_localisers_levels_replace_the_truth_which_stays_beside(data):
    study = open_rsna(data).studies[0]
    prepared = prepare_dicom(study, Finds(), spacing_mm_zyx=SPACING, threads=1)
    assert prepared.levels_from == "localiser"
    assert set(np.unique(prepared.levels)) == {0, 4}
    assert (prepared.true_levels > 0).any()
    assert prepared.facts["localiser_notes"] == ["seen"]
    lost = prepare_dicom(study, Finds(found=False), spacing_mm_zyx=SPACING, threads=1)
    assert lost.levels is None
    assert lost.levels_from is None
    assert (lost.true_levels > 0).any()


def test_without_any_levels_the_crop_is_around_the_bone(copy):
    study = open_rsna(copy).studies[0]
    study.segmentation.unlink()
    prepared = prepare_dicom(open_rsna(copy).studies[0], spacing_mm_zyx=SPACING, threads=1)
    assert prepared.facts["crop"] == "bone"
    assert prepared.levels is None
    assert (real_hu(prepared.hu) > 300).mean() > 0.005


def test_a_cache_holds_every_study_its_tables_and_the_size_beside_the_source(data, tmp_path):
    report = fill(jobs(data), preparer(tmp_path / "cache"))
    folder = PreparedFolder(tmp_path / "cache")
    truth = {study.study_instance_uid: study.truth for study in open_rsna(data).studies}
    assert folder.truth == dict(sorted(truth.items()))
    assert set(folder.folds) == set(truth)
    assert {r["StudyInstanceUID"]: int(r["C4"]) for r in table(folder.folder / "truth.csv")} == {
        uid: row[4] for uid, row in truth.items()
    }
    facts = json.loads((folder.folder / "facts.json").read_text())
    assert {uid: of_study["patient"] for uid, of_study in facts.items()} == folder.patients
    sources = sum(path.stat().st_size for path in (data / "train_images").rglob("*.dcm"))
    assert (report.studies, report.made, report.failed, report.source_bytes) == (3, 3, 0, sources)
    assert "MB from" in str(report)
    assert "% of it" in str(report)


def test_a_stopped_pass_goes_on_and_a_damaged_file_is_made_again(data, tmp_path):
    folder, work = tmp_path / "cache", jobs(data)

    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(work, preparer(folder), on_row=stop)
    assert len(list(folder.glob("*.study"))) == 1
    assert fill(work, preparer(folder)).made == 2
    before = load_prepared(study_path(folder, work[0].key))
    study_path(folder, work[0].key).write_bytes(b"cut short")
    assert fill(work, preparer(folder)).made == 1
    assert np.array_equal(load_prepared(study_path(folder, work[0].key)).hu, before.hu)
    assert fill(work, preparer(folder)).made == 0


def test_what_fails_is_listed_with_the_reason_and_the_others_go_on(copy, tmp_path):
    first, second, _ = open_rsna(copy).studies
    for path in first.folder.glob("*.dcm"):
        overwrite(path, b"no DICOM")
    overwrite(second.segmentation, b"no NIfTI")
    report = fill(jobs(copy), preparer(tmp_path / "cache"))
    assert (report.studies, report.failed) == (1, 2)
    said = {row["StudyInstanceUID"]: row["reason"] for row in table(tmp_path / "cache" / "failed.csv")}
    assert "no readable DICOM file" in said[first.study_instance_uid]
    assert "segmentation cannot be used" in said[second.study_instance_uid]


def test_even_what_nobody_foresaw_is_listed(data, tmp_path, monkeypatch):
    def surprise(*arguments, **options):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(cache_module, "prepare_dicom", surprise)
    report = fill(jobs(data)[:1], preparer(tmp_path / "cache"))
    assert (report.studies, report.failed) == (0, 1)
    assert "unexpected ZeroDivisionError: of all things" in (tmp_path / "cache" / "failed.csv").read_text()


def test_a_cache_made_with_other_options_is_refused(data, tmp_path):
    fill(jobs(data)[:1], preparer(tmp_path / "cache"))
    with pytest.raises(DataSetError, match=r"spacing_mm_zyx \[1.6, 1.5, 1.5\], now \[1.6, 1.5, 2.0\]"):
        fill(jobs(data), preparer(tmp_path / "cache", spacing_mm_zyx=(1.6, 1.5, 2.0)))


def test_a_phantom_is_the_same_each_time_and_agrees_with_the_whole_study(tmp_path):
    recipe = PhantomRecipe(slices=24, matrix=64, fractures="enriched")
    first, again = (prepare_phantom(7, recipe, spacing_mm_zyx=SPACING, least_voxel_mm_zyx=COARSE) for _ in range(2))
    assert first.head == again.head
    assert np.array_equal(first.hu, again.hu)
    spec = phantom_spec(7, recipe)
    grid = coarser_grid(default_grid(spec, build_anatomy(spec)), COARSE)
    whole = make_phantom(spec, grid=grid)
    assert first.truth[1:] == tuple(int(level["fractured"]) for level in whole.truth["levels"])
    here = carried(np.minimum(whole.labels, 8), grid.affine_lps, first.grid.affine_lps(), first.grid.shape_zyx)
    assert (here == first.levels).mean() > 0.999
    assert set(first.facts["fractures"]) == {f"C{k}" for k in range(1, 8) if first.truth[k]}
    assert {int(v) for v in np.unique(first.fracture)} - {0} <= {k for k in range(1, 8) if first.truth[k]}
    assert {box.z for box in first.boxes} == set(np.flatnonzero(first.fracture.any(axis=(1, 2))).tolist())


def test_a_phantoms_levels_may_be_a_localisers_on_the_whole_scan():
    seen = prepare_phantom(7, TINY, Finds(), spacing_mm_zyx=SPACING, least_voxel_mm_zyx=COARSE)
    assert seen.levels_from == "localiser"
    assert set(np.unique(seen.levels)) == {0, 4}
    assert (seen.true_levels > 0).any()
    unseen = prepare_phantom(7, TINY, Finds(found=False), spacing_mm_zyx=SPACING, least_voxel_mm_zyx=COARSE)
    assert unseen.levels is None
    assert (unseen.true_levels > 0).any()


def test_phantoms_fill_a_cache_in_several_processes(tmp_path):
    work = [PhantomJob(seed=seed, recipe=TINY) for seed in (11, 12)]
    report = fill(work, preparer(tmp_path / "cache"), workers=2)
    assert (report.studies, report.failed) == (2, 0)
    assert report.source_bytes == 2 * 24 * 64 * 64 * 2
    assert PreparedFolder(tmp_path / "cache").patients == {job.key: f"phantom-{job.seed}" for job in work}


def test_a_scan_without_a_cervical_vertebra_is_refused_with_the_reason():
    with pytest.raises(StudyUnusable, match="no cervical vertebra"):
        prepare_phantom(5, PhantomRecipe(coverage="abdomen", matrix=64), least_voxel_mm_zyx=(8.0, 8.0, 8.0))


def test_another_seed_or_recipe_is_another_study():
    uids = {phantom_uid(1, TINY), phantom_uid(2, TINY), phantom_uid(1, PhantomRecipe())}
    assert len(uids) == 3
    assert all(len(uid) <= 64 and not set(uid) - set("0123456789.") for uid in uids)


def test_a_part_of_a_grid_keeps_its_voxels_where_they_were():
    spec = phantom_spec(1, TINY)
    grid = default_grid(spec, build_anatomy(spec))
    region = index_region(grid, grid.affine_lps[:3] @ (10, 20, 5, 1), grid.affine_lps[:3] @ (30, 28, 9, 1))
    part = part_of(grid, region)
    assert [(s.start, s.stop) for s in region] == [(5, 10), (20, 29), (10, 31)]
    assert part.affine_lps[:3] @ (1, 2, 3, 1) == pytest.approx(grid.affine_lps[:3] @ (11, 22, 8, 1))


@pytest.fixture(scope="module")
def tables(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("tables")
    counts = write_metadata(open_rsna(data).studies, out, PredictorChoice())
    return out, counts


def test_every_file_has_a_raw_row_and_every_place_a_clean_one(data, tables):
    out, counts = tables
    assert counts == {
        "meta_train": 84,
        "meta_train_clean": 84,
        "meta_segmentation": 84,
        "meta_train_with_vertebrae": 0,
    }
    by_study = {}
    for row in table(out / "meta_train_clean.csv"):
        by_study.setdefault(row["StudyInstanceUID"], []).append(row)
    for rows in by_study.values():
        heights = [float(row["ImagePositionPatient_z"]) for row in rows]
        assert heights == sorted(heights)
        assert [int(row["Position"]) for row in rows] == list(range(28))
        rising = int(rows[0]["Slice"]) < int(rows[-1]["Slice"])
        assert {int(row["Direction"]) for row in rows} == {1 if rising else -1}
        assert np.diff(heights) == pytest.approx([float(row["SliceSpacing"]) for row in rows[:-1]], abs=1e-3)
    assert {int(rows[0]["Direction"]) for rows in by_study.values()} == {1, -1}


def test_the_masks_levels_are_those_of_the_generators_slices(data, tables):
    known = records(data)
    agree = []
    for row in table(tables[0] / "meta_segmentation.csv"):
        record = known[row["StudyInstanceUID"]]
        place = record["slice_numbers"].index(int(row["Slice"]))
        levels = record["truth"]["slice_table"][place]["levels"]
        agree.append([f"C{k}" for k in range(1, 8) if row[f"C{k}"] == "1"] == levels)
    assert all(agree)


def test_parquet_says_what_csv_says(tables):
    for name in ("meta_train", "meta_segmentation"):
        rows = pq.read_table(tables[0] / f"{name}.parquet").to_pylist()
        texts = table(tables[0] / f"{name}.csv")
        assert [{key: str(value) for key, value in row.items()} for row in rows] == texts


@pytest.mark.parametrize("number", [0, 1, 2])
def test_duplicates_and_damaged_slices_are_in_the_raw_table_only(copy, number):
    """Each of the three studies has another transfer syntax."""
    study = open_rsna(copy).studies[number]
    overwrite(study.folder / "3.dcm", b"no DICOM")
    whole = (study.folder / "5.dcm").read_bytes()
    overwrite(study.folder / "5.dcm", whole[: len(whole) - 200])
    (study.folder / "29.dcm").write_bytes((study.folder / "9.dcm").read_bytes())
    slices = study_slices(study.folder)
    assert len(slices.files) == 29
    numbers = {placed.number for placed in slices.placed}
    assert len(slices.placed) == 26
    assert not {3, 5} & numbers
    assert len({9, 29} & numbers) == 1
    told = " / ".join(slices.notes)
    assert "3.dcm:" in told
    assert "5.dcm:" in told
    assert "missing" in told
    assert "1 duplicate" in told


@pytest.mark.parametrize("key", ["Slice", "z_mm"])
def test_a_slice_models_table_gives_the_predicted_levels(data, tmp_path, key):
    study = open_rsna(data).studies[0]
    placed = study_slices(study.folder).placed
    rows = [
        (study.study_instance_uid, slice_.number if key == "Slice" else slice_.affine_lps[2, 3], *[0.1] * 6, share)
        for slice_, share in zip(placed, np.linspace(0, 1, len(placed)), strict=True)
    ]
    path = tmp_path / "p.csv"
    lines = [f"StudyInstanceUID,{key},C1,C2,C3,C4,C5,C6,C7", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    counts = write_metadata([study], tmp_path / "out", PredictorChoice(table=path))
    assert counts["meta_train_with_vertebrae"] == 28
    shown = table(tmp_path / "out" / "meta_train_with_vertebrae.csv")
    assert [float(row["C7"]) for row in shown] == pytest.approx(np.linspace(0, 1, 28), abs=1e-4)


def test_tables_of_a_stopped_pass_are_not_mixed_with_those_of_another_predictor(data, tmp_path):
    studies = open_rsna(data).studies

    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_metadata(studies, tmp_path, PredictorChoice(), on_row=stop)
    path = tmp_path / "p.csv"
    path.write_text("StudyInstanceUID,Slice,C1,C2,C3,C4,C5,C6,C7\n")
    with pytest.raises(DataSetError, match="another predictor"):
        write_metadata(studies, tmp_path, PredictorChoice(table=path))
    assert write_metadata(studies, tmp_path, PredictorChoice())["meta_train"] == 84
    assert not list(tmp_path.glob(".*"))


def test_a_data_set_becomes_folders_of_pictures_with_boxes_and_levels(data, tmp_path):
    options = ExportOptions(windows=("bone", "brain"), colours=("grey", "inferno"), boxes=True, labels="segmentation")
    cases, problems = export_cases(data)
    assert problems == []
    broken = [case for case in cases if case.what.boxes][:1]
    assert export(broken, Exporter(out=tmp_path, options=options)) == (4 * 28, 0)
    folder = tmp_path / broken[0].key
    assert {path.name for path in folder.iterdir()} == {"bone-grey", "bone-inferno", "brain-grey", "brain-inferno"}
    box = broken[0].what.boxes[0]
    with Image.open(folder / "bone-grey" / f"{box.slice_number}.png") as image:
        assert image.size == (96, 96)
        assert image.getpixel((round(box.x), round(box.y + box.height / 2))) == (255, 64, 64)
    assert export(broken, Exporter(out=tmp_path, options=options)) == (0, 0)


def test_any_folder_of_dicom_becomes_pictures_and_its_other_files_are_told(data, tmp_path):
    folder = tmp_path / "scan"
    linked_copy(open_rsna(data).studies[0].folder, folder)
    (folder / "notes.txt").write_text("no DICOM")
    cases, problems = export_cases(folder)
    assert problems == ["1 files are no DICOM: left out"]
    options = ExportOptions(windows=("soft-tissue",), format="jpeg", every=10, size=48)
    assert export(cases, Exporter(out=tmp_path / "out", options=options)) == (3, 0)
    (found,) = (tmp_path / "out").glob("*/soft-tissue-grey")
    with Image.open(min(found.iterdir())) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (48, 48), "L")


def test_a_series_that_cannot_be_read_is_told_and_a_folder_without_any_refused(data, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    source = open_rsna(data).studies[0].folder / "1.dcm"
    (folder / "1.dcm").write_bytes(source.read_bytes())
    rows = []
    cases, _ = export_cases(folder)
    assert export(cases, Exporter(out=tmp_path / "out", options=ExportOptions()), on_row=rows.append) == (0, 1)
    assert "1 slices at different positions" in rows[0]["reason"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataSetError, match="no DICOM image"):
        export_cases(tmp_path / "empty")


def test_the_commands_do_it_from_the_shell(data, tmp_path):
    cache, out = str(tmp_path / "cache"), str(tmp_path / "pictures")
    ran = cspine_node("prepare", str(data), "--out", cache, "--workers", "1", "--limit", "1")
    assert ran.status == 0
    assert ran.out.startswith("1 studies, 1 of them made now")
    ran = cspine_node("metadata", str(data), "--out", str(tmp_path / "m"), "--no-vertebrae", "--workers", "1")
    assert ran.status == 0
    assert "meta_train.csv, .parquet: 84 rows" in ran.out
    study = open_rsna(data).studies[0].folder
    ran = cspine_node("export-images", str(study), "--out", out, "--every", "14", "--workers", "1")
    assert ran.status == 0
    assert ran.out == f"{out}: 2 pictures of 1 series\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["prepare", "--out", "x"], "name a SOURCE folder, or phantoms"),
        (["prepare", "--out", "x", "--split", "tset"], "'tset' is not one of train, validation, test"),
        (["prepare", "--out", "x", "--split", "test", "--first-seed", "3"], "a split has its own seeds"),
        (["prepare", "--out", "x", "--first-seed", "3"], "say how many phantoms"),
        (["prepare", "--out", "x", "--phantoms", "1", "--protocol", "fast"], "protocol 'fast' is not one of"),
        (["prepare", ".", "--out", "x", "--part", "all"], "'all' is not train or test"),
        (["metadata", "/nowhere", "--out", "x"], "/nowhere has no folder train_images"),
        (["export-images", ".", "--out", "x", "--window", "liver"], "window 'liver' is not one of bone"),
    ],
)
def test_a_wrong_wish_is_status_2_and_one_line(arguments, says):
    ran = cspine_node(*arguments)
    assert ran.status == 2
    assert ran.out == ""
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1
