"""What an administrator does on the peers' pages: every step, every refusal, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.editing import list_peers
from dicom_node.app.manage_peers import RemovePeer
from dicom_node.core.account import Role
from dicom_node.core.audit import Code
from tests.unit.config.builders import TWO_PEERS
from tests.unit.web.builders import web
from tests.unit.web.peer_file import PeerFile

NEW = {"name": "view", "ae_title": " VIEWER ", "host": "10.0.0.3", "receives_results": "on", "step": "review"}


@pytest.fixture
def file(tmp_path: Path) -> PeerFile:
    return PeerFile(tmp_path)


def test_a_peer_is_added_after_a_test_that_failed_was_mended_and_is_in_use_at_once(file: PeerFile) -> None:
    admin = file.browser()
    admin.open("/peers/new")
    admin.send("/peers/new", **NEW, port="4006")
    assert "connection refused. nobody is at home" in admin.page
    assert "Check the port." in admin.page
    assert "Apply all the same" in admin.page
    admin.send("/peers/new", step="form")
    assert 'value="4006"' in admin.page
    admin.send("/peers/new", step="review", port="104")
    assert "C-ECHO:</b> answered in 12 ms" in admin.page
    assert "Segmentation Storage" in admin.page
    assert '<span class="mark yes">accepted</span>' in admin.page
    assert "In the place of <code translate='no'>SR</code> it would get" in admin.page.replace('"', "'")
    assert "+ae_title = &#34;VIEWER&#34;" in admin.page
    assert file.file.read_text() == TWO_PEERS, "nothing is written before it is applied"
    answer = admin.send("/peers/new", step="apply")
    assert answer.status_code == 303
    assert file.peers.by_name("view") is not None
    admin.open(answer.headers["location"])
    assert "Done. The change is in use with the next association." in admin.page
    assert [peer.name for peer in list_peers(file.file)] == ["pacs", "ct1", "view"]


def test_an_edit_writes_what_was_touched_and_keeps_every_other_line(file: PeerFile) -> None:
    admin = file.browser()
    admin.open("/peers/edit?name=pacs")
    assert 'value="10.0.0.1"' in admin.page
    admin.send("/peers/edit", step="review", host="10.0.0.9")
    admin.send("/peers/edit", step="apply")
    assert file.file.read_text() == TWO_PEERS.replace("10.0.0.1", "10.0.0.9")


@pytest.mark.parametrize(
    ("wrong", "key", "why"),
    [
        ({"ae_title": "A" * 17}, "ae_title", "1 to 16 characters, this one has 17"),
        ({"ae_title": "A\\B"}, "ae_title", "without backslash"),
        ({"ae_title": "A\tB"}, "ae_title", "without backslash"),
        ({"port": "many"}, "port", "is a whole number"),
        ({"port": "70000"}, "port", "less than or equal to 65535"),
        ({"host": "a b"}, "host", "without spaces"),
        ({"addresses": "10.0.0.1/8"}, "addresses", "host bits set"),
        ({"name": "ct1"}, "name", "the name is taken"),
        ({"tls_server_name": "pacs"}, "tls_server_name", "means nothing without tls = true"),
    ],
)
def test_a_wrong_value_is_shown_at_its_key_with_what_was_typed(
    file: PeerFile, wrong: dict[str, str], key: str, why: str
) -> None:
    admin = file.browser()
    admin.open("/peers/edit?name=pacs")
    answer = admin.send("/peers/edit", step="review", **wrong)
    assert answer.status_code == 422
    assert why in admin.page
    assert 'role="alert"' in admin.page
    at_key = admin.page.partition(f'id="{key}"')[2].partition("</div>")[0]
    assert 'class="wrong"' in at_key
    assert file.file.read_text() == TWO_PEERS


def test_the_second_of_two_sees_the_first_one_s_change_before_overwriting(file: PeerFile) -> None:
    ann, ben = file.browser(), file.browser()
    ann.open("/peers/edit?name=pacs")
    ben.open("/peers/edit?name=pacs")
    ann.send("/peers/edit", step="apply", port="105")
    answer = ben.send("/peers/edit", step="apply", host="10.0.0.9")
    assert answer.status_code == 409
    assert "+port = 105" in ben.page
    assert "+host = &#34;10.0.0.9&#34;" in ben.page
    assert list_peers(file.file)[0].host == "10.0.0.1"
    assert ben.send("/peers/edit", step="apply").status_code == 303
    pacs = list_peers(file.file)[0]
    assert (pacs.host, pacs.port) == ("10.0.0.9", 105), "what ben did not touch stays as ann left it"


def test_an_edit_of_a_peer_that_somebody_removed_meanwhile_is_refused(file: PeerFile) -> None:
    ann, ben = file.browser(), file.browser()
    ann.open("/peers/remove?name=ct1")
    ben.open("/peers/edit?name=ct1")
    assert ann.send("/peers/remove").status_code == 303
    answer = ben.send("/peers/edit", step="review", port="5")
    assert answer.status_code == 409
    assert "It does not fit any more" in ben.page


def test_a_removal_is_shown_first_and_undone_from_the_history(file: PeerFile) -> None:
    admin = file.browser()
    admin.open("/peers/remove?name=pacs")
    assert "ask Anna before touching" in admin.page
    admin.send("/peers/remove")
    assert file.peers.by_name("pacs") is None
    admin.open("/peers/history")
    assert "remove pacs" in admin.page
    assert "<b>admin</b>" in admin.page
    (version,) = file.editor.history()
    admin.open(f"/peers/version?id={version.id}")
    assert admin.page.count("ask Anna before touching") == 2, "what it did, and what going back does"
    assert "Version 1.2.3" in admin.page
    admin.send("/peers/restore")
    assert file.file.read_text() == TWO_PEERS


def test_a_broken_hand_edit_stays_out_of_use_and_the_page_says_where_and_brings_back_what_was_right(
    file: PeerFile,
) -> None:
    file.file.write_text(TWO_PEERS.replace('"CT1"', '"' + "C" * 17 + '"'))
    admin = file.browser()
    admin.open("/peers")
    assert "has a mistake and is not in use" in admin.page
    assert "node.toml:17" in admin.page
    assert "CT1</code>" in admin.page
    admin.open("/peers/version?id=last-good")
    admin.send("/peers/restore")
    assert file.file.read_text() == TWO_PEERS
    assert "has a mistake" not in admin.open("/peers")


def test_each_change_is_in_the_audit_trail_once_with_who_made_it_whoever_wrote_it(file: PeerFile) -> None:
    admin = file.browser()
    admin.open("/peers/edit?name=pacs")
    admin.send("/peers/edit", step="apply", port="105")
    file.file.write_text(file.file.read_text().replace("ct1", "ct10"))
    file.peers.peers()
    page, hand = file.events
    assert {event.event_type for event in (page, hand)} == {Code.NETWORK_CONFIGURATION}
    assert (page.participants[1].user_id, page.participants[1].address) == ("admin", "testclient")
    assert page.objects[0].detail == "pacs: port 104 → 105"  # type: ignore[union-attr]
    assert (hand.outcome_description, hand.objects[0].detail) == (  # type: ignore[union-attr]
        "edit by hand", "ct1: renamed to ct10",
    )  # fmt: skip


def test_what_was_edited_while_nobody_listened_is_recorded_later(file: PeerFile) -> None:
    from config.edits import changing

    file.editor.apply(changing("pacs", {"port": 105}), who="root")
    file.peers.peers()
    assert [event.participants[1].user_id for event in file.events] == ["root"]


def test_a_viewer_looks_and_an_operator_tests_and_neither_changes_anything(file: PeerFile) -> None:
    for role, may_test in ((Role.VIEWER, False), (Role.OPERATOR, True)):
        browser = file.browser(role)
        for path in ("/peers", "/peers/peer?name=pacs", "/peers/history"):
            assert browser.client.get(path).status_code == 200
            assert "/peers/edit" not in browser.client.get(path).text
        browser.open("/peers/peer?name=pacs")
        assert ('action="/peers/test"' in browser.page) is may_test
        if may_test:
            assert browser.send("/peers/test").status_code == 200
        for path in ("/peers/new", "/peers/edit?name=pacs", "/peers/remove?name=pacs"):
            assert browser.client.get(path).status_code == 403
        for path in ("/peers/new", "/peers/edit", "/peers/remove", "/peers/restore"):
            assert browser.client.post(path, data={"peer": "pacs"}).status_code == 403
    assert file.file.read_text() == TWO_PEERS


def test_a_form_that_no_page_of_ours_made_changes_nothing(file: PeerFile) -> None:
    admin = file.browser()
    for headers in ({}, {"Origin": "https://evil.example"}):
        answer = admin.client.post("/peers/remove", data={"peer": "pacs"}, headers=headers)
        assert answer.status_code == 403
    assert file.file.read_text() == TWO_PEERS


def test_a_test_shows_what_the_peer_said(file: PeerFile) -> None:
    admin = file.browser()
    admin.open("/peers/peer?name=pacs")
    assert admin.send("/peers/test").status_code == 200
    assert "The test passed." in admin.page
    assert [peer.name for peer in file.tried] == ["pacs"]


def test_a_node_whose_results_go_nowhere_says_so(file: PeerFile) -> None:
    warning = "No peer receives results"
    assert warning not in file.browser().open("/peers")
    for peer in list_peers(file.file):
        if peer.receives_results:
            file.manage.apply(RemovePeer(name=peer.name), who="ann", address="::1", token=None)
    assert warning in file.browser().open("/peers")


def test_unknown_peers_and_versions_are_404_pages(file: PeerFile) -> None:
    admin = file.browser()
    for path in ("/peers/peer?name=x", "/peers/edit?name=x", "/peers/remove?name=x", "/peers/version?id=x"):
        assert admin.client.get(path).status_code == 404


def test_names_with_odd_characters_find_their_way(file: PeerFile) -> None:
    admin = file.browser()
    odd = 'a b&c="d"?<i>#é'
    admin.open("/peers/new")
    admin.send("/peers/new", **NEW | {"name": odd, "step": "apply"}, port="104")
    assert admin.answer.status_code == 303
    admin.open(admin.answer.headers["location"])
    assert "<i>" not in admin.page
    admin.open("/peers")
    assert "<i>" not in admin.page
    assert [peer.name for peer in list_peers(file.file)][-1] == odd


@pytest.mark.parametrize(
    "path",
    ["/peers", "/peers/new", "/peers/edit?name=pacs", "/peers/remove?name=pacs", "/peers/history",
     "/peers/peer?name=pacs"],
)  # fmt: skip
def test_every_page_has_one_heading_and_no_script_or_style_of_its_own(file: PeerFile, path: str) -> None:
    page = file.browser().open(path)
    assert page.count("<h1") == 1
    assert " style=" not in page
    assert "onclick" not in page


def test_the_pages_say_what_to_enter_on_the_other_side_and_what_a_new_receiver_gets(file: PeerFile) -> None:
    admin = web(file.node, Role.ADMIN, **file.sources, receiver_ports=lambda: (11112, 2762))
    for path in ("/peers", "/peers/peer?name=pacs"):
        page = admin.get(path).text
        assert "this node is <code translate='no'>CSPINE_AI</code>" in page.replace('"', "'")
        assert "port 11112. With TLS it is port 2762." in page
    assert "when the study is analysed again" in admin.get("/peers/peer?name=pacs").text
    assert "only programs on this machine" not in admin.get("/peers").text
    local = web(file.node, Role.ADMIN, **file.sources, receiver_ports=lambda: (11112, 0), receiver_host="127.0.0.1")
    assert "only programs on this machine can send to it" in local.get("/peers").text
    only_tls = web(file.node, Role.ADMIN, **file.sources, receiver_ports=lambda: (0, 2762))
    assert "port 2762. With TLS it is port 2762." in only_tls.get("/peers").text
    assert "With TLS it is" not in file.browser().open("/peers"), "a node that listens nowhere yet"


def test_without_a_file_the_peers_are_shown_and_nothing_else(file: PeerFile) -> None:
    admin = web(file.node, Role.ADMIN)
    assert "PACS" in admin.get("/peers").text
    assert "/peers/new" not in admin.get("/peers").text
    assert admin.get("/peers/new").status_code == 404
