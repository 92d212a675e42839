"""OHIF in a headless Chromium, used as a reader uses it: open a series, click a segment, step through findings."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.peers import wait_for

TIMEOUT_S = 180.0
AGAIN_S = 30.0
CLICKS, LOADS = 2, 5
THUMBNAIL = '[data-cy^="study-browser-thumbnail"]'
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # Without a graphics card: WebGL in software.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
SIZE_PX = {"width": 1600, "height": 800}
TOUR_TAKEN = {"name": "shownTours", "value": '["basicViewerTour"]'}  # the tour would dim the page

# What OHIF says where a series is opened before the images of the one in its place are all drawn.
REPLACED = "The stack viewport has been destroyed"

RGB = tuple[int, int, int]


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """The browser, closed at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Ohif:
    """One page of the viewer at `url`, showing `address`; `errors` are the script's own."""

    def __init__(self, browser: Browser, url: str, address: str) -> None:
        state = {"cookies": [], "origins": [{"origin": url, "localStorage": [TOUR_TAKEN]}]}
        self.page: Page = browser.new_context(viewport=SIZE_PX, storage_state=state).new_page()  # type: ignore[arg-type]
        self.page.set_default_timeout(TIMEOUT_S * 1000)
        self.errors: list[str] = []
        self.page.on("pageerror", self._note)
        answer = self.page.goto(url + address)
        assert answer is not None
        assert answer.ok, f"the viewer answers {answer.status}"

    def open(self, series_number: int, what: str, probe: Callable[[], object]) -> None:
        """Double-click the series in the list of the study until `probe` sees it.

        A double-click while the first images still load is lost, or leaves the pane with the words of one series and
        the picture of another. So it waits for those, clicks again, and at last loads the page anew, as a reader would.
        """
        for _ in range(LOADS):
            self.pane().wait_for()
            self.until("the first images", lambda: not is_black(self.pixels()))
            for _ in range(CLICKS):
                self.page.locator(THUMBNAIL).filter(has_text=f"S:{series_number}").first.dblclick()
                if _comes(probe):
                    return
            self.page.reload()
            self.errors.clear()  # those of a page that came to nothing
        pytest.fail(f"loaded {LOADS} times in vain for {what}; the pane says {self.text()!r}")

    def close(self) -> None:
        self.page.context.close()

    def _note(self, error: object) -> None:
        if REPLACED not in str(error):
            self.errors.append(str(error))

    def pane(self, number: int = 0) -> Locator:
        return self.page.locator('[data-cy="viewport-pane"]').nth(number)

    def text(self, number: int = 0) -> str:
        """What is written in a pane, corners included."""
        return self.pane(number).inner_text()

    def segments(self) -> dict[str, Locator]:
        """The rows of the segmentation's panel, by their names."""
        rows = self.page.locator('[data-cy="data-row"]')
        return {row.locator('[data-cy="data-row-title"]').inner_text().strip(): row for row in rows.all()}

    def pixels(self, number: int = 0) -> NDArray[np.uint8]:
        """The image of a pane as it is drawn, [row, column, RGB], without the letters over it."""
        canvas = self.pane(number).locator("canvas").first
        return _decoded(base64.b64decode(canvas.evaluate("c => c.toDataURL('image/png')").split(",")[1]))

    def colour_pixels(self, rgb: RGB, number: int = 0) -> int:
        """How many pixels of a pane have this colour, as a segment's rim has."""
        near = np.abs(self.pixels(number).astype(int) - rgb).max(axis=2) <= 12
        return int(near.sum())

    def until(self, what: str, probe: Callable[[], object]) -> None:
        """Wait for it; the test fails where it does not come."""
        wait_for(what, probe, timeout_s=TIMEOUT_S, every_s=0.25)

    def picture(self, file: Path | None = None) -> NDArray[np.uint8]:
        """The whole page as a person sees it, without what opens under the mouse."""
        self.page.mouse.move(0, 0)
        return _decoded(self.page.screenshot(path=file, type="png"))


def _comes(probe: Callable[[], object]) -> bool:
    ends_at = time.monotonic() + AGAIN_S
    while time.monotonic() < ends_at:
        if probe():
            return True
        time.sleep(0.25)
    return False


def is_black(pixels: NDArray[np.uint8]) -> bool:
    """Nothing to see: hardly a pixel brighter than the background."""
    return float((pixels.max(axis=2) > 60).mean()) < 0.05


def _decoded(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
