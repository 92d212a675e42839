"""The experiment's settings, read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

DEFAULT: Final = Path(__file__).with_name("settings.toml")


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """First seed of each disjoint range, and torch's seed."""

    train_first: int
    evaluate_first: int
    torch: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How one network is trained."""

    channels: tuple[int, ...]
    batch: int
    learning_rate: float
    weight_decay: float
    warm_up_steps: int
    steps: int
    average_decay: float


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything of an experiment that is not code."""

    seeds: Seeds
    localiser: Fit
    place: Fit
    shape: Fit

    def with_steps(self, steps: int | None) -> Settings:
        """The same with another number of steps for every network; None changes nothing."""
        if steps is None:
            return self
        return replace(
            self,
            localiser=replace(self.localiser, steps=steps),
            place=replace(self.place, steps=steps),
            shape=replace(self.shape, steps=steps),
        )


def read_settings(path: Path = DEFAULT) -> Settings:
    """Settings of a TOML file; an unknown or missing key raises TypeError naming it."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    fits = {name: _fit(raw[name]) for name in ("localiser", "place", "shape")}
    return Settings(seeds=Seeds(**raw["seeds"]), **fits)


def _fit(raw: dict[str, Any]) -> Fit:
    return Fit(**{**raw, "channels": tuple(raw["channels"])})
