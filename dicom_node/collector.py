"""Python's garbage collector, kept from looking at what will never be garbage.

A process that has loaded torch, highdicom and the rest holds hundreds of thousands of objects that live until it ends.
A full collection looks at every one of them: 0.15 s, in which no other thread runs, seven to nine times while the
libraries load and a study is analysed and encoded.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """What is made in here stays until the process ends: it is not looked at, neither now nor later."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def spare_the_collector() -> None:
    """All that is here now stays until the process ends. What is garbage already is collected first."""
    gc.collect()
    gc.freeze()
