"""What a reader sees of the results in OHIF, over Orthanc's DICOMweb: nothing is hidden or black."""

from __future__ import annotations

import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser
from pydicom import Dataset, dcmread

from dicom_node.core.finding import LEVELS, AnalysisResult, ResultKind
from dicom_node.results.codes import COLOURS
from dicom_node.results.encoder import DicomResultEncoder
from dicom_node.results.suspicion import BANDS
from tests.builders.phantom_result import make_phantom_result
from tests.peers import ROOT, Orthanc, missing, require
from tests.viewer.ohif import Ohif, chromium, is_black
from tests.viewer.server import ViewerServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ohif")]

DIST = ROOT / "tests" / "viewer" / "node_modules" / "@ohif" / "app" / "dist"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENCODER = DicomResultEncoder(manufacturer="the project", software_version="0.1.0", device_serial="42")
# A PACS gets one of the three forms of the measurements.
OTHER_FORMS = {ResultKind.SR_COMPREHENSIVE, ResultKind.SR_ENHANCED}
AXIAL, SAGITTAL, CORONAL = 0, 1, 2
RIM_PX = 20  # the rim of a vertebra's section has more
SMALL_RIM_PX = 5  # and that of a band
FRACTURES = {"C2": "odontoid-2", "C5": "burst"}


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A study and its results in a PACS, and a browser for the viewer at `url`."""

    result: AnalysisResult
    results: dict[ResultKind, list[Dataset]]
    browser: Browser
    url: str

    def series_number(self, kind: ResultKind) -> int:
        return int(self.results[kind][0].SeriesNumber)

    @property
    def image_numbers(self) -> dict[str, int]:
        """Instance Number by SOP Instance UID."""
        headers = [dcmread(source.file, stop_before_pixels=True) for source in self.result.slices]
        return {str(header.SOPInstanceUID): int(header.InstanceNumber) for header in headers}

    @contextmanager
    def page(self, address: str) -> Iterator[Ohif]:
        """A fresh page on the study. No script of it may fail while it is open."""
        ohif = Ohif(self.browser, self.url, f"{address}StudyInstanceUIDs={self.result.study_instance_uid}")
        try:
            yield ohif
            assert ohif.errors == []
        finally:
            ohif.close()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    program = require("chromium", "chromium")
    if not (DIST / "index.html").is_file():
        missing(str(DIST.relative_to(ROOT)), "npm, then `make test`, which installs @ohif/app there")
    folder = tmp_path_factory.mktemp("ohif")
    with ExitStack() as closing:
        closing.callback(shutil.rmtree, folder, ignore_errors=True)
        pacs = Orthanc(folder / "pacs", dicomweb=True)
        closing.callback(pacs.close)
        result = make_phantom_result(
            folder / "study", fractures=tuple(f"{level}:{kind}" for level, kind in FRACTURES.items())
        )
        results: dict[ResultKind, list[Dataset]] = {}
        for made in ENCODER.encode(result, revision=1, created_at=AT, out_dir=folder / "out"):
            if made.kind not in OTHER_FORMS:
                results.setdefault(made.kind, []).append(dcmread(made.file))
                _store(pacs, made.file)
        for image in result.slices:
            _store(pacs, image.file)
        server = ViewerServer(DIST, pacs.url)
        closing.callback(server.close)
        browser = closing.enter_context(chromium(program))
        yield Stand(result=result, results=results, browser=browser, url=server.url)


@pytest.fixture
def viewer(stand: Stand) -> Iterator[Ohif]:
    with stand.page("/viewer?") as ohif:
        yield ohif


@pytest.fixture
def planes(stand: Stand) -> Iterator[Ohif]:
    """Axial, sagittal and coronal side by side, and the list of the segments."""
    with stand.page("/segmentation?hangingprotocolId=mpr&") as ohif:
        yield ohif


def _store(pacs: Orthanc, file: Path) -> None:
    post = urllib.request.Request(f"{pacs.url}/instances", data=file.read_bytes(), method="POST")
    with urllib.request.urlopen(post, timeout=60) as answer:
        assert answer.status == 200


def test_every_vertebra_has_its_name_and_colour_in_axial_sagittal_and_coronal(stand: Stand, planes: Ohif):
    number = stand.series_number(ResultKind.SEG)
    planes.open(number, "the segments' names", lambda: set(LEVELS) <= set(planes.segments()))
    for level in LEVELS:
        planes.segments()[level].click()
        for plane in (AXIAL, SAGITTAL, CORONAL):
            planes.until(
                f"{level}'s colour in plane {plane}",
                lambda level=level, plane=plane: planes.colour_pixels(COLOURS[level].rgb, plane) >= RIM_PX,
            )
    _keep(planes, "vertebrae")


def test_every_band_of_suspicion_has_its_name_and_the_high_one_its_colour(stand: Stand, planes: Ohif):
    number = stand.series_number(ResultKind.SUSPICION_SEG)
    names = {f"{level} suspicion {band.name}" for level in FRACTURES for band in BANDS}
    planes.open(number, "the bands' names", lambda: names <= set(planes.segments()))
    for level in FRACTURES:
        planes.segments()[f"{level} suspicion {BANDS[-1].name}"].click()
        for plane in (AXIAL, SAGITTAL, CORONAL):
            planes.until(
                f"the red of {level} in plane {plane}",
                lambda plane=plane: planes.colour_pixels(BANDS[-1].rgb, plane) >= SMALL_RIM_PX,
            )
    _keep(planes, "suspicion")


def test_the_suspected_region_opens_on_a_slice_of_its_own(stand: Stand, viewer: Ohif):
    (region,) = stand.results[ResultKind.SUSPICION_SEG]
    own = {
        stand.image_numbers[str(source.ReferencedSOPInstanceUID)]
        for frame in region.PerFrameFunctionalGroupsSequence
        for derivation in frame.DerivationImageSequence
        for source in derivation.SourceImageSequence
    }
    assert 0 < len(own) < len(stand.result.slices)
    number = stand.series_number(ResultKind.SUSPICION_SEG)
    viewer.open(number, "a band", lambda: any(viewer.colour_pixels(band.rgb) >= SMALL_RIM_PX for band in BANDS))
    shown = re.search(r"I:(\d+) ", viewer.text())
    assert shown
    assert int(shown[1]) in own


def test_each_annotation_lies_on_the_slice_of_its_level(stand: Stand, viewer: Ohif):
    viewer.open(stand.series_number(ResultKind.SR), "an annotation", lambda: "Probability:" in viewer.text())
    assert not is_black(viewer.pixels())
    numbers = stand.image_numbers
    for finding in stand.result.findings:
        assert finding.probability is not None
        assert finding.key_index_zyx is not None
        image = numbers[stand.result.slices[finding.key_index_zyx[0]].sop_instance_uid]
        said = (f"Probability: {100 * finding.probability:.2f} %", f"{finding.level} vertebra", f"I:{image} (")
        viewer.page.locator('[data-cy="viewport-action-arrows-right"]').first.click()
        viewer.until(f"{said} in the viewport", lambda said=said: all(part in viewer.text() for part in said))
        assert not is_black(viewer.pixels()), finding.level
        if finding.is_positive:
            _keep(viewer, f"annotation-{finding.level}")


def test_the_text_report_can_be_read_whole(stand: Stand, viewer: Ohif):
    (report,) = stand.results[ResultKind.TEXT_SR]
    sentences = list(_sentences(report))
    assert len(sentences) > len(LEVELS)

    def readable() -> bool:
        text = " ".join(viewer.text().split())
        return all(" ".join(sentence.split()) in text for sentence in sentences)

    viewer.open(stand.series_number(ResultKind.TEXT_SR), "every sentence of the report", readable)
    _keep(viewer, "report")


def test_the_paper_lies_open(stand: Stand, viewer: Ohif):
    (paper,) = stand.results[ResultKind.PDF]
    frame = viewer.pane().locator('[type="application/pdf"]')
    viewer.open(stand.series_number(ResultKind.PDF), "the document", lambda: frame.count() == 1)
    held = "async e => Array.from(new Uint8Array(await (await fetch(e.data)).arrayBuffer()))"
    assert bytes(frame.evaluate(held)).rstrip(b"\0") == paper.EncapsulatedDocument.rstrip(b"\0")
    viewer.until("white paper", lambda: (viewer.picture().min(axis=2) > 240).mean() > 0.1)
    _keep(viewer, "paper")


def test_the_key_images_look_as_they_were_drawn(stand: Stand, viewer: Ohif):
    images = [image for _, image in sorted((int(i.InstanceNumber), i) for i in stand.results[ResultKind.SC])]

    def shows(place: int) -> bool:
        drawn = images[place - 1].pixel_array
        return f"({place}/{len(images)})" in viewer.text() and _likeness(viewer.pixels(), drawn) > 0.9

    viewer.open(stand.series_number(ResultKind.SC), "key image 1 as it was drawn", lambda: shows(1))
    for place in range(2, len(images) + 1):
        viewer.page.keyboard.press("ArrowDown")
        viewer.until(f"key image {place} as it was drawn", lambda place=place: shows(place))


def _keep(ohif: Ohif, name: str) -> None:
    """A picture of the page, where OHIF_PICTURES names a folder for them."""
    folder = os.environ.get("OHIF_PICTURES")
    if folder:
        ohif.picture(Path(folder) / f"ohif-{name}.png")


def _sentences(item: Dataset) -> Iterator[str]:
    if item.get("ValueType") == "TEXT":
        yield str(item.TextValue)
    for child in item.get("ContentSequence", ()):
        yield from _sentences(child)


def _likeness(shown: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> float:
    """Correlation of the canvas with the picture that fills it from edge to edge, one way or the other."""
    scale = min(shown.shape[0] / drawn.shape[0], shown.shape[1] / drawn.shape[1])
    height, width = (round(side * scale) for side in drawn.shape[:2])
    top, left = (shown.shape[0] - height) // 2, (shown.shape[1] - width) // 2
    fitted = np.asarray(Image.fromarray(drawn).resize((width, height))).astype(float)
    part = shown[top : top + height, left : left + width].astype(float)
    if part.std() == 0:
        return 0.0
    return float(np.corrcoef(part.ravel(), fitted.ravel())[0, 1])
