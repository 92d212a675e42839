"""The report page: complete, self-contained, and honest about what it does not know."""

import re
from pathlib import Path
from typing import Any

from dicom_node.app.result_json import failed_json
from dicom_node.core.finding import LEVELS
from dicom_node.results.report import write_report
from tests.builders.result_json import document
from tests.builders.views import drawings


def truth(**fractures: str) -> dict[str, Any]:
    return {
        "any_fracture": bool(fractures),
        "levels": [
            {
                "level": name,
                "status": "absent" if name == "C7" else "complete",
                "fractured": name in fractures,
                "fractures": [{"kind": fractures[name], "severity": 0.5}] if name in fractures else [],
            }
            for name in LEVELS
        ],
    }


def text_of(page: str) -> str:
    body = page.split("<main>")[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_page_needs_no_other_file(tmp_path: Path):
    images = drawings(tmp_path, "sagittal", "coronal", "key_C2")
    page = write_report(document(suspicious=("C2",)), images, tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert [text for text in ("from the side", "from the front", "C2: key image") if text not in page] == []
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "http" not in page


def test_every_level_stands_there_with_its_probability_or_the_reason(tmp_path: Path):
    made = document(suspicious=("C2",), unseen=("C7",))
    text = text_of(write_report(made, (), tmp_path / "report.html").read_text())
    assert "C1 2.1 % 30.0 % no fracture found" in text
    assert "C2 87.6 % 30.0 % suspicious" in text
    assert "C7 only partly in the field of view not assessed" in text
    for words in ("1.2.3.4", "slices too thick", "a gap of 3 mm", "cspine 0.1", "ab" * 32):
        assert words in text
    assert "AI result, not a diagnosis. Trained on synthetic data." in text


def test_text_from_outside_is_escaped(tmp_path: Path):
    facts = (("Patient", "<script>^x"),)
    page = write_report(document(), (), tmp_path / "report.html", study_facts=facts).read_text()
    assert "&lt;script&gt;, x" in page
    assert "5 mm &lt;thick&gt;" in page
    assert "<script>" not in page


def test_facts_that_the_study_does_not_have_are_left_out(tmp_path: Path):
    facts = (("Patient", "Doe^Jane"), ("Born", ""))
    text = text_of(write_report(document(), (), tmp_path / "report.html", study_facts=facts).read_text())
    assert "Patient Doe, Jane" in text
    assert "Date of birth" not in text


def test_truth_stands_beside_the_findings_and_says_where_they_differ(tmp_path: Path):
    made = document(suspicious=("C2", "C5"))
    page = write_report(made, (), tmp_path / "report.html", truth=truth(C2="odontoid-2", C6="lamina")).read_text()
    text = text_of(page)
    assert "C2 87.6 % 30.0 % suspicious fracture (odontoid-2) C3" in text
    assert "suspicious no fracture false alarm C6" in text
    assert "no fracture found fracture (lamina) missed C7" in text
    assert "not in the images" in text
    assert "Truth" not in text_of(write_report(made, (), tmp_path / "without.html").read_text())


def test_the_page_is_written_in_the_language_of_the_site(tmp_path: Path):
    made = document(suspicious=("C2",), unseen=("C7",))
    page = write_report(
        made, (), tmp_path / "report.html", study_facts=(("Study date", "20240102"),), language="de"
    ).read_text()
    text = text_of(page)
    assert '<html lang="de">' in page
    assert "Frakturverdacht: C2. Nicht beurteilt: C7." in text
    assert "C2 87,6 % 30,0 % frakturverdächtig" in text
    assert "Untersuchungsdatum 02.01.2024" in text
    assert "Schichten zu dick" in text


def test_a_level_below_its_threshold_in_a_suspicious_spine_is_not_called_free(tmp_path: Path):
    text = text_of(write_report(document(overall=True), (), tmp_path / "report.html").read_text())
    assert "C1 2.1 % 30.0 % undetermined" in text
    assert "no fracture found" not in text


def test_a_study_without_result_still_has_a_page(tmp_path: Path):
    page = write_report(failed_json("1.2.3", "no memory"), (), tmp_path / "report.html").read_text()
    assert "No series was analysed" in text_of(page)
