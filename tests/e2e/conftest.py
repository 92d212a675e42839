"""Studies and peers for the end-to-end tests, made once a worker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.peers import CSPINE_NODE, REAL_CT, DcmtkStorescp, Orthanc, require
from tests.viewer.ohif import chromium


@dataclass(frozen=True)
class PhantomStudy:
    """A phantom on disk with its truth."""

    folder: Path

    @property
    def dicom(self) -> Path:
        return self.folder / "dicom"

    @property
    def truth(self) -> dict[str, Any]:
        return json.loads((self.folder / "truth.json").read_text())

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.dicom.rglob("*") if path.is_file())


def make_phantom(folder: Path, *arguments: str) -> PhantomStudy:
    """`cspine-node phantom` into `folder`."""
    run = subprocess.run([CSPINE_NODE, "phantom", str(folder), *arguments], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return PhantomStudy(folder)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    """A fractured neck of 120 slices."""
    return make_phantom(
        tmp_path_factory.mktemp("phantom") / "study", "--seed", "7", "--fracture", "C2:odontoid-2", "--slices", "120"
    )


@dataclass(frozen=True)
class Demo:
    """What `cspine-node demo` left, and what it printed."""

    folder: Path
    run: subprocess.CompletedProcess[str]

    @property
    def password(self) -> str:
        """Of the account `demo`."""
        return self.run.stdout.partition("log in as demo with the password ")[2].split()[0]


def run_demo(folder: Path) -> Demo:
    """`cspine-node demo` into `folder`, whatever comes of it."""
    command = [CSPINE_NODE, "demo", "--out", str(folder)]
    return Demo(folder, subprocess.run(command, capture_output=True, text=True, timeout=600))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run once. Tests that use it are in one group: it takes a minute."""
    return run_demo(tmp_path_factory.mktemp("demo") / "demo-out")


@pytest.fixture(scope="session")
def real_ct() -> Path:
    """A real head and neck CT, for evaluation only; it is not part of the repository."""
    if not REAL_CT.is_dir():
        pytest.skip(f"the real series is not at {REAL_CT.name} beside the checkout")
    return REAL_CT


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; skips where there is none."""
    with chromium(require("chromium", "chromium")) as opened:
        yield opened


@pytest.fixture
def dcmtk_pacs(tmp_path: Path) -> Iterator[DcmtkStorescp]:
    pacs = DcmtkStorescp(tmp_path / "dcmtk-pacs")
    yield pacs
    pacs.close()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    pacs = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield pacs
    pacs.close()
