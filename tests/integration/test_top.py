"""`cspine-node top` beside a node that runs, in a terminal of its own."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from config.load import load_settings
from dicom_node.cli.top_pulse import feel_pulse
from tests.peers import CSPINE_NODE, NodeProcess, stop, wait_for


@pytest.fixture
def node(tmp_path: Path):
    started = NodeProcess(folder=tmp_path, peers=[]).start()
    yield started
    started.stop()


def test_a_running_node_is_shown_until_q_is_pressed_and_its_pulse_tells_its_sums(node: NodeProcess) -> None:
    pulse = feel_pulse(load_settings(node.config, environ={}).settings)
    assert (pulse.is_well, pulse.words) == (True, "it runs and takes work")
    assert pulse.sums["bytes"] == 0.0
    terminal, other_end = pty.openpty()
    command = [CSPINE_NODE, "top", "--every", "0.5", "--config", str(node.config)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40"}
    shown = subprocess.Popen(command, stdin=other_end, stdout=other_end, stderr=other_end, env=environment)
    os.close(other_end)
    seen = bytearray()
    try:

        def says_it_runs() -> bool:
            seen.extend(os.read(terminal, 65536))
            return b"it runs and takes work" in seen and b"rates: 0.0 images/s" in seen

        wait_for("a picture with rates", says_it_runs)
        os.write(terminal, b"xq")
        assert shown.wait(timeout=30) == 0
    finally:
        stop(shown)
        os.close(terminal)
