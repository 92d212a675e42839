"""`make demo` is the product on a laptop: it must work, show what it found, and never touch a stranger's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.e2e.conftest import Demo, run_demo


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
def test_the_demo_ends_with_findings_beside_the_truth(demo: Demo):
    assert demo.run.returncode == 0, demo.run.stderr
    for word in ("truth", "odontoid-2", "burst", "C7", "from the last image to the stored result"):
        assert word in demo.run.stdout
    page = (demo.folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 1
    assert (demo.folder / "pictures" / "sagittal.png").stat().st_size > 10_000
    result = json.loads((demo.folder / "result.json").read_text())
    assert [level["level"] for level in result["levels"]] == [f"C{number}" for number in range(1, 8)]
    assert sum(level["status"] == "assessed" for level in result["levels"]) >= 5
    held = [dcmread(file, stop_before_pixels=True) for file in (demo.folder / "pacs").glob("*.dcm")]
    assert {str(instance.Modality) for instance in held} == {"SEG", "SR", "OT"}
    assert len({str(instance.SeriesInstanceUID) for instance in held if instance.Modality == "SR"}) == 2


def test_the_demo_does_not_clear_a_folder_that_is_not_its_own(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("two years of work")
    refused = run_demo(tmp_path).run
    assert refused.returncode == 2
    assert "not empty" in refused.stderr
    assert (tmp_path / "thesis.txt").exists()
