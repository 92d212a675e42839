"""Twenty peers send at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.receive import OURS, send_to
from tests.benchmarks.receivers import Expected, node
from tests.benchmarks.sending import template

EXPECTED = Expected(peers=20, instances=300)


@pytest.mark.slow
def test_twenty_associations_of_three_hundred_instances_are_all_received(tmp_path: Path):
    # The context manager compares what was sent with what the node counted and raises where they differ.
    with node(tmp_path / "node", EXPECTED) as running:
        sent, _ = send_to(OURS, running, EXPECTED, template(rows=64))
    assert sent.refused == 0
    stored = sum(1 for _ in (tmp_path / "node" / "var" / "received").rglob("*.dcm"))
    assert stored == EXPECTED.files
