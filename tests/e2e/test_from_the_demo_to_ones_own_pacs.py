"""The README's way from `make demo` to a PACS of one's own, step by step, as a new admin takes it: with nothing but the
pages and the two commands that stand there.

WALK_PICTURES names a folder for a picture of each step.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pydicom import dcmread

from tests.e2e.conftest import Demo
from tests.peers import CSPINE_NODE, DcmtkStorescp, stop, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

NAME = "ours"
ANALYSIS_MS = 400_000  # half a minute where nothing else runs
# The slices would be drawn in software; the pictures say enough here.
WITHOUT_WEBGL = "HTMLCanvasElement.prototype.getContext = () => null"


@pytest.fixture
def url(demo: Demo, tmp_path: Path) -> Iterator[str]:
    """Step 1: the node of the demo serves its pages, and says where."""
    assert demo.run.returncode == 0, demo.run.stderr
    log = tmp_path / "serve.log"
    with log.open("wb") as told:
        command = [CSPINE_NODE, "serve", "--config", str(demo.folder / "node.toml")]
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)
    try:
        found = wait_for(
            "the address of the pages", lambda: re.search(r"worklist: (http://\S+)/", log.read_text()), timeout_s=180.0
        )
        yield found[1]
    finally:
        stop(process, timeout_s=60.0)


def test_the_demos_results_and_images_reach_a_pacs_that_was_added_after_the_analysis(
    demo: Demo, url: str, dcmtk_pacs: DcmtkStorescp, browser: Browser
) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(WITHOUT_WEBGL)
    page.set_default_timeout(60_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    _log_in(page, url, demo.password)
    _remove_the_stand_in(page)
    _add_ones_own(page, dcmtk_pacs)
    _analyse_again(page)
    _keep(page, "delivered")
    assert Counter(dcmread(file, stop_before_pixels=True).Modality for file in dcmtk_pacs.files()) == _sent_by_the_demo(
        demo
    )
    _send_the_ct(demo, dcmtk_pacs)
    assert complaints == []


def _log_in(page: Page, url: str, password: str) -> None:
    page.goto(f"{url}/")
    page.get_by_label("Name").fill("demo")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Node worklist")).to_be_visible()
    _keep(page, "worklist")


def _remove_the_stand_in(page: Page) -> None:
    page.get_by_role("link", name="Peers").click()
    _keep(page, "peers")
    page.get_by_role("link", name="Remove pacs").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("No peer receives results")).to_be_visible()
    _keep(page, "removed")


def _add_ones_own(page: Page, pacs: DcmtkStorescp) -> None:
    page.get_by_role("link", name="Add a peer").click()
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_label("AE title", exact=True).fill(DcmtkStorescp.ae_title)
    page.get_by_label("Host", exact=True).fill("127.0.0.1")
    page.get_by_label("Port", exact=True).fill(str(pacs.port))
    page.get_by_label("Receives results").check()
    _keep(page, "form")
    page.get_by_role("button", name="Review and test").click()
    expect(page.get_by_text("The test passed.")).to_be_visible()
    _keep(page, "review")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_text("when the study is analysed again")).to_be_visible()
    _keep(page, "applied")


def _analyse_again(page: Page) -> None:
    """The page follows the study by itself until it is delivered, and has its images again then."""
    page.get_by_role("link", name="Worklist").click()
    page.locator(".worklist tbody a").click()
    expect(page.locator("#standing")).to_contain_text("stored at pacs")
    page.get_by_text("Analyse it again", exact=True).first.click()
    _keep(page, "study")
    page.get_by_role("button", name="Analyse it again", exact=True).click()
    expect(page.locator("#images")).to_have_count(0)
    _keep(page, "waits")
    expect(page.locator("#standing")).to_contain_text(f"stored at {NAME}", timeout=ANALYSIS_MS)
    expect(page.locator("#standing")).to_contain_text("delivered")
    expect(page.locator("#images #curve")).to_be_visible()
    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator("#record")).to_contain_text("SEG, SUSPICION_SEG, SR, TEXT_SR, SC (7)")


def _sent_by_the_demo(demo: Demo) -> Counter[str]:
    """The same kinds as the stand-in got."""
    return Counter(dcmread(file, stop_before_pixels=True).Modality for file in (demo.folder / "pacs").glob("*.dcm"))


def _send_the_ct(demo: Demo, pacs: DcmtkStorescp) -> None:
    folder = demo.folder / "dicom"
    command = [CSPINE_NODE, "send", str(folder), NAME, "--config", str(demo.folder / "node.toml")]
    sent = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert sent.returncode == 0, sent.stderr
    held = [dcmread(file, stop_before_pixels=True) for file in pacs.files()]
    images = [each for each in held if each.Modality == "CT"]
    assert len(images) == sum(file.is_file() for file in folder.rglob("*.dcm"))
    assert {each.StudyInstanceUID for each in held} == {images[0].StudyInstanceUID}, "all in one study"


def _keep(page: Page, name: str) -> None:
    folder = os.environ.get("WALK_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
