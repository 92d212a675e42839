"""The objects with words, of every kind of study: judged by programs that are not ours, and read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.core.finding import LEVELS, AnalysisResult, LevelStatus, Outcome, ResultKind, ResultObject
from dicom_node.results.encoder import DicomResultEncoder
from tests.builders.ct import NAMES
from tests.builders.results import make_result
from tests.integration.validators import dcentvfy, dciodvfy, dsrdump, pdf_text, pixelmed

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MEASURED = (ResultKind.SR, ResultKind.SR_COMPREHENSIVE, ResultKind.SR_ENHANCED)
SPOKEN = (*MEASURED, ResultKind.TEXT_SR, ResultKind.STATUS_SR)
IODS = {
    ResultKind.SR: "Comprehensive3DSR",
    ResultKind.SR_COMPREHENSIVE: "ComprehensiveSR",
    ResultKind.SR_ENHANCED: "EnhancedSR",
    ResultKind.TEXT_SR: "EnhancedSR",
    ResultKind.STATUS_SR: "EnhancedSR",
    ResultKind.PDF: "EncapsulatedPDF",
}
ANALYSED: dict[str, dict[str, Any]] = {
    "all negative": {"positive": ()},
    "one positive": {},
    "all positive": {"positive": LEVELS},
    "cut off": {
        "levels": LEVELS[:5],
        "unseen": {"C6": LevelStatus.PARTLY_IN_FIELD_OF_VIEW, "C7": LevelStatus.NOT_ASSESSED},
    },
    "nothing assessed": {"levels": (), "unseen": dict.fromkeys(LEVELS, LevelStatus.NOT_ASSESSED), "positive": ()},
    "revision 2": {"positive": ("C5",)},
    "enhanced": {"style": "enhanced"},
    "rsna": {"style": "rsna"},
} | {charset: {"charset": charset} for charset in NAMES if charset}
SILENT = {
    "not applicable": (Outcome.NOT_APPLICABLE, "no cervical spine was found in the pixels of any eligible series"),
    "failed": (Outcome.FAILED, "GeometryUnsupported: mixed matrix sizes"),
    "not run": (Outcome.NOT_RUN, "the analysis was stopped by an operator"),
}
LANGUAGES = {"all negative": "en", "all positive": "fr", "cut off": "es", "failed": "fr", "not run": "es"}
# One virtual machine takes seconds for each report, so each kind is judged where its contents are peculiar.
FOR_PIXELMED = {
    "all negative": (ResultKind.SR,),
    "one positive": (ResultKind.SR_ENHANCED,),
    "all positive": (ResultKind.SR_COMPREHENSIVE,),
    "cut off": (ResultKind.SR, ResultKind.TEXT_SR),
    "nothing assessed": (ResultKind.SR, ResultKind.TEXT_SR),
    "revision 2": (ResultKind.TEXT_SR,),
    "ISO 2022 IR 87": (ResultKind.TEXT_SR,),
    "not applicable": (ResultKind.STATUS_SR,),
}


@dataclass(frozen=True, kw_only=True)
class Said:
    """One case: its analysis, the objects with words, and everything else that was made."""

    result: AnalysisResult
    objects: dict[ResultKind, ResultObject]
    language: str
    out_dir: Path

    def data_set(self, kind: ResultKind) -> Dataset:
        return dcmread(self.objects[kind].file)


def encoder(language: str) -> DicomResultEncoder:
    return DicomResultEncoder(
        manufacturer="the project",
        software_version="0.1.0",
        device_serial="42",
        language=language,
        kinds_on_request=frozenset({ResultKind.STATUS_SR}),
    )


def encode(case: str, folder: Path) -> Said:
    language = LANGUAGES.get(case, "de")
    result = make_result(folder, n=24, rows=40, columns=48, **ANALYSED.get(case, {}))
    revision, predecessor = 1, ()
    if case in SILENT:
        outcome, reason = SILENT[case]
        source = result.slices[0]
        result = dataclasses.replace(result, outcome=outcome, reason=reason, findings=(), representative=source)
    if case == "revision 2":
        before = make_result(folder / "before", n=24, rows=40, columns=48)
        predecessor = encoder(language).encode(before, revision=1, created_at=AT, out_dir=folder / "out 1")
        revision = 2
    made = encoder(language).encode(
        result, revision=revision, created_at=AT, out_dir=folder / "out", predecessor=predecessor
    )
    return Said(
        result=result,
        objects={entry.kind: entry for entry in made},
        language=language,
        out_dir=folder / "out",
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    return {case: encode(case, tmp_path_factory.mktemp("study")) for case in (*ANALYSED, *SILENT)}


@pytest.fixture(params=[*ANALYSED, *SILENT])
def said(request: pytest.FixtureRequest, cases: dict[str, Said]) -> Said:
    return cases[request.param]


@pytest.fixture(params=ANALYSED)
def analysed(request: pytest.FixtureRequest, cases: dict[str, Said]) -> Said:
    return cases[request.param]


def texts_of(item: Dataset) -> Iterator[str]:
    if "TextValue" in item:
        yield str(item.TextValue)
    for child in item.get("ContentSequence", []):
        yield from texts_of(child)


def test_every_study_speaks(cases):
    for case, said in cases.items():
        expected = {ResultKind.STATUS_SR} if case in SILENT else {*MEASURED, ResultKind.TEXT_SR, ResultKind.PDF}
        assert expected <= set(said.objects), case


def test_dciodvfy_knows_the_iod_and_finds_no_error(said):
    for kind in IODS.keys() & said.objects.keys():
        spoken = dciodvfy(said.objects[kind].file)
        assert IODS[kind] in spoken
        assert [line for line in spoken if line.startswith("Error")] == []


def test_dcentvfy_finds_that_objects_and_images_are_of_one_study(said):
    images = sorted({source.file for source in said.result.slices})
    earlier = sorted(said.out_dir.with_name("out 1").glob("*.dcm"))
    files = [*earlier, *sorted(said.out_dir.glob("*.dcm"))]
    # The validator's own noise: an accession number is of another entity in an SR, where it also stands in evidence.
    noise = ["AccessionNumber"]
    if "SOPClassUID" not in dcmread(images[0], stop_before_pixels=True):
        images, noise = [], [*noise, "Missing SOPInstanceUID"]  # images that no validator takes for images
    spoken = dcentvfy([*images, *files])
    assert [line for line in spoken if not any(words in line for words in noise)] == []


def test_dcmtk_and_highdicom_read_every_report(said):
    for kind in set(SPOKEN) & said.objects.keys():
        assert IODS[kind].removesuffix("SR").replace("3D", " 3D") in dsrdump(said.objects[kind].file).split("\n")[0]
        report = hd.sr.srread(said.objects[kind].file)
        if kind in MEASURED:
            groups = hd.sr.MeasurementReport.from_sequence([report]).get_planar_roi_measurement_groups()
            assessed = [finding for finding in said.result.findings if finding.probability is not None]
            assert len(groups) == (len(assessed) + 1 if assessed else 0)


@pytest.mark.slow
def test_pixelmed_the_validator_of_the_connectathon_finds_no_error(cases, tmp_path):
    files = {cases[case].objects[kind].file: kind for case, kinds in FOR_PIXELMED.items() for kind in kinds}
    spoken = pixelmed(list(files), tmp_path)
    assert set(spoken) == set(files)
    for file, lines in spoken.items():
        assert "Root Template Validation Complete" in lines, file
        assert [line for line in lines if line.startswith("Error")] == []
        # TID 2000 leaves open what a sentence is inferred from, and newer languages than the validator's are spoken.
        known = ("IMAGE (121112", "LanguageOfContentItem") if files[file] not in MEASURED else ("",)
        assert [line for line in lines if line.startswith("Warning") and not any(w in line for w in known)] == []


def test_names_come_back_as_they_are_in_the_images(said):
    source = dcmread(said.result.slices[0].file, stop_before_pixels=True)
    for entry in said.objects.values():
        read = dcmread(entry.file)
        assert str(read.PatientName) == str(source.get("PatientName") or "")
        declared = source.get("SpecificCharacterSet")
        assert read.get("SpecificCharacterSet") in ((declared,) if declared else (None, "ISO_IR 100"))


@pytest.mark.parametrize(
    ("case", "word"),
    [
        ("one positive", "frakturverdächtig"),
        ("ISO_IR 100", "frakturverdächtig"),
        ("ISO_IR 192", "frakturverdächtig"),
        ("GB18030", "frakturverdächtig"),
        ("ISO 2022 IR 87", "frakturverdaechtig"),
    ],
)
def test_sentences_come_back_as_far_as_the_character_set_has_their_letters(cases, case, word):
    report = cases[case].data_set(ResultKind.TEXT_SR)
    assert any(word in text for text in texts_of(report))
    assert all("?" not in text for text in texts_of(report))


def test_each_object_is_a_series_of_its_own_in_the_study(said):
    read = [dcmread(entry.file, stop_before_pixels=True) for entry in said.objects.values()]
    assert len({data_set.SeriesInstanceUID for data_set in read}) == len(read)
    assert len({data_set.SeriesNumber for data_set in read}) == len(read)
    assert {data_set.StudyInstanceUID for data_set in read} == {said.result.study_instance_uid}


@pytest.mark.parametrize("case", ["one positive", "nothing assessed", "enhanced", "GB18030"])
def test_the_same_analysis_twice_is_the_same_bytes(cases, tmp_path, case):
    said = cases[case]
    again = encoder(said.language).encode(said.result, revision=1, created_at=AT, out_dir=tmp_path)
    for entry in again:
        if entry.kind in IODS:
            assert entry.file.read_bytes() == said.objects[entry.kind].file.read_bytes(), entry.kind


def test_a_later_revision_names_the_documents_before_it_and_says_what_changed(cases):
    later = cases["revision 2"]
    for kind in (*MEASURED, ResultKind.TEXT_SR):
        (series,) = later.data_set(kind).PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        earlier = dcmread(later.objects[kind].file.parent.with_name("out 1") / later.objects[kind].file.name)
        assert series.SeriesInstanceUID == earlier.SeriesInstanceUID
        assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    texts = list(texts_of(later.data_set(ResultKind.TEXT_SR)))
    assert "C2: jetzt 2,0 % (kein Frakturnachweis), zuvor 91,2 % (frakturverdächtig)." in texts
    assert "C5: jetzt 91,2 % (frakturverdächtig), zuvor 5,0 % (kein Frakturnachweis)." in texts


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("not applicable", "Auf den Bildern wurde keine Halswirbelsäule gefunden."),
        ("failed", "GeometryUnsupported: mixed matrix sizes"),
        ("not run", "Un operador detuvo el análisis."),
    ],
)
def test_a_study_that_was_not_analysed_says_why(cases, case, words):
    assert set(cases[case].objects) == {ResultKind.STATUS_SR}
    assert any(words in text for text in texts_of(cases[case].data_set(ResultKind.STATUS_SR)))


def pdf_of(said: Said, folder: Path) -> str:
    read = said.data_set(ResultKind.PDF)
    file = folder / "report.pdf"
    file.write_bytes(read.EncapsulatedDocument[: read.EncapsulatedDocumentLength])
    return " ".join(pdf_text(file).split())


@pytest.mark.parametrize("case", ["all negative", "one positive", "all positive", "cut off", "nothing assessed"])
def test_the_pdf_says_what_the_text_report_says(cases, tmp_path, case):
    paper = pdf_of(cases[case], tmp_path).replace("\u00a0", " ")
    sections = [item for item in cases[case].data_set(ResultKind.TEXT_SR).ContentSequence if "ContentSequence" in item]
    sentences = [text for section in sections for text in texts_of(section)]
    assert len(sentences) >= 8
    assert [text for text in sentences if not all(word in paper for word in text.split())] == []


@pytest.mark.parametrize(
    ("case", "shown"),
    [
        ("ISO_IR 192", "Müller, Jürgen"),
        ("ISO 2022 IR 87", "Yamada, Tarou"),
        ("GB18030", "Wang, XiaoDong"),
        ("rsna", "ID-ct"),
    ],
)
def test_the_pdf_shows_whose_it_is_with_the_letters_it_has(cases, tmp_path, case, shown):
    assert shown in pdf_of(cases[case], tmp_path)
