"""The fixed splits of synthetic studies, read from `splits.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from inference.synthetic.protocol import PROTOCOLS
from inference.synthetic.spec import COVERAGES

SPLITS: Final = Path(__file__).with_name("splits.toml")
FRACTURES: Final = ("public", "enriched")


@dataclass(frozen=True, kw_only=True)
class PhantomRecipe:
    """How the studies of a split are drawn beside their seed; see `splits.toml` for the words.

    `slices` (0: as many as the coverage needs) and `matrix` make small studies for tests.
    """

    coverage: str = "cspine"
    protocol: str = "challenge"
    fractures: str = "public"
    slices: int = 0
    matrix: int = 512

    def __post_init__(self) -> None:
        for name, value, known in (
            ("coverage", self.coverage, COVERAGES),
            ("protocol", self.protocol, PROTOCOLS),
            ("fractures", self.fractures, FRACTURES),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class Split:
    """The seeds of a split, and their recipe."""

    name: str
    seeds: range
    recipe: PhantomRecipe


def read_splits(path: Path = SPLITS) -> dict[str, Split]:
    """Every split of a file by name. Raises ValueError for one that is malformed, and where two share a seed."""
    splits = {}
    for name, raw in tomllib.loads(path.read_text(encoding="utf-8")).items():
        try:
            first, studies = int(raw.pop("first_seed")), int(raw.pop("studies"))
            splits[name] = Split(name=name, seeds=range(first, first + studies), recipe=PhantomRecipe(**raw))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: split {name!r} is malformed: {error}") from error
    ordered = sorted(splits.values(), key=lambda split: split.seeds.start)
    for one, other in pairwise(ordered):
        if one.seeds.stop > other.seeds.start:
            raise ValueError(f"{path}: the splits {one.name} and {other.name} share seeds")
    return splits
