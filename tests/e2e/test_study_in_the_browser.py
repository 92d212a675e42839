"""What a reader sees in a browser: the vertebrae where the SEG has them, the key slice, one study among many.

The pictures of study page and worklist in docs/images are made here: PAGE_PICTURES=docs/images pytest (this file).
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page
from pydicom import dcmread

from dicom_node.core.account import Role
from dicom_node.core.finding import LEVELS
from dicom_node.results.codes import COLOURS
from dicom_node.results.suspicion import BANDS
from tests.builders.many_studies import seed_studies, uid_of
from tests.builders.study_stand import StudyStand, make_study_stand

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("study-page")]

TIMEOUT_MS = 300_000  # without a graphics card the slices are drawn in software
POSITIVE = "C2"
MANY = 100_000
OPACITY = 0.4
EVERY_PX = 6

# Image Painted: when the browser had drawn the largest thing so far, in ms since the address was opened.
PAINTED = """() => new Promise(done => new PerformanceObserver(list => {
    const images = list.getEntries().filter(entry => entry.element?.tagName === 'IMG');
    if (images.length) done(images.map(entry => entry.startTime));
}).observe({type: 'largest-contentful-paint', buffered: true}))"""
# Drawn and read in one step: a browser may clear what it has shown.
DRAWN = "canvas => { canvas.viewer.drawScene(); return canvas.toDataURL(); }"
# For each point of the canvas, in its own pixels: the place it shows, LPS mm; null outside the picture.
PLACES = """(canvas, points) => points.map(([x, y]) => {
    const frac = canvas.viewer.canvasPos2frac([x, y]);
    if (frac[0] < 0) return null;
    const mm = canvas.viewer.frac2mm(frac);
    return [-mm[0], -mm[1], mm[2]];
})"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyStand]:
    """300 slices with a fracture of C2, among a hundred thousand studies."""
    folder = tmp_path_factory.mktemp("pages")
    made = make_study_stand(folder, fractures=(f"{POSITIVE}:odontoid-2",), slices=300, slice_mm=0.8)
    seed_studies(made.node.database, MANY - 1, with_deliveries=False)
    yield made
    made.close()


@pytest.fixture
def page(browser: Browser, stand: StudyStand) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1500, "height": 1100})
    context.add_cookies([stand.cookie()])  # type: ignore[list-item]
    opened = context.new_page()
    opened.set_default_timeout(TIMEOUT_MS)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert errors == [], "no script fails, and nothing needs more than the content security policy allows"


def test_a_useful_picture_comes_before_the_slices(page: Page, stand: StudyStand):
    page.goto(stand.study_url, wait_until="commit")
    first_ms = min(page.evaluate(PAINTED))
    slices = len(stand.result.slices)
    _tell(f"first picture of {slices} slices after {first_ms / 1000:.2f} s (to be under 1.5 s on an idle machine)")
    assert page.locator("#slices").get_attribute("data-state") is None, "the slices are not there yet"
    assert page.locator("#stage-pictures img").count() == 2
    _ready(page)
    _keep(page, "study")


def test_the_overlay_lies_on_the_vertebrae_of_the_seg_and_the_button_leads_to_the_key_slice(
    page: Page, stand: StudyStand
):
    page.goto(stand.study_url)
    _ready(page)
    key = next(each for each in stand.result.findings if each.level == POSITIVE)
    assert key.key_index_zyx is not None
    page.locator('[data-plane="axial"]').click()
    page.locator('[data-level="C6"]').click()
    page.locator(f'[data-level="{POSITIVE}"]').click()
    canvas = page.locator("#slices")
    assert abs(int(canvas.get_attribute("data-slice") or -1) - key.key_index_zyx[0]) <= 1
    canvas.evaluate("canvas => canvas.viewer.setCrosshairWidth(0)")
    vertebrae, suspicion = page.locator('[data-overlay="vertebrae"]'), page.locator('[data-overlay="suspicion"]')
    suspicion.uncheck()
    covered = _pixels(page)
    vertebrae.uncheck()
    bare = _pixels(page)
    suspicion.check()
    suspected = _pixels(page)
    places = _places(page, bare.shape)
    expected = _seg_labels(stand, places)
    change = (covered - bare)[places.rows, places.columns]
    is_covered = np.abs(change).max(axis=1) > 25
    _agree(is_covered, expected > 0)
    colours = bare[places.rows, places.columns] + change / OPACITY
    palette = np.array([COLOURS[level].rgb for level in LEVELS], dtype=float)
    inside = is_covered & (expected > 0)
    nearest = np.linalg.norm(colours[inside][:, None] - palette, axis=2).argmin(axis=1) + 1
    assert (nearest == expected[inside]).mean() > 0.9, "each vertebra in its own colour"
    assert (expected[inside] == LEVELS.index(POSITIVE) + 1).any()

    red = (suspected - bare)[places.rows, places.columns]
    is_suspected = np.abs(red).max(axis=1) > 25
    assert is_suspected.any()
    centre = places.points[is_suspected].mean(axis=0)
    key_mm = _mm(stand, key.key_index_zyx)
    assert np.linalg.norm(centre[:2] - key_mm[:2]) < 3.0, "the bands lie around the key voxel"
    tones = (bare[places.rows, places.columns] + red / OPACITY)[is_suspected]
    bands = np.array([band.rgb for band in BANDS], dtype=float)
    assert np.linalg.norm(tones[:, None] - bands, axis=2).min(axis=1).mean() < 60, "in the bands' colours"


def test_windows_planes_and_pictures_are_changed_by_their_buttons(page: Page, stand: StudyStand):
    page.goto(stand.study_url)
    _ready(page)
    bone = _pixels(page)
    page.locator('[data-window="soft"]').click()
    soft = _pixels(page)
    assert (soft.mean(axis=2) > 250).sum() > 2 * (bone.mean(axis=2) > 250).sum(), "bone is white in a narrow window"
    assert page.locator('[data-window="soft"]').get_attribute("aria-pressed") == "true"
    for plane in ("sagittal", "coronal", "axial"):
        page.locator(f'[data-plane="{plane}"]').click()
        assert _pixels(page).std() > 10
    before = page.locator("#viewer-status").inner_text()
    page.locator("#slices").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#viewer-status").inner_text() != before
    page.locator("#curve").click(position={"x": 5, "y": 20})
    assert int(page.locator("#slices").get_attribute("data-slice") or 0) > len(stand.result.slices) * 0.6
    page.locator('[data-show="pictures"]').click()
    assert page.locator("#stage-pictures").is_visible()
    assert not page.locator("#slices").is_visible()


def test_a_browser_without_webgl_shows_the_pictures(stand: StudyStand, browser: Browser):
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    context.add_cookies([stand.cookie(Role.VIEWER)])  # type: ignore[list-item]
    context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(stand.study_url)
    page.locator('#stage[data-state="pictures"]').wait_for()
    assert page.locator("#stage-pictures img").first.is_visible()
    assert not page.locator("#viewer-tools").is_visible()
    assert "WebGL" in page.locator("#viewer-status").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than a phone"
    _keep(page, "study-phone-dark")
    context.close()


def test_one_study_is_found_among_a_hundred_thousand(page: Page, stand: StudyStand):
    page.goto(stand.url)
    assert "of 100000" in page.locator(".pages").inner_text()
    rows = page.locator(".worklist tbody tr")
    assert rows.count() == 100
    _keep(page, "worklist")
    wanted = uid_of(54_321)
    for text in ("number 54321", "p0054321", "A0054321", wanted):
        page.locator("#q").fill(text)
        began = time.perf_counter()
        page.get_by_role("button", name="Search").click()
        page.locator(f'a[href="/studies/{wanted}"]').wait_for()
        _tell(f"{text!r} is found after {time.perf_counter() - began:.2f} s")
        assert rows.count() == 1
    page.locator(f'a[href="/studies/{wanted}"]').click()
    assert "54321" in page.locator("h1").inner_text()
    page.goto(f"{stand.url}/?q=phantom+neck")
    assert page.locator(".worklist tbody tr.positive").count() == 1


def test_the_worklist_refreshes_itself_and_keeps_the_focus(page: Page, stand: StudyStand):
    page.goto(f"{stand.url}/?q=phantom")
    link = page.locator(".worklist tbody a").first
    link.focus()
    stand.node.clock.advance(300)  # no longer than a session may be idle
    page.get_by_text(re.compile(r"\d+ min ago")).first.wait_for()
    assert page.evaluate("document.activeElement.id") == f"study-{stand.result.study_instance_uid}"


def test_the_worklist_is_readable_on_a_phone(stand: StudyStand, browser: Browser):
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    context.add_cookies([stand.cookie(Role.VIEWER)])  # type: ignore[list-item]
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(f"{stand.url}/?fracture=yes")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(".worklist tbody tr").first.is_visible()
    _keep(page, "worklist-phone-dark")
    context.close()


class _Places:
    """Points of the canvas that show something: pixel rows and columns, and LPS mm."""

    def __init__(self, found: list[tuple[int, int, list[float]]]) -> None:
        self.rows = np.array([row for row, _, _ in found])
        self.columns = np.array([column for _, column, _ in found])
        self.points = np.array([point for _, _, point in found])


def _places(page: Page, shape: tuple[int, ...]) -> _Places:
    grid = [(y, x) for y in range(0, shape[0], EVERY_PX) for x in range(0, shape[1], EVERY_PX)]
    shown = page.locator("#slices").evaluate(PLACES, [[x + 0.5, y + 0.5] for y, x in grid])
    return _Places([(y, x, point) for (y, x), point in zip(grid, shown, strict=True) if point is not None])


def _seg_labels(stand: StudyStand, places: _Places) -> NDArray[np.uint8]:
    """What the SEG that was sent says of each place: 0 nothing, 1-7 = C1-C7."""
    (file,) = (path for path in stand.objects.rglob("*.dcm") if _is_vertebrae(path))
    seg = dcmread(file)
    names = {int(item.SegmentNumber): LEVELS.index(item.SegmentLabel) + 1 for item in seg.SegmentSequence}
    planes = {_z(frame): np.zeros((seg.Rows, seg.Columns), np.uint8) for frame in seg.PerFrameFunctionalGroupsSequence}
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        planes[_z(frame)][pixels > 0] = names[number]
    heights = np.array(sorted(planes))
    plane = planes[heights[np.abs(heights - places.points[0, 2]).argmin()]]
    shared = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    origin = np.array(seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient, float)
    columns = np.rint((places.points[:, 0] - origin[0]) / float(shared[1])).astype(int)
    rows = np.rint((places.points[:, 1] - origin[1]) / float(shared[0])).astype(int)
    return plane[rows.clip(0, seg.Rows - 1), columns.clip(0, seg.Columns - 1)]


def _is_vertebrae(path: Path) -> bool:
    header = dcmread(path, stop_before_pixels=True)
    return header.Modality == "SEG" and header.SegmentSequence[0].SegmentLabel in LEVELS


def _z(frame: Any) -> float:
    return round(float(frame.PlanePositionSequence[0].ImagePositionPatient[2]), 3)


def _mm(stand: StudyStand, zyx: tuple[int, int, int]) -> NDArray[np.float64]:
    assert stand.result.mask_path is not None
    with np.load(stand.result.mask_path) as arrays:
        point: NDArray[np.float64] = (arrays["affine_lps"] @ (*zyx[::-1], 1))[:3]
    return point


def _agree(seen: NDArray[np.bool_], expected: NDArray[np.bool_]) -> None:
    """By Dice; a canvas pixel is about half a voxel, and the rims are soft."""
    assert expected.sum() > 50
    overlap = 2 * (seen & expected).sum() / (seen.sum() + expected.sum())
    assert overlap > 0.85, f"{overlap:.3f}: {seen.sum()} points are covered, {expected.sum()} should be"


def _ready(page: Page) -> None:
    page.locator('#slices[data-state="ready"]').wait_for()


def _pixels(page: Page) -> NDArray[np.float64]:
    """The canvas as it is drawn, [row, column, colour]."""
    said = page.locator("#slices").evaluate(DRAWN)
    png = base64.b64decode(said.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


def _keep(page: Page, name: str) -> None:
    """Pictures of the page in both schemes, where PAGE_PICTURES names a folder for them."""
    folder = os.environ.get("PAGE_PICTURES")
    if not folder:
        return
    _shoot(page, Path(folder) / f"page-{name}.png")
    if not name.endswith("dark"):
        page.emulate_media(color_scheme="dark")
        _shoot(page, Path(folder) / f"page-{name}-dark.png")
        page.emulate_media(color_scheme="light")


def _shoot(page: Page, file: Path) -> None:
    """In 128 colours: a third of the bytes, and nothing to be seen of it."""
    shown = Image.open(io.BytesIO(page.screenshot(timeout=TIMEOUT_MS))).convert("RGB")
    shown.quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


def _tell(line: str) -> None:
    """What was measured; `pytest -s` shows it."""
    sys.stderr.write(f"\n{line}\n")
