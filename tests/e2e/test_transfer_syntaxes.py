"""The same study gives the same findings and the same SEG, whatever its transfer syntax."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.e2e.conftest import PhantomStudy, make_phantom
from tests.peers import CSPINE_NODE

SYNTAXES = (
    "implicit-vr-little-endian",
    "deflated",
    "rle-lossless",
    "jpeg-lossless-sv1",
    "jpeg-ls-lossless",
    "jpeg-2000-lossless",
)
PHANTOM = ("--seed", "11", "--fracture", "C5:burst", "--slices", "80")


def analyse(study: PhantomStudy, out: Path) -> tuple[dict, np.ndarray]:
    """The result and the SEG's frames of `cspine-node analyse`."""
    run = subprocess.run(
        [CSPINE_NODE, "analyse", str(study.dicom), "--out", str(out), "--device", "cpu", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(next(out.rglob("result.json")).read_text())
    seg = next(item["file"] for item in result["objects"] if item["kind"] == "SEG")
    path = Path(seg) if Path(seg).is_absolute() else next(out.rglob(Path(seg).name))
    return result, pydicom.dcmread(path).pixel_array


def _findings(result: dict) -> list[tuple]:
    return [(level["level"], level["status"], level["probability"], level["fracture"]) for level in result["levels"]]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, np.ndarray]:
    folder = tmp_path_factory.mktemp("reference")
    study = make_phantom(folder / "study", *PHANTOM, "--syntax", "explicit-vr-little-endian")
    return analyse(study, folder / "out")


@pytest.mark.xdist_group("syntaxes")
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_transfer_syntax_changes_nothing(syntax: str, reference: tuple[dict, np.ndarray], tmp_path: Path):
    study = make_phantom(tmp_path / "study", *PHANTOM, "--syntax", syntax)
    result, frames = analyse(study, tmp_path / "out")
    expected, expected_frames = reference
    assert _findings(result) == _findings(expected)
    assert result["patient_overall"] == expected["patient_overall"]
    assert np.array_equal(frames, expected_frames)
