"""The fracture classes: where each one breaks a vertebra and how its pieces move."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from inference.synthetic.breaks import Breaks
from inference.synthetic.spec import PhantomSpec
from inference.synthetic.vertebra import Squash, Vertebra

Array = NDArray[Any]


def squash_of(spec: PhantomSpec, level: str) -> Squash:
    """How the body of a level is deformed before it is cut."""
    return Squash()


def break_vertebra(spec: PhantomSpec, level: str, shape: Vertebra, frame: Array) -> Breaks:
    """The breaks of one level in patient mm; empty where it is whole."""
    return Breaks()
