"""A study through the node's analysis with TotalSegmentator as the localiser; its answers are the phantom's labels."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dicom_node.analysis.analyzer import ChildAnalyzer
from dicom_node.core.errors import LocaliserUnusable
from dicom_node.core.finding import AnalysisResult, Outcome
from dicom_node.demo.phantom_study import write_phantom_study
from dicom_node.ports import AnalysisRequest
from inference.errors import LocaliserTimeout
from inference.level_order import dens_mm
from inference.postprocess import Column
from inference.preprocess import PatientGrid, grid_covering
from inference.synthetic import Phantom, draw_spec, make_phantom
from inference.totalsegmentator import SPACING_MM, TotalSegmentatorLocaliser
from inference.totalsegmentator_process import TotalSegmentator, segment
from tests.builders.commands import cspine_node
from tests.builders.fake_totalsegmentator import install
from tests.unit.inference_models.builders import write_toy_bundle

NAMES = {51 - k: f"vertebrae_C{k}" for k in range(1, 8)}
WEIGHTS = (291, 292, 293, 294, 295, 298)
TOTAL = TotalSegmentator(task="total", timeout_s=60.0)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    scanner = {"spacing_mm": 1.7, "slice_mm": 1.7, "tilt_deg": 0.0}
    spec = draw_spec(
        77, fractures=(), decoys=(), coverage="cspine", cut_top=0.6, cut_bottom=0.6, matrix=128, scanner=scanner
    )
    return make_phantom(spec)


@pytest.fixture(scope="module")
def labels_file(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The truth on the grid TotalSegmentator is given, in the codes of its task `total`."""
    grid = grid_covering(phantom.volume, SPACING_MM)
    index = np.round(phantom.volume.to_index_zyx(grid.to_lps_mm(np.argwhere(np.ones(grid.shape_zyx))))).astype(int)
    index = np.clip(index, 0, np.array(phantom.labels.shape) - 1)
    labels = phantom.labels[tuple(index.T)].reshape(grid.shape_zyx)
    image = sitk.GetImageFromArray(np.where((labels > 0) & (labels < 8), 51 - labels, 0).astype(np.uint8))
    image.SetOrigin(grid.origin_lps_mm)
    image.SetSpacing(grid.spacing_mm_zyx[::-1])
    path = tmp_path_factory.mktemp("labels") / "labels.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels_file: Path):
    def put(**how) -> Path:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
        how.setdefault("weights", WEIGHTS)
        return install(tmp_path / "site", labels=labels_file, names=NAMES, task="total", **how)

    return put


@pytest.fixture(scope="module")
def files(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_phantom_study(phantom, tmp_path_factory.mktemp("study"), seed=77, localizer=False).files


def analysed(files: tuple[Path, ...], tmp_path: Path) -> AnalysisResult:
    work = tmp_path / "work"
    work.mkdir()
    analyzer = ChildAnalyzer(
        bundle=str(write_toy_bundle(tmp_path / "toy")), device="cpu", threads=1, timeout_s=120.0, localiser=TOTAL
    )
    request = AnalysisRequest(study_instance_uid="1.2.3", revision=1, files=files, work_dir=work)
    return analyzer.analyse(request, is_cancelled=lambda: False)


def test_a_neck_named_by_totalsegmentator_is_placed_and_drawn(phantom: Phantom, installed, tmp_path: Path) -> None:
    installed()
    spine = TotalSegmentatorLocaliser(TOTAL, tmp_path).locate(phantom.volume)
    assert spine is not None
    for level, truth in zip(spine.levels, phantom.truth["levels"], strict=True):
        assert level.status == "assessed"
        assert np.linalg.norm(np.subtract(level.centre_lps_mm, truth["centre_lps_mm"])) < 6.0, level.level
    cervical = np.where(phantom.labels < 8, phantom.labels, 0)
    both = (spine.mask == cervical) & (cervical > 0)
    assert 2 * both.sum() / ((spine.mask > 0).sum() + (cervical > 0).sum()) > 0.9
    assert spine.notes == ()


def test_only_the_true_c2_has_a_dens(phantom: Phantom) -> None:
    x, y, z = phantom.volume.affine_lps[:3, 3]
    grid = PatientGrid(
        origin_lps_mm=(float(x), float(y), float(z)),
        spacing_mm_zyx=phantom.volume.spacing_mm_zyx,
        shape_zyx=phantom.labels.shape,
    )
    reach = [
        dens_mm(Column(grid=grid, labels=np.where(phantom.labels == level, 2, 0).astype(np.uint8), evidence={}))
        for level in range(2, 8)
    ]
    assert reach[0] > 18.0
    assert max(reach[1:]) < 16.0


def test_a_study_s_result_says_who_named_its_levels(files: tuple[Path, ...], installed, tmp_path: Path) -> None:
    seen = installed()
    result = analysed(files, tmp_path)
    assert result.outcome is Outcome.ANALYSED
    assert [finding.status.value for finding in result.findings] == ["assessed"] * 7
    assert result.bundle.levels_named_by == "TotalSegmentator 2.18.0 total"
    assert "Levels named by TotalSegmentator 2.18.0 total." in result.quality
    assert json.loads(seen.with_suffix(".json").read_text())["device"] == "cpu"


def test_missing_weights_fail_a_job_for_good(files: tuple[Path, ...], installed, tmp_path: Path) -> None:
    installed(weights=())
    with pytest.raises(LocaliserUnusable, match="totalseg_download_weights -t total"):
        analysed(files, tmp_path)


def test_check_is_red_where_it_is_configured_and_not_there(tmp_path: Path, monkeypatch, installed) -> None:
    monkeypatch.setenv("CSPINE_NODE__NODE__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CSPINE_NODE__INFERENCE__LOCALISER", "totalsegmentator")
    monkeypatch.setenv("CSPINE_NODE__INFERENCE__TOTALSEGMENTATOR_TASK", "total")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    row = localiser_row(cspine_node("check", "--json").json)
    assert not row["ok"]
    assert "cannot import TotalSegmentator" in row["detail"]
    installed()
    row = localiser_row(cspine_node("check", "--json").json)
    assert row["ok"]
    assert row["detail"] == "TotalSegmentator 2.18.0, task total"


def localiser_row(answer: dict) -> dict:
    return next(row for row in answer["checks"] if row["name"] == "localiser")


def test_analyse_reports_the_study_as_failed_with_the_reason(
    files: tuple[Path, ...], installed, tmp_path: Path, monkeypatch
) -> None:
    installed(mode="crash")
    monkeypatch.setenv("CSPINE_NODE__INFERENCE__LOCALISER", "totalsegmentator")
    monkeypatch.setenv("CSPINE_NODE__INFERENCE__TOTALSEGMENTATOR_TASK", "total")
    monkeypatch.setenv("CSPINE_NODE__INFERENCE__BUNDLE", str(write_toy_bundle(tmp_path / "toy")))
    ran = cspine_node("analyse", files[0].parent, "--out", tmp_path / "out", "--device", "cpu", "--json")
    assert ran.status == 1
    assert ran.json[0]["outcome"] == "failed"
    assert "no kernel image is available" in ran.json[0]["reason"]


def test_a_hanging_one_is_ended_with_all_its_processes(tmp_path: Path, installed) -> None:
    seen = installed(mode="hang")
    with pytest.raises(LocaliserTimeout, match="longer than 3 s"):
        segment(TotalSegmentator(task="total", timeout_s=3.0), request_folder(tmp_path))
    pid = json.loads(seen.with_suffix(".json").read_text())["pid"]
    wait_for(lambda: not alive(pid) and group_of(pid) == [])


def test_it_ends_with_the_process_that_asked_and_takes_the_images_along(tmp_path: Path, installed) -> None:
    seen = installed(mode="hang")
    asking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from inference.totalsegmentator_process import *;"
            "segment(TotalSegmentator(task='total'), Path(sys.argv[1]))",
            str(request_folder(tmp_path)),
        ],
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{os.environ['PYTHONPATH']}"},
    )
    wait_for(seen.with_suffix(".started").exists)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    pid = json.loads(seen.with_suffix(".json").read_text())["pid"]
    wait_for(lambda: not alive(pid) and group_of(pid) == [])
    assert not (tmp_path / "request").exists()


def request_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "request"
    folder.mkdir()
    (folder / "ct.nii.gz").write_bytes(b"a patient's image")
    return folder


def group_of(leader: int) -> list[int]:
    """Living processes of the leader's group."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            members.append(int(stat.parent.name))
    return members


def wait_for(condition) -> None:
    ends_at = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen within ten seconds"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody reaped yet does not."""
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
