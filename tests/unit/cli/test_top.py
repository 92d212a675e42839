"""The node live in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest
from rich.console import Console

from config.load import load_settings
from dicom_node.app import counting
from dicom_node.cli.top import frame, is_asked_to_end
from dicom_node.cli.top_picture import picture, span
from dicom_node.cli.top_pulse import Pulse, feel_pulse, rates, sums_of
from dicom_node.core.errors import StorageUnavailable
from dicom_node.observability import PrometheusCounters
from tests.builders.commands import cspine_node
from tests.peers import free_port
from tests.unit.app.node import Node, silenced


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    file = tmp_path / "node.toml"
    file.write_text(f"[node]\nmin_free_bytes = 1000\n[web]\nport = {free_port()}\n")
    return load_settings(file, environ={"CSPINE_NODE__NODE__DATA_DIR": str(tmp_path / "var")}).settings


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with silenced():
        yield Node(tmp_path)


def drawn(settings: Any, node: Node, *, free_bytes: int = 5_000_000_000, width: int = 200) -> str:
    files = SimpleNamespace(free_bytes=lambda: free_bytes)
    store: Any = SimpleNamespace(reading=node.database.reading, files=files, clock=node.clock)
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(picture(frame(settings, store, None, limit=5)))
    return console.export_text()


def test_an_idle_node_shows_that_there_is_nothing(settings: Any, node: Node) -> None:
    text = drawn(settings, node)
    assert "it does not answer" in text
    assert "receiving: 0   QUEUED: 0" in text
    assert "disk: 5.0 GB free, 1.0 kB kept in reserve" in text
    assert "no studies" in text


def test_a_positive_study_shows_its_levels_and_no_patient(settings: Any, node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    text = drawn(settings, node)
    assert "DELIVERED" in text
    assert "C2 0.90" in text
    assert "Doe" not in text
    assert "P1" not in text


def test_a_dead_pacs_shows_with_what_waits_for_it(settings: Any, node: Node) -> None:
    node.pacs.away = {"pacs"}
    node.receive_study()
    node.settle(turns=4)
    (line,) = [line for line in drawn(settings, node).splitlines() if line.strip().startswith("pacs ")]
    assert line.split()[:3] == ["pacs", "objects", "1"]
    assert "pacs does not take a TCP connection" in line


def test_a_full_disk_cannot_be_overlooked(settings: Any, node: Node) -> None:
    assert "images are refused" in drawn(settings, node, free_bytes=999)


def test_a_database_that_does_not_answer_is_said_and_ends_nothing(settings: Any, node: Node) -> None:
    def away() -> Any:
        raise StorageUnavailable("no database")

    node.database.reading = away  # type: ignore[method-assign]
    assert "the database does not answer" in drawn(settings, node)


def test_rates_are_what_happened_between_two_pulses() -> None:
    def pulse(at_s: float, images: int) -> Pulse:
        counters = PrometheusCounters()
        for _ in range(images):
            counters.count(counting.INSTANCES_RECEIVED, calling_aet="CT1")
        sums = sums_of(generate_latest(counters.registry).decode())
        return Pulse(at_s=at_s, words="", is_well=True, sums=sums)

    assert rates(pulse(10.0, 3), pulse(12.0, 13))["images"] == 5.0
    assert rates(None, pulse(12.0, 13)) == {}
    assert rates(pulse(10.0, 13), pulse(12.0, 3)) == {}, "the node was started anew"


def test_a_node_without_pages_cannot_be_asked(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("[web]\nenabled = false\n")
    pulse = feel_pulse(load_settings(file, environ={}).settings)
    assert (pulse.is_well, pulse.words) == (False, "web.enabled = false: it cannot be asked")


def test_q_ends_it_other_keys_do_not_and_without_a_key_it_goes_on() -> None:
    pressed = iter("xyq")
    assert is_asked_to_end(lambda wait_s: next(pressed), 60.0)
    assert not is_asked_to_end(lambda wait_s: "", 0.001)


def test_times_are_in_the_largest_unit_that_says_something() -> None:
    assert [span(seconds) for seconds in (5, 119, 120, 7200, 200_000)] == ["5 s", "119 s", "2 min", "2 h", "2 d"]


def test_once_prints_one_picture_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(f'[node]\ndata_dir = "var"\n[web]\nport = {free_port()}\n')
    ran = cspine_node("top", "--once", "--config", file)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("CSPINE_AI")
    assert "no studies" in ran.out
