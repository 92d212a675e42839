"""A node that ends while it removes an old study, at every point of that: nothing half removed stays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.app.retention import ApplyRetention, RetentionPolicy
from dicom_node.core.study import StudyState
from storage.database import open_database
from tests.crash.life import Life, World, begin_with
from tests.crash.platter import Tap, Tree, tree_of, watch_database
from tests.unit.app.node import silenced

MONTH_S = 31 * 86_400.0


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    with silenced():
        yield


def remove_what_is_old(life: Life) -> int:
    node = life.node
    return ApplyRetention(
        uow_factory=node.uow,
        files=node.files,
        clock=node.clock,
        counters=node.counters,
        policy=RetentionPolicy(maximum_age=timedelta(days=30)),
    ).tick()


def test_a_removal_that_is_cut_short_anywhere_is_ended_by_the_next_life() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "var"
        open_database("sqlite", data_dir=root).close()
        begin_with(tree_of(root), root)
        world = World(told_of_conflict={"other"})  # nothing of this study is in quarantine
        life = Life(root, world)
        life.settle()
        life.node.clock.advance(MONTH_S)
        left: list[Tree] = []

        def keep(_step: str, _path: Path) -> None:
            for tree in (tree_of(root), tap.after_a_power_cut(), tap.after_a_power_cut_that_kept_names()):
                if tree not in left:
                    left.append(tree)

        with Tap(root, keep) as tap, watch_database(life.database.engine, tap):
            assert remove_what_is_old(life) == 1
            keep("end", root)
        assert len(left) > 10
        for tree in left:
            begin_with(tree, root)
            life = Life(root, world, at=life.node.clock.at)
            remove_what_is_old(life)
            assert life.node.study().state is StudyState.PURGED
            assert not [*(root / "received").rglob("*.dcm")], "images of a study that is gone"
            assert not [*(root / "jobs").rglob("*.dcm")], "results of a study that is gone"
        life.end()
