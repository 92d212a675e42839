"""How many processes receive beside the node's own, and what they are told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.errors import ConfigError
from config.load import load_settings
from dicom_node.app.counting import NoCounters
from dicom_node.bootstrap.hand import HandSettings
from dicom_node.bootstrap.hands import hand_settings, processes_for, receiving_processes


@pytest.mark.parametrize(
    ("cores", "count"), [(1, 0), (2, 0), (3, 0), (4, 1), (7, 1), (8, 2), (15, 3), (16, 4), (128, 4)]
)
def test_by_itself_a_node_has_one_process_for_four_cores_and_four_at_most(cores: int, count: int) -> None:
    assert processes_for(cores) == count


def written(folder: Path, text: str) -> Path:
    file = folder / "node.toml"
    file.write_text(f"[node]\n{text}\n")
    return file


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("16", 16), ('"auto"', "auto"), ('"3"', 3)])
def test_their_number_is_a_whole_number_or_left_to_the_node(tmp_path: Path, text: str, value: object) -> None:
    file = written(tmp_path, f"receiving_processes = {text}")
    assert load_settings(file, environ={}).settings.node.receiving_processes == value


@pytest.mark.parametrize("text", ["17", "-1", "true", '"many"', "1.5"])
def test_what_is_no_number_of_processes_is_refused_with_its_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r'node\.receiving_processes.*from 0 to 16, or "auto"'):
        load_settings(written(tmp_path, f"receiving_processes = {text}"), environ={})


def test_a_process_keeps_clear_of_the_reserve_by_all_that_may_be_in_memory(tmp_path: Path) -> None:
    file = written(tmp_path, "min_free_bytes = 1000\nreceiving_memory_mb = 64")
    told = hand_settings(load_settings(file, environ={}).settings)
    assert told.needed_bytes == 1000 + (64 << 20)
    assert Path(told.data_dir).is_absolute()
    assert HandSettings(**json.loads(told.as_text())) == told


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("receiving_processes = 2", 2),
        ("receiving_processes = 0", 0),
        ('receiving_processes = 2\n[node.tls]\nmode = "instead"\ncertificate = "/c"\nkey = "/k"\nca_file = "/a"', 0),
    ],
)
def test_a_node_has_as_many_as_are_set_and_none_where_every_association_is_encrypted(
    tmp_path: Path, text: str, count: int
) -> None:
    settings = load_settings(written(tmp_path, text), environ={}).settings
    store: Any = SimpleNamespace(files=SimpleNamespace(discard=None))
    made = receiving_processes(settings, store, NoCounters())
    assert (made._count if made else 0) == count
