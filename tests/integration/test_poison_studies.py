"""Inputs that crash, hang or exhaust the analysis child, with real children: the attempt ends, the node does not."""

import sys
from pathlib import Path

import pytest

from dicom_node.analysis.analyzer import ChildAnalyzer
from dicom_node.core.errors import GpuOutOfMemory, WorkerLost, WorkerTimeout
from dicom_node.core.job import JobState
from dicom_node.core.worklist import WorklistState
from dicom_node.ports import AnalysisRequest
from tests.builders.misbehaving_child import (
    DOES,
    PATIENT,
    be_killed,
    crash,
    hang,
    hang_and_not_listen,
    lack_gpu_memory,
    lack_gpu_memory_as_torch_says_it,
    quote_the_patient,
    take_all_memory,
)
from tests.unit.app.node import Node

UID = {function: uid for uid, function in DOES.items()}


def analyzer(*, device: str = "cpu", timeout_s: float = 60.0, memory_limit_mb: int = 0) -> ChildAnalyzer:
    return ChildAnalyzer(
        bundle="default",
        device=device,
        threads=1,
        timeout_s=timeout_s,
        memory_limit_mb=memory_limit_mb,
        command=(sys.executable, "-m", "tests.builders.misbehaving_child"),
        terminate_wait_s=0.5,
    )


def request(folder: Path, function) -> AnalysisRequest:
    return AnalysisRequest(study_instance_uid=UID[function], revision=1, files=(), work_dir=folder)


def run(folder: Path, function, **limits):
    return analyzer(**limits).analyse(request(folder, function), is_cancelled=lambda: False)


def leaves_no_child(folder: Path) -> bool:
    return not any(
        str(folder) in (process / "cmdline").read_text(errors="replace")
        for process in Path("/proc").glob("[0-9]*")
        if (process / "cmdline").exists()
    )


def test_a_crash_in_native_code_tells_its_signal_its_stage_and_its_place(tmp_path):
    with pytest.raises(WorkerLost, match=r"SIGSEGV; its last stage was localise, begun after .* memory peaked at \d+"):
        run(tmp_path, crash)
    evidence = (tmp_path / "evidence.json").read_text()
    assert "fatal: Segmentation fault" in evidence
    assert "misbehaving_child.py" in evidence


def test_a_child_that_is_killed_by_the_system_tells_so(tmp_path):
    with pytest.raises(WorkerLost, match="ended by SIGKILL"):
        run(tmp_path, be_killed)


@pytest.mark.parametrize("function", [hang, hang_and_not_listen])
def test_a_child_that_hangs_is_ended_also_where_it_ignores_sigterm(tmp_path, function):
    with pytest.raises(WorkerTimeout, match=r"ran longer than 4 s and was ended \("):
        run(tmp_path, function, timeout_s=4.0)
    assert leaves_no_child(tmp_path)


def test_a_child_that_takes_all_memory_is_stopped_by_its_limit(tmp_path):
    with pytest.raises(WorkerLost, match=r"needs more memory than inference\.memory_limit_mb .* peaked at \d+ MB"):
        run(tmp_path, take_all_memory, memory_limit_mb=256)


def test_what_a_child_says_of_the_patient_stays_in_the_jobs_folder(tmp_path):
    with pytest.raises(WorkerLost, match=r"ended with KeyError at misbehaving_child\.py:\d+") as caught:
        run(tmp_path, quote_the_patient)
    assert "Doe" not in str(caught.value)
    assert PATIENT in (tmp_path / "child.log").read_text()
    assert "Doe" not in (tmp_path / "evidence.json").read_text()


@pytest.mark.parametrize("function", [lack_gpu_memory, lack_gpu_memory_as_torch_says_it])
def test_a_study_that_does_not_fit_on_the_gpu_is_analysed_on_the_cpu_in_the_same_attempt(tmp_path, function):
    result = run(tmp_path, function, device="cuda")
    assert result.device == "cpu"
    assert result.study_instance_uid == UID[function]


def test_without_a_gpu_to_leave_the_error_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(ChildAnalyzer, "_attempt", lambda *_: (_ for _ in ()).throw(GpuOutOfMemory("no memory")))
    with pytest.raises(GpuOutOfMemory):
        run(tmp_path, lack_gpu_memory)


def test_a_poison_study_is_set_aside_after_three_attempts_and_the_queue_goes_on(tmp_path):
    node = Node(tmp_path)
    node.analyzer = analyzer()
    node.restart()
    for study in (UID[crash], "1.99"):
        node.receive_study(1, study=study)
    node.clock.advance(31)
    node.closing.tick()
    for _ in range(6):
        node.turn()
        node.clock.advance(91)
    assert node.state("1.99") is WorklistState.DELIVERED
    assert node.state(UID[crash]) is WorklistState.NEEDS_ATTENTION
    job = node.job(UID[crash])
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    assert "SIGSEGV" in job.failure
    assert "gave up after 3 attempts" in node.detail(UID[crash]).status.why
