"""What a process loads to keep is nothing that the collector looks at."""

from __future__ import annotations

import gc

import pytest

from dicom_node.collector import loading


@pytest.fixture(autouse=True)
def _as_it_was():
    on = gc.isenabled()
    yield
    gc.unfreeze()
    (gc.enable if on else gc.disable)()


def test_what_is_loaded_is_frozen_and_the_collector_goes_on_afterwards():
    gc.enable()
    before = gc.get_freeze_count()
    with loading():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() - before >= len(kept)
    assert not any(thing is kept for thing in gc.get_objects())


def test_a_failure_to_load_leaves_the_collector_as_it_was():
    gc.enable()
    with pytest.raises(ImportError), loading():
        raise ImportError("no such library")
    assert gc.isenabled()
    gc.disable()
    with loading():
        pass
    assert not gc.isenabled()
