"""Twenty peers send at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import bench_receive

PEERS = 20
INSTANCES = 300


@pytest.mark.slow
def test_twenty_associations_of_three_hundred_instances_are_all_received(tmp_path: Path):
    data_set = bench_receive.template(rows=64)
    # The context manager compares what was sent with what the node counted and raises where they differ.
    with bench_receive.our_node(tmp_path / "node", PEERS, PEERS * INSTANCES) as (port, pid):
        outcome = bench_receive.run(port, pid, PEERS, INSTANCES, data_set)
    assert outcome.refused == 0
    stored = sum(1 for _ in (tmp_path / "node" / "var" / "received").rglob("*.dcm"))
    assert stored == PEERS * INSTANCES
