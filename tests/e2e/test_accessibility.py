"""Every page in Chromium, light and dark, wide and on a phone: nothing that axe-core finds against WCAG 2.1 A and AA,
nothing that runs out of a phone's screen, and a way through it with the keyboard alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from dicom_node.app.manage_peers import AddPeer, ChangePeer
from tests.builders.served_pages import POSITIVE, busy_node, served, served_as_it_is
from tests.peers import ROOT, missing, require
from tests.unit.app.node import Node
from tests.unit.web.peer_file import PeerFile
from tests.viewer.ohif import chromium

pytestmark = pytest.mark.slow

AXE = ROOT / "tests" / "viewer" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = (
    "/",
    f"/studies/{POSITIVE}",
    f"/studies/{POSITIVE}/verdict",
    "/studies/1.2.6",  # on its way: it renews itself
    "/deliveries",
    "/quarantine",
    "/quarantine/1",
    "/quarantine/1/release",
    "/quarantine/1/discard",
    "/quarantine/2",
    "/quarantine/2/release",
    "/quality",
    "/peers",
    "/peers/new",
    "/peers/edit?name=pacs",
    "/peers/remove?name=ct1",
    "/peers/peer?name=pacs",
    "/peers/history",
    "/peers/version?id={version}",
    "/system",
    "/system/configuration",
    "/accounts",
    "/account",
    "/no/such/page",
    "/studies/9.9",
)
NOT_200 = {"/no/such/page": 404, "/studies/9.9": 404, "/quarantine/2/release": 409}
ADDED = {"name": "archive", "ae_title": "ARCHIVE", "host": "10.0.0.7", "port": 104, "receives_results": True}
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
_RUN = """async () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  const wanted = {runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}};
  const found = await axe.run(document, wanted);
  return found.violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html} ${node.failureSummary}`));
}"""


@dataclass(frozen=True)
class Stand:
    browser: Browser
    url: str
    secret: str
    file: PeerFile
    version: str

    @property
    def paths(self) -> tuple[str, ...]:
        """Every page; `version` is one of the configuration file."""
        return tuple(path.format(version=self.version) for path in PAGES)

    @contextmanager
    def page(self, scheme: Literal["light", "dark"], size: dict[str, int], *, logged_in: bool = True) -> Iterator[Page]:
        context = self.browser.new_context(color_scheme=scheme, viewport=size)  # type: ignore[arg-type]
        if logged_in:
            context.add_cookies([{"name": "cspine_session", "value": self.secret, "url": self.url}])
        try:
            yield context.new_page()
        finally:
            context.close()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    program = require("chromium", "chromium")
    if not AXE.is_file():
        missing(str(AXE.relative_to(ROOT)), "npm, then `make test`, which installs axe-core there")
    with ExitStack() as closing:
        root = tmp_path_factory.mktemp("pages")
        file = PeerFile(root, node=busy_node(root))
        file.manage.apply(AddPeer(values=ADDED), who="ann", address="::1", token=None)
        (version, *_) = file.manage.book.history()
        url, secret = closing.enter_context(served(file.node, **file.sources))
        yield Stand(closing.enter_context(chromium(program)), url, secret, file, version.id)


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(_RUN)
    return found


def fits(page: Page) -> bool:
    """Whether nothing makes the page itself scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def checked(stand: Stand, scheme: Literal["light", "dark"], path: str, **rules: Any) -> list[str]:
    with stand.page(scheme, WIDE, **rules) as page:
        answer = page.goto(stand.url + path)
        assert answer is not None
        assert answer.status == NOT_200.get(path, 200), path
        return violations(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag_on_any_page(stand: Stand, scheme: Literal["light", "dark"]) -> None:
    found = {path: checked(stand, scheme, path) for path in stand.paths}
    found |= {path: checked(stand, scheme, path, logged_in=False) for path in ("/login",)}
    assert {path: problems for path, problems in found.items() if problems} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("port", "says"), [("104", "The test passed."), ("105", "The test failed.")])
def test_axe_finds_nothing_on_the_review_of_a_peer_either(
    stand: Stand, scheme: Literal["light", "dark"], port: str, says: str
) -> None:
    """Pages that come of a form: what is wrong in it, and what it would change."""
    with stand.page(scheme, WIDE) as page:
        page.goto(f"{stand.url}/peers/new")
        page.get_by_label("Name", exact=True).fill("ward")
        page.get_by_label("AE title", exact=True).fill("WARD")
        page.get_by_label("Host", exact=True).fill("10.0.0.9")
        page.get_by_label("Port", exact=True).fill("70000")
        page.get_by_label("Receives results").check()
        page.get_by_role("button", name="Review and test").click()
        page.locator(".wrong").first.wait_for()
        assert violations(page) == []
        page.get_by_label("Port", exact=True).fill(port)
        page.get_by_role("button", name="Review and test").click()
        page.get_by_text(says).wait_for()
        assert violations(page) == []


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_two_admins_are_in_conflict(
    stand: Stand, scheme: Literal["light", "dark"], size: dict[str, int]
) -> None:
    with stand.page(scheme, size) as page:
        page.goto(f"{stand.url}/peers/edit?name=archive")
        page.get_by_label("Port", exact=True).fill("104")
        page.get_by_label("May send images").check()
        page.get_by_role("button", name="Review and test").click()
        page.get_by_text("What changes in the file").wait_for()
        other = ChangePeer(name="archive", changes={"host": f"{scheme}-{size['width']}.example"})
        stand.file.manage.apply(other, who="ben", address="::1", token=None)
        page.get_by_role("button", name="Apply", exact=True).click()
        page.get_by_role("heading", name="Somebody changed the peers meanwhile").wait_for()
        assert violations(page) == []
        assert fits(page)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_first_admins_page(
    stand: Stand, tmp_path: Path, scheme: Literal["light", "dark"], size: dict[str, int]
) -> None:
    """The page behind the link that the node prints while it has no account, and what it says of a mistake."""
    with served_as_it_is(Node(tmp_path)) as url, stand.page(scheme, size, logged_in=False) as page:
        page.goto(f"{url}/setup?code=as-it-was-printed")
        assert violations(page) == []
        assert fits(page)
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password, ").fill("a password for tests")
        page.get_by_label("The same password again").fill("another one for tests")
        page.get_by_role("button", name="Make the account").click()
        page.get_by_role("alert").wait_for()
        assert violations(page) == []
        assert fits(page)


def test_quarantine_is_decided_about_with_the_keyboard_alone_and_without_scripts(stand: Stand) -> None:
    context = stand.browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "cspine_session", "value": stand.secret, "url": stand.url}])
    try:
        page = context.new_page()
        page.goto(f"{stand.url}/quarantine/2")
        page.get_by_role("button", name="Remove it …").press("Enter")
        page.get_by_label("Why, for the history").press_sequentially("noise")
        page.keyboard.press("Enter")
        page.wait_for_url("**/quarantine/2")
        assert page.get_by_text("by admin: noise").first.is_visible()
    finally:
        context.close()


def test_no_page_runs_out_of_a_phones_screen(stand: Stand) -> None:
    too_wide = {}
    with stand.page("light", PHONE) as page:
        for path in stand.paths:
            page.goto(stand.url + path)
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                too_wide[path] = width
    assert too_wide == {}


def test_the_keyboard_alone_leads_past_the_menu_and_shows_where_it_is(stand: Stand) -> None:
    with stand.page("light", WIDE) as page:
        page.goto(f"{stand.url}/deliveries")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        assert page.evaluate("document.getElementById('main').contains(document.activeElement)")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_a_verdict_is_given_with_the_keyboard_alone(stand: Stand) -> None:
    with stand.page("light", WIDE) as page:
        page.goto(f"{stand.url}/studies/1.2.3/verdict")
        page.locator("input[value=agree]").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        page.wait_for_url("**/studies/1.2.3*")
        assert page.get_by_text("Agrees").first.is_visible()


def test_the_pages_are_complete_without_scripts(stand: Stand) -> None:
    context = stand.browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "cspine_session", "value": stand.secret, "url": stand.url}])
    try:
        page = context.new_page()
        page.goto(f"{stand.url}/deliveries")
        page.get_by_label("State", exact=True).select_option("FAILED")
        page.get_by_role("button", name="Show").click()
        assert page.locator("tbody tr").filter(has_text="0xA900").count() >= 1
    finally:
        context.close()
