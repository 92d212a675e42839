"""Every page in Chromium, light and dark, wide and on a phone: nothing that axe-core finds against WCAG 2.1 A and AA,
nothing that runs out of a phone's screen, and a way through it with the keyboard alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from tests.builders.served_pages import POSITIVE, busy_node, served
from tests.peers import ROOT, missing, require
from tests.viewer.ohif import chromium

pytestmark = pytest.mark.slow

AXE = ROOT / "tests" / "viewer" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = (
    "/",
    f"/studies/{POSITIVE}",
    f"/studies/{POSITIVE}/verdict",
    "/deliveries",
    "/quarantine",
    "/quality",
    "/peers",
    "/system",
    "/system/configuration",
    "/accounts",
    "/account",
    "/no/such/page",
    "/studies/9.9",
)
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
        node = busy_node(tmp_path_factory.mktemp("pages"))
        url, secret = closing.enter_context(served(node))
        yield Stand(closing.enter_context(chromium(program)), url, secret)


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(_RUN)
    return found


def checked(stand: Stand, scheme: Literal["light", "dark"], path: str, **rules: Any) -> list[str]:
    with stand.page(scheme, WIDE, **rules) as page:
        page.goto(stand.url + path)
        return violations(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag_on_any_page(stand: Stand, scheme: Literal["light", "dark"]) -> None:
    found = {path: checked(stand, scheme, path) for path in PAGES}
    found |= {path: checked(stand, scheme, path, logged_in=False) for path in ("/login",)}
    assert {path: problems for path, problems in found.items() if problems} == {}


def test_no_page_runs_out_of_a_phones_screen(stand: Stand) -> None:
    too_wide = {}
    with stand.page("light", PHONE) as page:
        for path in PAGES:
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
