"""Reading the configuration: precedence, origins, refusals."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.load import DEFAULT_FILE, check_port_free, load_settings, setting_keys
from config.settings import Settings
from tests.unit.config.builders import TWO_PEERS, written


def refused(tmp_path: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_settings(written(tmp_path, text), environ={})
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_shipped_file_says_the_defaults_and_names_every_key() -> None:
    loaded = load_settings(DEFAULT_FILE, environ={})
    plain = Settings()
    shipped = loaded.settings.model_dump(exclude={"peers", "node"})
    assert shipped == plain.model_dump(exclude={"peers", "node"})
    assert loaded.settings.node.model_dump(exclude={"data_dir"}) == plain.node.model_dump(exclude={"data_dir"})
    assert [key for key in setting_keys() if loaded.provenance[key] == "default"] == []


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, "[node]\nport = 1\nhost = '1.1.1.1'\nae_title = 'FILE'\n")
    loaded = load_settings(
        file,
        overrides={"node.port": 3, "web.port": None},
        environ={"CSPINE_NODE__NODE__PORT": "2", "CSPINE_NODE__NODE__HOST": "2.2.2.2", "OTHER": "x"},
    )
    node = loaded.settings.node
    assert (node.port, node.host, node.ae_title, loaded.settings.web.port) == (3, "2.2.2.2", "FILE", 8080)
    assert loaded.provenance["node.port"] == "command line"
    assert loaded.provenance["node.host"] == "environment CSPINE_NODE__NODE__HOST"
    assert loaded.provenance["node.ae_title"] == f"{file}:4"
    assert loaded.provenance["web.port"] == "default"


def test_words_of_the_environment_become_the_type_of_their_key() -> None:
    environ = {
        "CSPINE_NODE__WEB__ENABLED": "false",
        "CSPINE_NODE__STUDY__QUIET_PERIOD_S": "2",
        "CSPINE_NODE__NODE__DATA_DIR": "/srv/node",
    }
    settings = load_settings(None, environ=environ).settings
    assert settings.web.enabled is False
    assert settings.study.quiet_period_s == 2.0
    assert settings.node.data_dir == Path("/srv/node")


def test_a_relative_folder_counts_from_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = written(tmp_path, "[node]\ndata_dir = 'data'\n[inference]\nbundle = 'mine'\n")
    monkeypatch.chdir(elsewhere)
    settings = load_settings(file, environ={}).settings
    assert settings.node.data_dir == tmp_path / "data"
    assert settings.inference.bundle == str(tmp_path / "mine")
    assert load_settings(written(tmp_path, "", "silent.toml"), environ={}).settings.node.data_dir == tmp_path / "var"
    assert load_settings(None, environ={}).settings.node.data_dir == elsewhere / "var"
    other = "[inference]\ntotalsegmentator_python = '{}'\n"
    for given, meant in (("seg/bin/python", str(tmp_path / "seg/bin/python")), ("python3.10", "python3.10")):
        inference = load_settings(written(tmp_path, other.format(given), "other.toml"), environ={}).settings.inference
        assert inference.totalsegmentator_python == meant
    named = load_settings(file, environ={}, overrides={"node.data_dir": Path("data")}).settings
    assert named.node.data_dir == elsewhere / "data"


@pytest.mark.parametrize(
    ("text", "key", "value", "line", "words"),
    [
        ("[node]\n\nprot = 1", "node.prot", 1, 3, "did you mean node.port"),
        ("[nodes]\nport = 1", "nodes", None, 1, "unknown section"),
        ("[node]\nport = '11112'", "node.port", "11112", 2, "valid integer"),
        ("[node]\nport = true", "node.port", True, 2, "valid integer"),
        ("[node]\nport = 70000", "node.port", 70000, 2, "65535"),
        ("[web]\nenabled = 1", "web.enabled", 1, 2, "valid boolean"),
        ("[node]\nae_title = 'SEVENTEEN_LETTERS'", "node.ae_title", "SEVENTEEN_LETTERS", 2, "this one has 17"),
        ("[node]\nae_title = '  '", "node.ae_title", "  ", 2, "1 to 16 characters"),
        ("[node]\nae_title = 'A\\B'", "node.ae_title", "A\\B", 2, "without backslash"),
        ("[node]\nae_title = 'RÖNTGEN'", "node.ae_title", "RÖNTGEN", 2, "printable ASCII"),
        ("[study]\nquiet_period_s = 60\nhard_limit_s = 5", "study.hard_limit_s", 5.0, 3, "shorter"),
        ("[inference]\nlocaliser = 'nnunet'", "inference.localiser", "nnunet", 2, "'totalsegmentator'"),
        ("[inference]\ntotalsegmentator_task = 'body'", "inference.totalsegmentator_task", "body", 2, "'vertebrae_pp'"),
        (
            "[inference]\nlocaliser = 'totalsegmentator'\ntotalsegmentator_timeout_s = 900",
            "inference.totalsegmentator_timeout_s",
            900.0,
            3,
            "not shorter than inference.timeout_s",
        ),
        ("[inference]\ndecode_ahead_mb = -1", "inference.decode_ahead_mb", -1, 2, "greater than or equal to 0"),
        ("[study]\nquiet_period_s = nan", "study.quiet_period_s", None, 2, ""),
        ("peers = 3", "peers", None, 1, "[[peers]]"),
        ("[[peers]]\nname = 'a'\nae_title = 'A'\nhost = 'h'\n", "peers[0].port", None, 1, "required"),
        ("[[peers]]\nname = 'a'\naet = 'A'\n", "peers[0].aet", "A", 3, "a peer has name, ae_title"),
    ],
)
def test_what_is_wrong_is_refused_with_key_value_and_line(
    tmp_path: Path, text: str, key: str, value: object, line: int, words: str
) -> None:
    error = refused(tmp_path, text)
    assert error.key == key
    assert error.source == f"{tmp_path / 'node.toml'}:{line}"
    assert words in error.message
    if value is not None:
        assert error.value == value
        assert repr(value) in str(error)


def test_a_second_peer_of_a_name_is_refused_whatever_its_case(tmp_path: Path) -> None:
    error = refused(tmp_path, TWO_PEERS.replace('"ct1"', '"Pacs"'))
    assert (error.key, error.value) == ("peers[1].name", "Pacs")
    assert error.source.endswith(":16")
    assert ":7" in error.message


def test_the_same_entity_twice_would_get_results_twice_and_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, TWO_PEERS.replace("CT1", "PACS").replace("10.0.0.2", "10.0.0.1"))
    assert error.key == "peers[1].ae_title"


def test_text_that_is_not_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    assert refused(tmp_path, "[node]\nport = \n").source == f"{tmp_path / 'node.toml'}:2"


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml", environ={})


def test_a_wrong_word_in_the_environment_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigError, match="environment CSPINE_NODE__NODE__PORT") as caught:
        load_settings(None, environ={"CSPINE_NODE__NODE__PORT": "eleven"})
    assert caught.value.value == "eleven"
    with pytest.raises(ConfigError, match="unknown key"):
        load_settings(None, environ={"CSPINE_NODE__NODE__PROT": "1"})


def test_a_database_password_is_not_repeated_in_an_error(tmp_path: Path) -> None:
    error = refused(tmp_path, "[database]\nurl = ['postgresql://me:secret@db/node']\n")
    assert "secret" not in str(error)


def test_spaces_around_an_ae_title_are_not_significant(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, "[node]\nae_title = ' NODE '"), environ={}).settings.node.ae_title == "NODE"


def test_a_port_in_use_is_refused_and_a_free_one_is_not() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"node.port = {port} .*in use"):
            check_port_free("127.0.0.1", port, source="here:1")
    check_port_free("127.0.0.1", port)
    check_port_free("127.0.0.1", 0)
