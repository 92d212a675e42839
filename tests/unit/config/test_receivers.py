"""Peers' objects and STOW-RS, routes, notified systems: what is accepted and what is refused, with the key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from config.errors import ConfigError
from config.load import load_settings
from config.settings import NodeTlsSettings, Settings
from config.words import LevelWord, ObjectWord, ResultWord
from dicom_node.bootstrap.checks import echo_peer
from dicom_node.bootstrap.delivering import terms_of
from dicom_node.bootstrap.store import to_peer
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.errors import ConfigurationError
from dicom_node.core.finding import LEVELS, ResultKind
from dicom_node.core.peer import AUTO
from dicom_node.core.routing import ResultClass

PEER = "[[peers]]\nname = 'pacs'\nae_title = 'PACS'\nhost = 'h'\nport = 104\n"


def loaded(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "node.toml"
    file.write_text(text)
    return load_settings(file, environ=environ).settings


def test_the_words_of_the_configuration_are_those_of_the_node():
    assert set(get_args(ObjectWord)) == {AUTO, *(kind.value for kind in ResultKind if kind != ResultKind.STATUS_SR)}
    assert set(get_args(ResultWord)) == {each.value for each in ResultClass}
    assert get_args(LevelWord) == LEVELS


@pytest.mark.parametrize(
    ("text", "objects"),
    [("", ("auto",)), ("objects = 'auto'", ("auto",)), ("objects = ['auto', 'PDF']", ("auto", "PDF"))],
)
def test_objects_are_a_word_or_a_list(tmp_path, text, objects):
    (peer,) = loaded(tmp_path, PEER + text).peers
    assert peer.objects == objects


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("objects = 'HOLOGRAM'", "objects", "'auto', 'SEG'"),
        ("objects = ['STATUS_SR']", "objects", "input should be"),
        ("objects = []", "objects", "receives_results = false"),
        ("objects = ['SR', 'SR']", "objects", "there twice"),
        ("objects = 7", "objects", "tuple"),
        ("stow_url = 'ftp://cloud'", "stow_url", "https://"),
        ("stow_url = 'https://'", "stow_url", "names a host"),
        ("stow_token_env = 'T'", "stow_token_env", "means nothing without stow_url"),
        ("stow_url = 'http://cloud/x'\nstow_token_env = 'T'", "stow_url", "token would be readable"),
        ("stow_url = 'https://c'\nstow_token_env = 'Bearer abc'", "stow_token_env", "not the secret itself"),
        ("stow_url = 'https://c'\nstow_client_key = '/k'", "stow_client_key", "both or none"),
        ("stow_url = 'https://c'\nstorage_commitment = true", "storage_commitment", "STOW-RS has none"),
        ("delivery_hours = '22-6'", "delivery_hours", '"22:00-06:00"'),
        ("attempts = 0", "attempts", "greater than or equal to 1"),
        ("backoff_factor = 0.5", "backoff_factor", "greater than or equal to 1"),
        ("backoff_jitter = 2.0", "backoff_jitter", "less than or equal to 1"),
        ("circuit_open_s = 0.0", "circuit_open_s", "greater than 0"),
        ("commitment_timeout_s = 'long'", "commitment_timeout_s", "valid number"),
        ("stow_url = 'https://c'\nstow_ca_file = 'ca.pem'", "stow_ca_file", "absolute path"),
    ],
)
def test_a_peer_that_cannot_work_is_refused_with_the_key(tmp_path, text, key, why):
    with pytest.raises(ConfigError, match=why) as caught:
        loaded(tmp_path, PEER + text)
    assert caught.value.key == f"peers[0].{key}"
    assert "node.toml:" in caught.value.source


def test_a_service_alone_needs_no_ae_title(tmp_path):
    (peer,) = loaded(tmp_path, "[[peers]]\nname = 'cloud'\nstow_url = 'https://cloud.example:8443/dicom-web'\n").peers
    assert (peer.ae_title, peer.host, peer.port) == ("", "", 0)
    with pytest.raises(ConfigurationError, match="DICOMweb service alone"):
        echo_peer(Settings(peers=(peer,)), "cloud")
    known = to_peer(peer, NodeTlsSettings())
    assert (known.ae_title, known.host, known.port) == ("STOW-RS", "cloud.example", 8443)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name = 'x'\nhost = 'h'\nport = 104", "ae_title"),
        ("name = 'x'\nae_title = 'X'\nport = 104", "host"),
        ("name = 'x'\nae_title = 'X'\nhost = 'h'", "port"),
        ("name = 'x'\nstow_url = 'https://c'\nmay_send = true", "ae_title"),
        ("name = 'x'\nstow_url = 'https://c'\nhost = 'h'", "ae_title"),
    ],
)
def test_every_other_peer_needs_all_three(tmp_path, text, key):
    with pytest.raises(ConfigError, match="is required and not given") as caught:
        loaded(tmp_path, f"[[peers]]\n{text}\n")
    assert caught.value.key == f"peers[0].{key}"


def test_the_same_service_twice_is_refused(tmp_path):
    service = "stow_url = 'https://cloud.example'\n"
    with pytest.raises(ConfigError, match="same service as peer 'a'"):
        loaded(tmp_path, f"[[peers]]\nname = 'a'\n{service}[[peers]]\nname = 'b'\n{service}")


def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(ConfigError, match="environment variable") as caught:
        loaded(tmp_path, PEER + "stow_url = 'https://user:hunter2@cloud'")
    assert "hunter2" not in str(caught.value)


ROUTE = "[[routes]]\nname = 'emergency'\n"


def test_a_route_is_read(tmp_path):
    settings = loaded(tmp_path, f"{PEER}{ROUTE}stations = ['CT_ER*']\nresults = ['positive']\nadd = ['pacs']\n")
    (route,) = settings.routes
    assert (route.stations, route.results, route.add) == (("CT_ER*",), ("positive",), ("pacs",))


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("", "add", "does nothing"),
        ("add = ['nobody']", "add", "no peer is called 'nobody'; the configured are: pacs"),
        ("leave_out = ['nobody']", "leave_out", "no peer is called"),
        ("add = ['pacs']\nleave_out = ['pacs']", "leave_out", "in add as well"),
        ("add = ['pacs']\nresults = ['maybe']", "results", "'positive'"),
        ("add = ['pacs']\nlevels = ['T1']", "levels", "'C1'"),
        ("add = ['pacs']\nstations = ['']", "stations", "empty text"),
        ("add = ['pacs']\nstation = ['x']", "station", "a route has name"),
        ("add = 'pacs'", "add", "tuple"),
        (f"add = ['pacs']\n{ROUTE}add = ['pacs']", "name", "another route"),
    ],
)
def test_a_route_that_cannot_work_is_refused_with_the_key(tmp_path, text, key, why):
    with pytest.raises(ConfigError, match=why) as caught:
        loaded(tmp_path, PEER + ROUTE + text)
    assert caught.value.key.endswith(f"].{key}")
    assert caught.value.key.startswith("routes[")


def test_notifications_are_off_and_switched_on_by_file_or_environment(tmp_path):
    plain = loaded(tmp_path, "")
    assert (plain.notify.hl7.enabled, plain.notify.webhook.enabled) == (False, False)
    settings = loaded(
        tmp_path,
        "[notify.hl7]\nenabled = true\nhost = 'ris'\n[notify.webhook]\nenabled = true\nurl = 'https://er/x'\n",
        CSPINE_NODE__NOTIFY__HL7__PORT="2576",
    )
    assert (settings.notify.hl7.enabled, settings.notify.hl7.host, settings.notify.hl7.port) == (True, "ris", 2576)
    assert settings.notify.webhook.url == "https://er/x"


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("[notify.webhook]\nenabled = true", "notify.webhook.url", "is needed"),
        ("[notify.webhook]\nurl = 'http://er/x'", "notify.webhook.url", "not https"),
        ("[notify.webhook]\nurl = 'https://er/x'\nsecret_env = 'a-b'", "notify.webhook.secret_env", "variable"),
        ("[notify.hl7]\nport = 0", "notify.hl7.port", "greater than"),
        ("[notify.hl7]\nprot = 1", "notify.hl7.prot", "did you mean notify.hl7.port"),
        ("[notify.fax]\nenabled = true", "notify.fax", "unknown section"),
        ("[notify]\nhl7 = 1", "notify.hl7", "is a section"),
        ("notify = 1", "notify", "is a section"),
        ("routes = 1", "routes", "list of tables"),
    ],
)
def test_a_notification_that_cannot_work_is_refused_with_the_key(tmp_path, text, key, why):
    with pytest.raises(ConfigError, match=why) as caught:
        loaded(tmp_path, text)
    assert caught.value.key == key


def test_a_peer_that_a_route_names_is_not_removed_under_it(tmp_path):
    from datetime import UTC, datetime

    from config.editing import PeerEditor
    from config.edits import removing

    file = tmp_path / "node.toml"
    file.write_text(f"{PEER}\n{ROUTE}add = ['pacs']\n")
    editor = PeerEditor(file=file, history_dir=tmp_path / "history", now=lambda: datetime.now(UTC))
    with pytest.raises(ConfigError, match="no peer is called 'pacs'"):
        editor.apply(removing("pacs"), who="me")
    assert "name = 'pacs'" in file.read_text()


def test_a_peer_is_served_on_its_own_terms_where_it_has_some_and_as_all_others_where_not(tmp_path):
    own = "attempts = 4\ndelivery_hours = '22:00-06:00'\nstorage_commitment = true\ncommitment_timeout_s = 60.0\n"
    settings = loaded(tmp_path, "[delivery]\ncircuit_failures = 7\nattempts = 9\n" + PEER + own)
    terms = to_peer(settings.peers[0], NodeTlsSettings()).delivery.over(terms_of(settings.delivery))
    assert (terms.retry.max_attempts, terms.circuit.failures) == (4, 7)
    assert (str(terms.hours), terms.urgent_at_any_hour) == ("22:00-06:00", True)
    assert (terms.commitment.wanted, terms.commitment.timeout_s, terms.commitment.attempts) == (True, 60.0, 5)


def test_the_node_s_own_defaults_are_those_of_the_configuration():
    assert terms_of(Settings().delivery) == replace(
        DeliveryTerms(), retry=replace(DeliveryTerms().retry, jitter=Settings().delivery.backoff_jitter)
    )
