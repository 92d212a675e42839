"""The pages in four languages: which one, complete catalogues, and no word that nobody translated."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from string import Formatter
from typing import Any

import polib
import pytest
from fastapi.testclient import TestClient
from markupsafe import Markup, escape

from config.peer_fields import peer_fields
from dicom_node import web as web_package
from dicom_node.core.account import Role
from dicom_node.core.languages import LANGUAGES, SOURCE_LANGUAGE
from dicom_node.core.selection import SelectionRules, ranked_lower, reject
from dicom_node.web import language
from dicom_node.web.auth.browser import csrf_token
from dicom_node.web.peer_forms import label_of
from dicom_node.web.sentences import SENTENCES
from dicom_node.web.shown import picture_title
from tests.unit.app.node import T0, Node
from tests.unit.core.builders import thin_axial
from tests.unit.web.builders import web
from tests.unit.web.peer_file import PeerFile

FOLDER = Path(web_package.__path__[0])
TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))
TRANSLATED = [each for each in LANGUAGES if each != SOURCE_LANGUAGE]
# Said alike everywhere.
NAMES = {"cspine-node", "PSI", "TLS", "SHA-256", "SOP Class UID", "SOP Instance UID", "Transfer Syntax UID"}
_CALL = re.compile(r'\b_\("((?:[^"\\]|\\.)*)"')
_NAV = re.compile(r"\{% block nav %\}\w+\{% endblock %\}")  # which page it is, never shown
_JINJA = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_SAID = re.compile(r'\s(?:aria-label|title|alt|placeholder|data-busy)="([^"]*)"')


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    language.speak(SOURCE_LANGUAGE)
    yield
    language.speak(SOURCE_LANGUAGE)


def sentences_of_the_code() -> set[str]:
    calls = [
        call
        for module in FOLDER.rglob("*.py")
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("say", "N_")
    ]
    literal = {call.args[0].value for call in calls if call.args and isinstance(call.args[0], ast.Constant)}
    return literal | {text for page in TEMPLATES for text in _CALL.findall(page.read_text(encoding="utf-8"))}


def values(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_sentence_is_translated_and_none_is_left_over(name: str) -> None:
    catalogue = polib.pofile(str(language.LOCALE / f"{name}.po"))
    assert {entry.msgid for entry in catalogue} == sentences_of_the_code()
    assert [entry.msgid for entry in catalogue if not entry.msgstr or entry.fuzzy] == []
    assert catalogue.metadata["Language"] == name


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_holds_the_same_values_and_ends_as_its_sentence_does(name: str) -> None:
    for entry in polib.pofile(str(language.LOCALE / f"{name}.po")):
        assert values(entry.msgstr) == values(entry.msgid), entry.msgid
        assert entry.msgstr.endswith(".") == entry.msgid.endswith("."), entry.msgid


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda page: page.name)
def test_a_template_has_no_word_that_is_in_no_catalogue(template: Path) -> None:
    text = _JINJA.sub(" ", _NAV.sub("", template.read_text(encoding="utf-8")))
    spoken = [*_SAID.findall(text), *re.sub(r"<[^>]*>", "\n", text).split("\n")]
    spoken = [part.strip() for part in spoken if not part.strip().startswith("/")]  # an address
    words = {part for part in spoken if re.search(r"[A-Za-z]{2}", re.sub(r"&\w+;", "", part))}
    assert words - NAMES == set()


def test_there_are_names_and_catalogues_for_each_language() -> None:
    assert tuple(language.NAMES) == LANGUAGES
    assert {file.stem for file in language.LOCALE.glob("*.po")} == set(TRANSLATED)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "en"),
        ("de", "de"),
        ("fr-CH, fr;q=0.9, en;q=0.8", "fr"),
        ("en;q=0.1, es-419;q=0.9", "es"),
        ("it, de;q=0.5", "de"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("ja, zh", "en"),
        ("de;q=later, ;;;,,", "de"),
        ("x" * 5000 + ",de", "de"),
    ],
)
def test_the_browser_says_which_language_it_wants(node: Node, header: str, expected: str) -> None:
    page = web(node, None).get("/login", headers={"Accept-Language": header}).text
    assert f'<html lang="{expected}">' in page


def test_the_cookie_counts_more_than_the_browser_and_the_account_more_than_the_cookie(node: Node) -> None:
    browser = web(node, Role.VIEWER)
    browser.headers["Accept-Language"] = "fr"
    assert '<html lang="fr">' in browser.get("/quality").text
    browser.cookies.set(language.COOKIE, "es")
    assert '<html lang="es">' in browser.get("/quality").text
    answer = choose(browser, "de")
    assert (answer.status_code, answer.headers["location"]) == (303, "/quality")
    browser.cookies.delete(language.COOKIE)
    page = browser.get("/quality").text
    assert '<html lang="de">' in page
    assert "Übereinstimmung mit Befundenden" in page
    assert choose(browser, "xx").status_code == 422


def choose(browser: TestClient, wanted: str) -> Any:
    token = csrf_token(browser.cookies["cspine_session"])
    form = {"csrf_token": token, "language": wanted, "back": "/quality"}
    return browser.post("/account/language", data=form, follow_redirects=False)


def test_before_the_log_in_the_choice_is_a_cookie(node: Node) -> None:
    browser = web(node, None)
    answer = browser.get("/language/de", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "Anmelden" in browser.get("/login").text
    assert "HttpOnly" in answer.headers["set-cookie"]
    browser.get("/language/xx", follow_redirects=False)
    assert '<html lang="en">' in browser.get("/login").text


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_page_is_made_in_every_language(node: Node, name: str) -> None:
    node.receive_study()
    node.settle(turns=3)
    browser = web(node, Role.ADMIN)
    browser.cookies.set(language.COOKIE, name)
    for path in (
        "/",
        "/?q=nobody",
        "/studies/1.2.3",
        "/peers",
        "/deliveries",
        "/quarantine",
        "/quality",
        "/system",
        "/accounts",
        "/account",
        "/studies/1.2.3/verdict",
    ):
        answer = browser.get(path)
        assert (answer.status_code, f'<html lang="{name}">' in answer.text) == (200, True), path


def test_moments_numbers_and_spans_are_written_as_in_the_language() -> None:
    assert (language.when(T0), language.number(0.5, 2), language.percent(0.125, 1)) == (
        "2026-03-01 12:00:00 UTC",
        "0.50",
        "12.5 %",
    )
    language.speak("de")
    assert (language.when(T0), language.day(T0), language.number(0.5, 2)) == (
        "01.03.2026 12:00:00 UTC",
        "01.03.2026",
        "0,50",
    )
    assert language.ago(T0 - timedelta(days=2), T0) == "vor 2 T"
    language.speak("fr")
    assert language.ago(T0 + timedelta(hours=3), T0) == "dans 3 h"
    assert language.size(1_500_000) == "1,5 MB"


def test_what_another_part_says_is_known_by_its_form_with_what_stands_inside() -> None:
    english = "to pacs: attempt 7 failed, still trying: something new"
    assert language.said(english) == english
    language.speak("de")
    assert language.said(english) == "an pacs: Versuch 7 gescheitert, es wird weiter versucht: something new"
    assert language.said("viewer") == "Ansicht"
    assert language.said("something new") == "something new"
    assert language.said("waits for pacs, which could not be reached: (.*)+$ {x}").startswith("wartet auf pacs")


@pytest.mark.parametrize(
    ("english", "german"),
    [
        (
            "PeerUnreachable: peer 'pacs' (PACS at ::1:104) does not take a TCP connection; gave up after 4 attempts",
            "Empfänger nicht erreichbar: Gegenstelle &#39;pacs&#39; (PACS at ::1:104) nimmt keine TCP-Verbindung an;"
            " aufgegeben nach 4 Versuchen",
        ),
        (
            "to pacs: PeerRefused: pacs: SEG was answered 0xA700, SR was not answered",
            "an pacs: Empfänger lehnt ab: pacs: auf SEG kam 0xA700, auf SR kam keine Antwort",
        ),
        (
            "to pacs: PeerBusy: the webhook answered 503; to ward: PeerRefused: peer ward is no longer configured",
            "an pacs: Empfänger beschäftigt: der Webhook antwortete 503; an ward: Empfänger lehnt ab: Gegenstelle ward"
            " ist nicht mehr konfiguriert",
        ),
        (
            "PeerRefused: peer 'pacs' (PACS at ::1:104) answered 0xA700 'Disk <full>' for 1.2.3",
            "Empfänger lehnt ab: Gegenstelle &#39;pacs&#39; (PACS at ::1:104) antwortete 0xA700"
            ' <span lang="en">&#39;Disk &lt;full&gt;&#39;</span> auf 1.2.3',
        ),
        (
            "Comprehensive SR instead of Comprehensive 3D SR: the peer accepts no presentation context for it",
            '<span lang="en">Comprehensive SR</span> statt <span lang="en">Comprehensive 3D SR</span>: die Gegenstelle'
            " nimmt dafür keinen Presentation Context an",
        ),
        (
            "2 duplicate slices with identical pixels dropped",
            "2 doppelte Schichten mit gleichen Pixeln weggelassen",
        ),
        ("Not assessed: C6, C7.", "Nicht beurteilt: C6, C7."),
        ("a localizer of 1 image", "eine Übersichtsaufnahme mit 1 Bild"),
        (
            "sagittal: the slice normal is 90 degrees off the head-foot axis, at most 30 are read",
            "sagittal: Die Schichtnormale weicht um 90 Grad von der kraniokaudalen Achse ab, gelesen werden"
            " höchstens 30",
        ),
        (
            "soft kernel B30f, 0.75 mm slices, 210 mm coverage; the chosen series has bone kernel B60s, unknown"
            " thickness, 210 mm coverage",
            "Weichteilkernel B30f, Schichten von 0.75 mm, Abdeckung 210 mm; die gewählte Serie hat Knochenkernel B60s,"
            " Schichtdicke unbekannt, Abdeckung 210 mm",
        ),
        ("Kein Platz, <Sir>", '<span lang="en">Kein Platz, &lt;Sir&gt;</span>'),
        ("0xA900", "0xA900"),
    ],
)
def test_a_failure_is_told_in_the_readers_language_and_what_a_receiver_said_is_marked(
    english: str, german: str
) -> None:
    assert language.told(english) == escape(english)
    language.speak("de")
    assert language.told(english) == german


def reasons_to_leave_a_series_out() -> list[str]:
    facts: tuple[dict[str, Any], ...] = (
        {"is_ct": False, "modality": "MR"},
        {"is_ct": False, "modality": ""},
        {"is_localizer": True, "image_count": 1},
        {"is_localizer": True, "image_count": 2},
        {"is_secondary": True},
        {"is_secondary": True, "secondary_reason": "a Secondary Capture"},
        {"is_secondary": True, "secondary_reason": "Image Type 1/2"},
        {"image_count": 19},
        {"coverage_mm": 25.0},
        *({"angle_deg": 90.0, "orientation": name} for name in ("sagittal", "coronal", "oblique", "mixed", "")),
        {"slice_thickness_mm": 5.0},
        {"slice_thickness_mm": None, "spacing_mm": 5.0},
        {"largest_gap_mm": 12.0},
        {"duplicate_count": 150},
        {"geometry_problem": "7 slices at different positions, expected 8"},
        *({"angle_deg": None} | more for more in ({}, {"spacing_mm": None})),
        {"spacing_mm": None},
    )
    found = [reject(thin_axial(**each), SelectionRules()) for each in facts]
    lower = [
        thin_axial(is_bone_kernel=is_bone, kernel=kernel, coverage_mm=cover, slice_thickness_mm=thick, spacing_mm=thick)
        for is_bone in (True, False, None)
        for kernel in ("", "Br60")
        for cover in (None, 100.0)
        for thick in (None, 0.6)
    ]
    found += [ranked_lower(each, each) for each in lower]
    assert None not in found, "each of them is left out"
    return [each.detail for each in found if each is not None]


@pytest.mark.parametrize("name", TRANSLATED)
def test_why_a_series_was_left_out_is_told_in_the_readers_language(name: str) -> None:
    reasons = reasons_to_leave_a_series_out()
    language.speak(name)
    assert [reason for reason in reasons if 'lang="en"' in language.told(reason)] == []
    assert [reason for reason in reasons if language.told(reason) == escape(reason)] == ["Image Type 1/2"]


@pytest.mark.parametrize("speak", [language.said, language.told])
def test_sentences_inside_sentences_end_somewhere_and_a_long_text_is_nobodys_form(speak: Callable[[str], str]) -> None:
    language.speak("de")
    assert speak("x" + "; to a: x" * 200).count("an a") < 20
    assert "an a" not in speak("x" + "; to a: x" * 300)


def test_each_known_sentence_is_recognised_as_itself_and_not_as_another() -> None:
    language.speak("es")
    for sentence in SENTENCES:
        text = sentence.format(**{name: f"<{name}>" for name in values(sentence)})
        expected = language.say(sentence, **{name: f"<{name}>" for name in values(sentence)})
        assert language.said(text) == expected, sentence


def test_markup_inside_a_sentence_stays_and_everything_else_is_escaped() -> None:
    shown = language.say("there is an account {name} already", name=Markup("<b>x</b>"))
    assert shown == "there is an account <b>x</b> already"
    both = language.say("by {name}", name=language.code("<script>"))
    assert both == 'by <code translate="no">&lt;script&gt;</code>'


def test_the_worklist_says_where_a_study_stands_in_the_language_of_who_looks(node: Node) -> None:
    node.receive_study()
    browser = web(node, Role.VIEWER)
    browser.cookies.set(language.COOKIE, "de")
    page = browser.get("/").text
    assert "wird empfangen" in page
    assert 'data-label="Letztes Bild"' in page
    assert "instances so far" not in page
    assert "Keine Untersuchung passt dazu." in browser.get("/?q=nobody&part=rows").text


def test_the_study_page_tells_its_history_in_the_language_of_who_looks(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    browser = web(node, Role.VIEWER)
    browser.cookies.set(language.COOKIE, "fr")
    page = browser.get("/studies/1.2.3").text
    assert "délai sans image écoulé: en réception → clos" in page
    assert re.search(
        r"aucune image pendant \d+ s après la dernière de \d+ instances et aucune association ouverte", page
    )
    assert "quiet elapsed" not in page
    assert "RECEIVING" not in page


def test_pictures_are_called_after_what_they_show() -> None:
    titles = [picture_title(stem) for stem in ("sagittal", "key_C2", "key_C2_sagittal", "drawn-by_hand")]
    assert titles == ["The neck from the side", "C2: key slice", "C2: key slice, sagittal", "drawn by hand"]


def test_every_key_of_a_peer_has_its_label_and_its_meaning_in_the_catalogues() -> None:
    said = {text for field in peer_fields() for text in (field.group, label_of(field.name), field.meaning)}
    assert said - set(SENTENCES) == set()


def test_the_form_of_a_peer_and_its_errors_are_in_the_language_of_who_looks(tmp_path: Path) -> None:
    admin = PeerFile(tmp_path).browser()
    admin.client.cookies.set(language.COOKIE, "de")
    page = admin.client.get("/peers/edit?name=pacs").text
    assert "Was sie bekommt" in page
    assert "Ihr TCP-Port für C-ECHO und C-STORE." in page
    assert "Who it is" not in page
    assert "keine Gegenstelle heißt" in admin.client.get("/peers/edit?name=nobody").text


def test_a_peer_keeps_its_name_also_where_the_name_is_a_word_of_ours() -> None:
    language.speak("de")
    assert language.said("stored at viewer") == "gespeichert bei viewer"
    assert language.said("failed: removed (FAILED at 10.0.0.1:104)") == "failed: entfernt (FAILED at 10.0.0.1:104)"


def test_a_moment_that_was_written_down_is_shown_as_any_other() -> None:
    language.speak("de")
    assert language.written_when("2026-03-01T12:00:00+00:00") == "01.03.2026 12:00:00 UTC"
    assert language.written_when("yesterday") == "yesterday"
