"""The localiser's training as one command: what a kill costs, and what the bundle says of its making."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle import fractures_of, load_bundle
from inference.bundle_files import BundleError
from inference.training import localiser
from inference.training.run import LocaliserRun, RunMismatch, render_missing, train_to_bundle
from inference.training.samples import save_sample
from inference.training.settings import DEFAULT, Settings, read_settings
from tests.builders.commands import cspine_node
from tests.unit.inference_models.builders import write_toy_bundle

FIRST = 100_000
STEPS = 4

# Saves after each step, and ends without a word after the second.
KILLED = """
import os, signal, sys
import inference.training.fit as fit
import inference.training.localiser as localiser
from dicom_node.cli import run

save = fit.Training._save

def save_and_die(training):
    save(training)
    if training.step == 2:
        os.kill(os.getpid(), signal.SIGKILL)

fit._SAVE_EVERY = 1
localiser._WINDOWS_ZYX = ((48, 48, 48),)
fit.Training._save = save_and_die
run(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localiser, "_WINDOWS_ZYX", ((48, 48, 48),))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    """The shipped settings with a tiny network."""
    text = DEFAULT.read_text().replace("channels = [32, 48, 96, 128]", "channels = [8, 8, 8]")
    text = text.replace("channels = [16, 32, 48]", "channels = [8, 8]")
    text = text.replace("channels = [16, 32, 64, 96]", "channels = [4, 4, 4, 8]").replace("batch = 6\n", "batch = 2\n")
    text = text.replace("batch = 2\n", "batch = 1\n").replace("steps = 6000", f"steps = {STEPS}")
    text = text.replace("steps = 3000", f"steps = {STEPS}")
    file = tmp_path / "settings.toml"
    file.write_text(text)
    assert tiny(file).localiser.steps == STEPS
    return file


def tiny(file: Path) -> Settings:
    return read_settings(file)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Two made-up samples, blocks on top of each other."""
    folder = tmp_path / "samples"
    folder.mkdir()
    for seed in (FIRST, FIRST + 1):
        classes = np.zeros((90, 50, 50), dtype=np.uint8)
        for level in range(1, 8):
            classes[85 - 11 * level : 94 - 11 * level, 15:35, 15 + seed % 2 : 35] = level
        hu = np.where(classes > 0, 170, 104).astype(np.uint8)
        save_sample(folder / f"{seed}.npz", {"hu": hu, "classes": classes, "share": np.uint8(255) * (classes > 0)})
    return folder


def words(folder: Path, samples: Path, settings_file: Path, base: Path) -> list[str]:
    options = {
        "out": folder,
        "samples": samples,
        "shape-samples": samples,
        "settings": settings_file,
        "bundle": base,
        "phantoms": 2,
        "shape-phantoms": 2,
    }
    fixed = ["train", "localiser", "--device", "cpu", "--threads", "1"]
    return fixed + [word for key, value in options.items() for word in (f"--{key}", str(value))]


def averaged(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "last.pt", weights_only=True)
    assert state["step"] == STEPS
    return state["average"]


def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, samples: Path, settings_file: Path
) -> None:
    base = write_toy_bundle(tmp_path / "base")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert cspine_node(*words(whole, samples, settings_file, base)).status == 0

    command = words(broken, samples, settings_file, base)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *command],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        timeout=400,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert torch.load(broken / "last.pt", weights_only=True)["step"] == 2
    assert not (broken / "bundle").exists()

    again = cspine_node(*command)
    assert again.status == 0, again.err
    assert f"{STEPS} steps on 2 phantoms" in again.out
    one, other = averaged(whole), averaged(broken)
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-7) for name in one)
    for name in ("localiser.safetensors", "place.safetensors", "shape.safetensors"):
        assert (whole / "bundle" / name).read_bytes() == (broken / "bundle" / name).read_bytes()


def test_the_bundle_keeps_the_fracture_models_and_tells_how_its_localiser_was_made(
    tmp_path: Path, samples: Path, settings_file: Path
) -> None:
    base = write_toy_bundle(tmp_path / "base", metrics={"localiser": {"dice": 0.1}})
    run = LocaliserRun(
        folder=tmp_path / "run",
        samples=samples,
        settings=tiny(settings_file),
        phantoms=2,
        shape_samples=samples,
        shape_phantoms=2,
        base=str(base),
        version=None,
        created="2026-01-02",
        device="cpu",
    )
    train_to_bundle(run)
    bundle = load_bundle(run.bundle)
    assert (bundle.version, bundle.manifest["created"]) == ("0+localiser", "2026-01-02")
    weights = "fractures/vertebra-crop.safetensors"
    assert (run.bundle / weights).read_bytes() == (base / weights).read_bytes()
    assert [bundle.manifest["training"][name]["steps"] for name in ("place", "shape")] == [STEPS, STEPS]
    record = bundle.manifest["training"]["localiser"]
    assert (record["steps"], record["phantoms"], record["sessions"]) == (STEPS, 2, 1)
    assert record["seconds"] > 0
    assert record["devices"][0].startswith("cpu: ")
    assert record["torch"] == [torch.__version__]
    assert bundle.manifest["metrics"] == {}

    with pytest.raises(RunMismatch, match=r"other settings \(phantoms\)"):
        train_to_bundle(LocaliserRun(**{**vars(run), "phantoms": 3}))


def test_a_phantom_that_is_missing_is_rendered_and_the_others_are_left_alone(
    tmp_path: Path, samples: Path, settings_file: Path
) -> None:
    there = samples / f"{FIRST}.npz"
    before = there.stat().st_mtime_ns
    (samples / f"{FIRST + 1}.npz").unlink()
    told: list[tuple[int, int]] = []
    run = LocaliserRun(
        folder=tmp_path / "run",
        samples=samples,
        settings=tiny(settings_file),
        phantoms=2,
        shape_samples=samples,
        shape_phantoms=2,
        base="default",
        version=None,
        created="2026-01-02",
    )
    render_missing("localiser", samples, 2, run, lambda done, wanted: told.append((done, wanted)))
    assert told == [(1, 2), (2, 2)]
    assert there.stat().st_mtime_ns == before
    with np.load(samples / f"{FIRST + 1}.npz") as arrays:
        assert set(arrays.files) == {"hu", "classes", "share"}
    assert sorted(file.name for file in samples.iterdir()) == [f"{FIRST}.npz", f"{FIRST + 1}.npz"]


def test_fracture_models_that_cannot_be_used_are_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    base = write_toy_bundle(tmp_path / "base")
    manifest = json.loads((base / "fractures" / "manifest.json").read_text())
    (base / "fractures" / "manifest.json").write_text(json.dumps({**manifest, "preprocessing_sha256": "0" * 64}))
    with pytest.raises(BundleError, match="another preprocessing"):
        fractures_of(base)
    ran = cspine_node("train", "localiser", "--out", tmp_path / "run", "--bundle", base)
    assert ran.status == 2
    assert not (tmp_path / "run").exists()
