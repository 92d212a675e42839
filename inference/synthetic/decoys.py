"""Things that look like fractures and are not: the phantom's labelled negatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from inference.synthetic.field import Prim
from inference.synthetic.solid import Solid
from inference.synthetic.spec import PhantomSpec
from inference.synthetic.vertebra import Vertebra

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoration:
    """What a vertebra wears: primitives of its own bone, and separate solids in its frame."""

    prims: list[Prim] = field(default_factory=list)
    soft: list[Solid] = field(default_factory=list)
    extra: list[tuple[str, list[Prim], Any]] = field(default_factory=list)

    def placed(self, frame: Array, spec: PhantomSpec) -> list[Solid]:
        """The separate solids in patient mm."""
        return []


def decorate(spec: PhantomSpec, level: str, shape: Vertebra) -> Decoration:
    """The decoys of one level."""
    return Decoration()
