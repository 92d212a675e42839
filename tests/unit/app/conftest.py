from pathlib import Path

import pytest

from tests.unit.app.node import Node, silenced


@pytest.fixture(autouse=True)
def silence():
    with silenced():
        yield


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)
