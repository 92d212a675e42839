"""AE-title administration as an administrator does it: in a browser, beside a running node and a PACS of DCMTK.

PEERS_PICTURES names a folder for pictures of the pages; docs/images has a set of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.builders.ct import make_ct_series
from tests.peers import DcmtkStorescp, NodeProcess, free_port, storescu, wait_for

pytestmark = pytest.mark.slow

PASSWORD = "a password for tests"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1200, "height": 900}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    ruled_out = {"study": {"quiet_period_s": 600.0}, "inference": {"device": "cpu"}}
    process = NodeProcess(folder=tmp_path / "node", peers=[], settings=ruled_out, ready_within_s=180.0).start()
    yield process
    process.stop()


def test_an_administrator_adds_mends_uses_and_undoes_a_peer(
    node: NodeProcess, dcmtk_pacs: DcmtkStorescp, browser: Browser, tmp_path: Path
) -> None:
    complaints: list[str] = []
    page = browser.new_context(viewport=DESK).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(60_000)
    page.on("console", lambda message: complaints.append(message.text))
    before = node.config.read_text()
    _first_log_in(page, node)
    _add_with_a_wrong_port(page, node, dcmtk_pacs)
    _mend_it(page, dcmtk_pacs)
    assert page.url.startswith(f"{node.url}/peers/peer?name=ward")
    expect(page.get_by_text("Done. The change is in use with the next association.")).to_be_visible()
    _keep(page, "peer")
    _receive_from_it(node, tmp_path)
    page.goto(f"{node.url}/peers")
    _keep(page, "list")
    _roll_back(page, node)
    assert node.config.read_text() == before
    assert [entry["name"] for entry in node.json("/api/v1/peers")["peers"]] == []
    assert complaints == []
    trail = (node.folder / "var" / "audit" / "audit.log").read_text()
    for action in ("add ward", "rollback "):
        (line,) = [line for line in trail.splitlines() if f"<EventOutcomeDescription>{action}" in line]
        assert 'UserID="ann"' in line


def test_without_scripts_and_on_a_phone_a_peer_is_added_all_the_same(
    node: NodeProcess, dcmtk_pacs: DcmtkStorescp, browser: Browser
) -> None:
    context = browser.new_context(viewport=PHONE, java_script_enabled=False, color_scheme="dark")  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(60_000)
    _first_log_in(page, node)
    page.goto(f"{node.url}/peers/new")
    assert _fits(page)
    _fill(page, dcmtk_pacs.port)
    page.get_by_role("button", name="Review and test").click()
    expect(page.get_by_text("The test passed.")).to_be_visible()
    assert _fits(page)
    _keep(page, "review-phone-dark")
    page.get_by_role("button", name="Apply", exact=True).click()
    page.goto(f"{node.url}/peers")
    expect(page.get_by_role("link", name="ward", exact=True)).to_be_visible()
    assert _fits(page)
    _keep(page, "list-phone-dark")


def _first_log_in(page: Page, node: NodeProcess) -> None:
    link = wait_for("the link", lambda: re.search(rf"{re.escape(node.url)}/setup\?code=\S+", node.log()))
    page.goto(link[0])
    page.get_by_label("Name").fill("ann")
    page.get_by_label(re.compile("^Password")).fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    page.wait_for_url(f"{node.url}/")
    expect(page.get_by_text("admin", exact=True)).to_be_visible()


def _fill(page: Page, port: int) -> None:
    page.get_by_label("Name", exact=True).fill("ward")
    page.get_by_label("AE title", exact=True).fill(DcmtkStorescp.ae_title)
    page.get_by_label("Host", exact=True).fill("127.0.0.1")
    page.get_by_label("Port", exact=True).fill(str(port))
    page.get_by_label("May send images").check()
    page.get_by_label("Receives results").check()


def _add_with_a_wrong_port(page: Page, node: NodeProcess, pacs: DcmtkStorescp) -> None:
    page.get_by_role("link", name="Peers").click()
    page.get_by_role("link", name="Add a peer").click()
    _fill(page, free_port())
    _keep(page, "form")
    page.get_by_role("button", name="Review and test").click()
    expect(page.get_by_text("The test failed.")).to_be_visible()
    expect(page.get_by_text("connection refused").first).to_be_visible()
    assert "[[peers]]" not in node.config.read_text(), "nothing is written before it is applied"
    _keep(page, "refused")
    page.get_by_role("button", name="Back to the form").click()
    page.get_by_label("Port", exact=True).fill(str(pacs.port))


def _mend_it(page: Page, pacs: DcmtkStorescp) -> None:
    page.get_by_role("button", name="Review and test").click()
    expect(page.get_by_text("The test passed.")).to_be_visible()
    row = page.get_by_role("row", name=re.compile("^Segmentation Storage"))
    assert row.get_by_text("accepted", exact=True).count() == 2, row.text_content()
    expect(page.get_by_text(f"+port = {pacs.port}")).to_be_visible()
    _keep(page, "review")
    page.get_by_role("button", name="Apply", exact=True).click()
    page.wait_for_url(re.compile("/peers/peer"))


def _receive_from_it(node: NodeProcess, tmp_path: Path) -> None:
    files = make_ct_series(tmp_path / "ct", n=3)
    sent = storescu(node.port, files, called=node.ae_title, calling=DcmtkStorescp.ae_title)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    (study,) = wait_for("the study", lambda: node.json("/api/v1/studies"))
    assert study["instance_count"] == 3


def _roll_back(page: Page, node: NodeProcess) -> None:
    page.get_by_role("link", name="History").click()
    _keep(page, "history")
    page.get_by_role("link", name="add ward").click()
    expect(page.get_by_role("heading", name="What it did")).to_be_visible()
    _keep(page, "version")
    page.get_by_role("button", name="Go back to this").click()
    page.wait_for_url(re.compile(r"/peers\?done="))
    expect(page.get_by_text("No peers yet")).to_be_visible()


def _fits(page: Page) -> bool:
    """Whether nothing makes the page itself scroll sideways."""
    return bool(page.locator("html").evaluate("html => html.scrollWidth <= html.clientWidth"))


def _keep(page: Page, name: str) -> None:
    folder = os.environ.get("PEERS_PICTURES")
    if not folder:
        return
    page.screenshot(path=Path(folder) / f"peers-{name}.png", full_page=True)
    if "phone" in name:
        return
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=Path(folder) / f"peers-{name}-dark.png", full_page=True)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.screenshot(path=Path(folder) / f"peers-{name}-390.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
