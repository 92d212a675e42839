"""Weights to start a training from: those of a bundle that is there, verified as a node would.

Only weights are taken. Settings, schedule and studies are the new run's; its calibration is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from inference.bundle import fractures_of
from inference.experiments.bundle import Member, load_experiment_bundle
from inference.experiments.errors import StartRefused
from inference.experiments.settings import Experiment


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where a training starts: the weights, and whose they are (name, version, experiment, sha256: JSON values)."""

    weights: dict[str, torch.Tensor]
    source: dict[str, Any]


def start_from(path_or_name: str, experiment: Experiment) -> Start:
    """The weights of the experiment's family in a bundle, in a run's folder, or in the shipped bundle of that name.

    Raises BundleError where it cannot be used, StartRefused where it has no network of this family or of another shape.
    """
    bundle = load_experiment_bundle(fractures_of(path_or_name))
    member = _member(bundle.members, experiment, path_or_name)
    source = {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}
    return Start(
        weights=member.model.network.state_dict(),
        source=source | {"experiment": member.model.experiment.name},
    )


def load_start(network: nn.Module, start: Start) -> None:
    """The network has the weights. Raises StartRefused naming the first one that does not fit.

    What a network says can be `added` to one trained without it may be missing: it starts as it was made.
    """
    own = network.state_dict()
    added: tuple[str, ...] = getattr(network, "added", ())
    given = {key: value for key, value in own.items() if key.startswith(added)} if added else {}
    given |= start.weights
    name = f"{start.source['name']} {start.source['version']}"
    for key in sorted(own.keys() | given.keys()):
        if key not in own or key not in given:
            who = "the experiment" if key not in own else name
            raise StartRefused(f"cannot start from {name}: {who} has no weights {key}")
        if own[key].shape != given[key].shape:
            raise StartRefused(
                f"cannot start from {name}: {key} is {list(given[key].shape)} there and {list(own[key].shape)} in the "
                "experiment"
            )
    network.load_state_dict(given)


def _member(members: tuple[Member, ...], experiment: Experiment, where: str) -> Member:
    """The one of the experiment's family; of several the one that bears its name."""
    fitting = [m for m in members if m.model.experiment.family == experiment.family]
    named = [m for m in fitting if m.model.experiment.name == experiment.name]
    if not fitting:
        there = ", ".join(sorted(m.model.experiment.family for m in members))
        raise StartRefused(f"cannot start from {where}: it holds {there}, and {experiment.name} is {experiment.family}")
    return (named or fitting)[0]
