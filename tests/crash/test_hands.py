"""A power cut at every point while the node and a process beside it write, and over a start after a mere kill."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.bootstrap.clock import SystemClock
from storage.files import DiskFileStore
from storage.ready_files import PREAMBLE_BYTES
from tests.crash.platter import Tap, Tree, lay_out
from tests.unit.app.node import silenced

HEAD = b"\0" * PREAMBLE_BYTES + b"DICM and the file meta information"


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    with silenced():
        yield


def store(root: Path, life: str = "") -> DiskFileStore:
    files = DiskFileStore(root, clock=SystemClock(), life=life)
    files._ready._stock = 2  # filled often
    return files


@pytest.mark.parametrize("has_hands", [True, False])
def test_what_either_has_kept_is_found_after_a_power_cut_anywhere(has_hands: bool) -> None:
    kept: dict[Path, bytes] = {}
    left: list[tuple[Tree, dict[Path, bytes]]] = []

    def keep(_step: str, _path: Path) -> None:
        for tree in (tap.after_a_power_cut(), tap.after_a_power_cut_that_kept_names()):
            if not left or left[-1][0] != tree or left[-1][1] != kept:
                left.append((tree, dict(kept)))

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "var"
        root.mkdir()
        with Tap(root, keep) as tap:
            for life in ("one", "two"):  # between them a kill: what was not synced is in the system's hands
                node = store(root)
                beside = store(root, life) if has_hands else node
                node.recover()
                for number in range(8):
                    data_set = f"{life} {number}".encode() * 20
                    stored = (node, beside)[number % 2].write("key", HEAD, data_set)
                    kept[stored.path] = data_set
            keep("end", root)
        assert len(left) > 100
        for number, (tree, acknowledged) in enumerate(left):
            after = Path(folder) / str(number)
            lay_out(tree, after)
            files = store(after)
            files.recover()
            for path, data_set in acknowledged.items():
                assert files.absolute(path).read_bytes().endswith(data_set), f"{path} after cut {number}"
