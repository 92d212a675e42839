"""The shipped bundle's training from end to end, as small as it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.bundle import bundle_folder, load_bundle
from tests.builders.commands import cspine_node

pytestmark = pytest.mark.xdist_group("training")


def test_one_command_makes_a_bundle_and_the_same_command_leaves_it_as_it_is(tmp_path: Path) -> None:
    words = ("train", "shipped", "--out", tmp_path / "run", "--version", "9.1", "--tiny")
    words += ("--localiser", "default", "--studies", 2, "--validation", 2, "--device", "cpu")
    ran = cspine_node(*words)
    assert ran.status == 0, ran.err
    made = load_bundle(tmp_path / "run" / "bundle")
    assert (made.version, made.fractures.name) == ("9.1", "default")
    assert made.localiser_sha256 == load_bundle("default").localiser_sha256
    assert (tmp_path / "run" / "bundle" / "shape.safetensors").read_bytes() == (
        bundle_folder("default") / "shape.safetensors"
    ).read_bytes()
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*.safetensors")}
    assert cspine_node(*words).status == 0
    assert {file: file.read_bytes() for file in before} == before
